//! A source on this machine: opens, reads and closes its descriptors and processes as [`SourceCommand`]s say,
//! and reports [`SourceEvent`]s.

pub mod camera;
mod child;
mod descriptor;
mod stderr_tail;
pub mod supervisor;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Registry, Waker};
use rustix::process::{Pid, WaitStatus};

use self::camera::{CameraReader, CameraStream};
use self::child::Child;
use self::descriptor::Descriptor;
pub use self::descriptor::{READ_BYTES, STDIN_PATH};
use self::supervisor::SupervisorRequest;
use crate::driver::process;
use crate::driver::tokens::{SOURCE, SOURCE_STDERR};
use crate::source::camera::{CameraCommand, CameraEvent};
use crate::source::{Signal, SourceCause, SourceCommand, SourceEvent, SourceFailure, SourceKind};

/// How long an interrupted command may take to end when the program exits. Then it is killed.
const INTERRUPT_LIMIT: Duration = Duration::from_millis(500);
/// How long a killed command may take to end. No process survives the signal, but the kernel may be slow.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// Interval of checks for the end of a command while the program exits.
const END_PAUSE: Duration = Duration::from_millis(5);

/// Where a stream comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceOrigin {
    Stdin,
    Fifo(PathBuf),
    File(PathBuf),
    /// A shell command line, whose standard output is the stream.
    Command(String),
    /// A camera, which the core chooses.
    Camera,
}

impl SourceOrigin {
    pub fn kind(&self) -> SourceKind {
        match self {
            SourceOrigin::Stdin => SourceKind::Stdin,
            SourceOrigin::Fifo(_) => SourceKind::Fifo,
            SourceOrigin::File(_) => SourceKind::File,
            SourceOrigin::Command(_) => SourceKind::Command,
            SourceOrigin::Camera => SourceKind::Camera,
        }
    }

    /// Its name in a sentence, without path or command line: paths may be secret, and command lines often
    /// contain secrets.
    fn name(&self) -> &'static str {
        match self {
            SourceOrigin::Stdin => "standard input",
            SourceOrigin::File(path) if path == Path::new(STDIN_PATH) => "standard input",
            SourceOrigin::Fifo(_) => "the named pipe",
            SourceOrigin::File(_) => "the file",
            SourceOrigin::Command(_) => "the command",
            SourceOrigin::Camera => "the camera",
        }
    }
}

/// Opens and reads one source.
pub struct SourceReader {
    origin: SourceOrigin,
    /// The path of this program.
    program: PathBuf,
    stream: Option<Descriptor>,
    child: Option<Child>,
    /// If the origin is a camera.
    camera: Option<CameraReader>,
    /// What happened last, as a clause without a full stop.
    reason: String,
    has_given_up: bool,
}

impl SourceReader {
    /// A source that is not open. `program` is the path of this program, which supervises a command.
    pub fn new(origin: SourceOrigin, program: &Path) -> SourceReader {
        SourceReader {
            origin,
            program: program.into(),
            stream: None,
            child: None,
            camera: None,
            reason: String::new(),
            has_given_up: false,
        }
    }

    /// Looks for cameras in the poll of this registry, if they are the origin. `waker` is the poll's.
    pub fn with_cameras(mut self, waker: &Arc<Waker>, registry: &Registry) -> SourceReader {
        let are_origin = self.origin == SourceOrigin::Camera;
        self.camera = are_origin.then(|| CameraReader::new(waker.clone(), registry));
        self
    }

    /// Carries out a command of the core. `buffer` has [`READ_BYTES`].
    ///
    /// After [`SourceEvent::Opened`], the caller [reads](SourceReader::read) once without an event: bytes that
    /// came before the registration may cause none.
    pub fn execute<'a>(
        &mut self,
        command: SourceCommand,
        registry: &Registry,
        buffer: &'a mut [u8],
    ) -> Option<SourceEvent<'a>> {
        let event = match command {
            SourceCommand::Open => Some(match self.open(registry) {
                Ok(()) => SourceEvent::Opened,
                Err(failure) => SourceEvent::Failed(failure),
            }),
            SourceCommand::Read => self.stream.as_mut().and_then(|stream| stream.read(buffer)),
            SourceCommand::Close => {
                self.stream = None;
                None
            }
            SourceCommand::Kill(signal) => {
                self.signal(signal);
                None
            }
            SourceCommand::Camera(CameraCommand::Run(line)) => Some(self.run(&line, registry)),
            SourceCommand::Camera(command) => {
                self.camera.as_mut()?.execute(command).map(SourceEvent::Camera)
            }
            SourceCommand::GiveUp => {
                self.has_given_up = true;
                None
            }
        };
        self.note(event)
    }

    /// Takes the stream of a camera for reading, if it runs. It is [put back](Self::put_stream).
    pub fn take_stream(&mut self) -> Option<CameraStream> {
        self.camera.as_mut()?.take_stream()
    }

    /// See [`CameraReader::put_stream`].
    pub fn put_stream(
        &mut self,
        stream: CameraStream,
        read: io::Result<()>,
    ) -> Option<CameraEvent<'static>> {
        self.camera.as_mut()?.put_stream(stream, read)
    }

    /// See [`CameraReader::take_event`].
    pub fn take_camera_event(&mut self, registry: &Registry) -> Option<CameraEvent<'static>> {
        self.camera.as_mut()?.take_event(registry)
    }

    /// See [`CameraReader::take_change`].
    pub fn take_change(&mut self) -> Option<CameraEvent<'static>> {
        self.camera.as_mut()?.take_change()
    }

    /// Reads on after an event, or after the end of a child. `None` if there is nothing more for now. The last
    /// event of a command is its exit. A file is read by [`SourceCommand::Read`] alone.
    pub fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Option<SourceEvent<'a>> {
        if self.origin.kind() == SourceKind::File {
            return None;
        }
        let event = self.stream.as_mut().and_then(|stream| stream.read(buffer)).or_else(|| {
            let (exit, words) = self.child.take_if(|child| child.is_gone())?.into_end();
            Some(SourceEvent::Exited(exit, words))
        });
        self.note(event)
    }

    /// Reads what the command writes to standard error, at a bounded rate.
    /// [`check_child`](SourceReader::check_child) reads the rest.
    pub fn read_stderr(&mut self, now: Instant) {
        if let Some(child) = &mut self.child {
            child.read_stderr(now);
        }
    }

    /// A child of this process was reaped, with this status.
    pub fn note_reaped(&mut self, pid: Pid, status: WaitStatus) {
        if let Some(child) = &mut self.child {
            child.note_reaped(pid, status);
        }
    }

    /// Checks the command, after children were reaped or when [`check_at`](SourceReader::check_at) is due.
    /// Returns true if it has exited, which [`read`](SourceReader::read) then reports.
    pub fn check_child(&mut self, now: Instant) -> bool {
        let Some(child) = &mut self.child else { return false };
        if child.read_at().is_some() {
            child.read_stderr(now);
        }
        child.is_gone()
    }

    /// When [`check_child`](SourceReader::check_child) is due without a child that ended.
    pub fn check_at(&self) -> Option<Instant> {
        self.child.as_ref().and_then(Child::read_at)
    }

    /// Whether the core wants nothing more of the source.
    pub fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    /// Why there is nothing left to show: a clause without a full stop.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Sends a signal to all processes of the command.
    pub fn signal(&mut self, signal: Signal) {
        let request = match signal {
            Signal::Interrupt => SupervisorRequest::Interrupt,
            Signal::Terminate => SupervisorRequest::Terminate,
            Signal::Kill => SupervisorRequest::Kill,
        };
        if let Some(child) = &mut self.child {
            child.request(request);
        }
    }

    /// Waits for the end of a command that was interrupted at this time, and kills it if it takes too long.
    pub fn end(&mut self, interrupted_at: Instant) {
        self.end_until(interrupted_at + INTERRUPT_LIMIT);
    }

    /// Waits until the command has ended. Kills it at `limit`. Reaps all children of this process meanwhile.
    fn end_until(&mut self, limit: Instant) {
        self.stream = None;
        let mut is_killed = false;
        while self.child.is_some() {
            process::reap(|pid, status| self.note_reaped(pid, status));
            if self.check_child(Instant::now()) {
                return;
            }
            let now = Instant::now();
            if now >= limit && !is_killed {
                is_killed = true;
                self.signal(Signal::Kill);
            }
            if now >= limit + KILL_LIMIT {
                return;
            }
            self.read_stderr(now);
            std::thread::sleep(END_PAUSE);
        }
    }

    fn open(&mut self, registry: &Registry) -> Result<(), SourceFailure> {
        let failed = |error: io::Error| SourceFailure::Open((&error).into());
        let stream = match &self.origin {
            SourceOrigin::Stdin => Descriptor::open_stdin().map_err(failed)?,
            SourceOrigin::Fifo(path) => Descriptor::open_fifo(path).map_err(failed)?,
            SourceOrigin::File(path) => Descriptor::open(path).map_err(failed)?,
            SourceOrigin::Command(line) => self.start_command(&line.clone(), registry)?,
            SourceOrigin::Camera => unreachable!("a camera is not opened as a stream"),
        };
        self.attach(stream, registry)
    }

    /// Runs the command of a camera.
    fn run(&mut self, command: &str, registry: &Registry) -> SourceEvent<'static> {
        let started = self.start_command(command, registry);
        match started.and_then(|stream| self.attach(stream, registry)) {
            Ok(()) => SourceEvent::Opened,
            Err(failure) => SourceEvent::Failed(failure),
        }
    }

    fn attach(&mut self, stream: Descriptor, registry: &Registry) -> Result<(), SourceFailure> {
        if self.origin.kind() != SourceKind::File
            && let Err(error) = stream.register(registry, SOURCE)
        {
            self.signal(Signal::Kill);
            return Err(SourceFailure::Wait((&error).into()));
        }
        // The old descriptor is closed after the new one is open, so that a named pipe always has a reader and
        // its writers do not fail.
        self.stream = Some(stream);
        Ok(())
    }

    fn start_command(
        &mut self,
        command: &str,
        registry: &Registry,
    ) -> Result<Descriptor, SourceFailure> {
        if self.child.is_some() {
            return Err(SourceFailure::StartAgain);
        }
        let failed = |error: io::Error| SourceFailure::Start((&error).into());
        let (child, stdout) = Child::start(command, &self.program).map_err(failed)?;
        if let Err(error) = child.register(registry, SOURCE_STDERR) {
            log::debug!("the command's standard error is read late: {error}");
        }
        self.child = Some(child);
        Ok(Descriptor::from(stdout))
    }

    /// Notes an event as the reason in case it is the last one.
    fn note<'a>(&mut self, event: Option<SourceEvent<'a>>) -> Option<SourceEvent<'a>> {
        let name = self.origin.name();
        self.reason = match event.as_ref()? {
            // These change nothing since it was opened.
            SourceEvent::Bytes(_) | SourceEvent::Paused | SourceEvent::Camera(_) => return event,
            SourceEvent::Opened => format!("the stream from {name} cannot be shown"),
            SourceEvent::Ended => format!("{name} has ended"),
            SourceEvent::Failed(failure) => {
                let sentence = SourceCause::Failed(self.origin.kind(), *failure).to_string();
                sentence.trim_end_matches('.').to_owned()
            }
            SourceEvent::Exited(exit, _) => format!("{name} {exit}"),
        };
        event
    }
}

impl Drop for SourceReader {
    /// Leaves no process of a command behind.
    fn drop(&mut self) {
        self.end_until(Instant::now());
    }
}
