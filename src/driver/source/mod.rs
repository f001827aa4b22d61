//! The descriptors and processes of a stream from outside: it is opened, read, closed and killed here as
//! [`source::Command`](SourceCommand) says, and what happens to it is told.

mod child;
pub mod link;
mod stderr_tail;
pub mod supervisor;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, WaitStatus};

use self::child::Child;
use self::supervisor::SupervisorRequest;
use crate::driver::children;
use crate::foreign::Foreign;
use crate::source::{
    Exit, Signal, SourceCause, SourceCommand, SourceEvent, SourceFailure, SourceKind,
};

/// The most that [`SourceIo::read`] reads at once.
pub const READ_BYTES: usize = 64 * 1_024;
/// The most that a process without privileges may have a pipe hold. In 64 KiB, one raw picture of 720p
/// would take 22 turns.
const PIPE_BYTES: usize = 1 << 20;
/// A description of the standard input of this process that is its own: what is set of it is not set of
/// the shell's, or of the writer's.
pub const STDIN_PATH: &str = "/proc/self/fd/0";
/// Nothing refuses to be killed, but the kernel may take its time.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// How often a command that is about to end is looked at, when there is nothing else to do.
const END_PAUSE: Duration = Duration::from_millis(5);

/// Where a stream comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceOrigin {
    Stdin,
    Fifo(PathBuf),
    File(PathBuf),
    /// A command line of the shell, whose standard output is the stream.
    Command(String),
}

impl SourceOrigin {
    pub fn kind(&self) -> SourceKind {
        match self {
            SourceOrigin::Stdin => SourceKind::Stdin,
            SourceOrigin::Fifo(_) => SourceKind::Fifo,
            SourceOrigin::File(_) => SourceKind::File,
            SourceOrigin::Command(_) => SourceKind::Command,
        }
    }

    /// What it is called in a sentence. File names may be secrets, and command lines often have some.
    fn name(&self) -> &'static str {
        match self {
            SourceOrigin::Stdin => "standard input",
            SourceOrigin::File(path) if path == Path::new(STDIN_PATH) => "standard input",
            SourceOrigin::Fifo(_) => "the named pipe",
            SourceOrigin::File(_) => "the file",
            SourceOrigin::Command(_) => "the command",
        }
    }
}

/// What has happened, as [`SourceEvent`] tells it to the core.
#[derive(Debug, PartialEq, Eq)]
pub enum SourceReport {
    Opened,
    /// So many bytes are in the buffer.
    Bytes(usize),
    Ended,
    Failed(SourceFailure),
    /// How the command ended, and what it wrote to standard error.
    Exited(Exit, Option<Foreign>),
}

impl SourceReport {
    pub fn event<'a>(&'a self, buffer: &'a [u8]) -> SourceEvent<'a> {
        match self {
            SourceReport::Opened => SourceEvent::Opened,
            SourceReport::Bytes(bytes) => SourceEvent::Bytes(&buffer[..*bytes]),
            SourceReport::Ended => SourceEvent::Ended,
            SourceReport::Failed(failure) => SourceEvent::Failed(*failure),
            SourceReport::Exited(exit, words) => SourceEvent::Exited(*exit, words.as_ref()),
        }
    }
}

/// The descriptors and processes of one stream.
pub struct SourceIo {
    origin: SourceOrigin,
    /// This program.
    program: PathBuf,
    bytes_token: Token,
    stderr_token: Token,
    input: Option<Descriptor>,
    child: Option<Child>,
}

/// An open descriptor.
struct Descriptor {
    file: File,
    /// Whether a read may block.
    blocks: bool,
    /// The end was told, or an error.
    ended: bool,
}

impl SourceIo {
    /// A stream that is not open. Its bytes are announced to the poll with the one token, and what a command
    /// writes to standard error with the other. `program` is this program, which supervises a command.
    pub fn new(
        origin: SourceOrigin,
        program: &Path,
        bytes_token: Token,
        stderr_token: Token,
    ) -> SourceIo {
        let program = program.into();
        SourceIo { origin, program, bytes_token, stderr_token, input: None, child: None }
    }

    /// Does what the core wants. [`SourceCommand::GiveUp`] is not for the stream to do.
    pub fn execute(
        &mut self,
        command: SourceCommand,
        registry: &Registry,
        buffer: &mut [u8],
    ) -> Option<SourceReport> {
        match command {
            SourceCommand::Open => Some(match self.open(registry) {
                Ok(()) => SourceReport::Opened,
                Err(failure) => SourceReport::Failed(failure),
            }),
            SourceCommand::Read => self.read_input(buffer),
            SourceCommand::Close => {
                self.input = None;
                None
            }
            SourceCommand::Kill(signal) => {
                self.kill(signal);
                None
            }
            SourceCommand::GiveUp => None,
        }
    }

    /// After word of readiness, or of the end of a child: what there is next, until there is nothing more
    /// for now. A command's end is the last.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<SourceReport> {
        if self.origin.kind() == SourceKind::File {
            return None;
        }
        if let Some(report) = self.read_input(buffer) {
            return Some(report);
        }
        let child = self.child.take_if(|child| child.is_gone())?;
        let (exit, words) = child.into_end();
        Some(SourceReport::Exited(exit, words))
    }

    /// A report as the reason why there is nothing to be shown any more: a sentence without a full stop.
    pub fn reason(&self, report: &SourceReport) -> String {
        let name = self.origin.name();
        match report {
            SourceReport::Opened | SourceReport::Bytes(_) => {
                format!("the stream of {name} cannot be shown")
            }
            SourceReport::Ended => format!("{name} has ended"),
            SourceReport::Failed(failure) => {
                let sentence = SourceCause::Failed(self.origin.kind(), *failure).to_string();
                sentence.trim_end_matches('.').to_owned()
            }
            SourceReport::Exited(exit, _) => format!("{name} {exit}"),
        }
    }

    /// Reads what the command writes to standard error, at a bounded rate: [`check_child`](SourceIo::check_child)
    /// reads on.
    pub fn read_stderr(&mut self, now: Instant) {
        if let Some(child) = &mut self.child {
            child.read_stderr(now);
        }
    }

    /// A child of this process was reaped, which had ended like this.
    pub fn note_reaped(&mut self, pid: Pid, status: WaitStatus) {
        if let Some(child) = &mut self.child {
            child.note_reaped(pid, status);
        }
    }

    /// Looks after the command, when what has ended was reaped, or when it is time. True if the command is
    /// gone, and [`read`](SourceIo::read) will tell so.
    pub fn check_child(&mut self, now: Instant) -> bool {
        let Some(child) = &mut self.child else { return false };
        if child.read_at().is_some() {
            child.read_stderr(now);
        }
        child.is_gone()
    }

    /// When to [`check_child`](SourceIo::check_child), although no child has ended.
    pub fn check_at(&self) -> Option<Instant> {
        self.child.as_ref().and_then(Child::read_at)
    }

    /// Waits until the command is gone, which was asked to end. At `limit`, it is killed. All children of
    /// this process are reaped meanwhile.
    pub fn end(&mut self, limit: Instant) {
        self.input = None;
        let mut killed = false;
        while self.child.is_some() {
            children::reap(|pid, status| self.note_reaped(pid, status));
            if self.check_child(Instant::now()) {
                return;
            }
            let now = Instant::now();
            if now >= limit && !killed {
                killed = true;
                self.kill(Signal::Kill);
            }
            if now >= limit + KILL_LIMIT {
                return;
            }
            self.read_stderr(now);
            std::thread::sleep(END_PAUSE);
        }
    }

    pub fn kill(&mut self, signal: Signal) {
        let request = match signal {
            Signal::Interrupt => SupervisorRequest::Interrupt,
            Signal::Terminate => SupervisorRequest::Terminate,
            Signal::Kill => SupervisorRequest::Kill,
        };
        if let Some(child) = &mut self.child {
            child.request(request);
        }
    }

    fn open(&mut self, registry: &Registry) -> Result<(), SourceFailure> {
        let failed = |error: io::Error| SourceFailure::Open((&error).into());
        let mut input = match &self.origin {
            SourceOrigin::Stdin => open_stdin().map_err(failed)?,
            SourceOrigin::Fifo(path) | SourceOrigin::File(path) => Descriptor {
                file: open_nonblocking(path).map_err(failed)?,
                blocks: false,
                ended: false,
            },
            SourceOrigin::Command(_) => self.start_command(registry)?,
        };
        if self.origin.kind() != SourceKind::File
            && let Err(error) = input.register(registry, self.bytes_token)
        {
            self.kill(Signal::Kill);
            return Err(SourceFailure::Wait((&error).into()));
        }
        // One that is still open is let go of after the new one is there: a named pipe has a reader all the
        // time, and its writers do not fail.
        self.input = Some(input);
        Ok(())
    }

    fn start_command(&mut self, registry: &Registry) -> Result<Descriptor, SourceFailure> {
        let SourceOrigin::Command(command) = &self.origin else { unreachable!("it is a command") };
        if self.child.is_some() {
            return Err(SourceFailure::StartAgain);
        }
        let failed = |error: io::Error| SourceFailure::Start((&error).into());
        let (child, stdout) = Child::start(command, &self.program).map_err(failed)?;
        if let Err(error) = child.register(registry, self.stderr_token) {
            log::debug!("what the command writes to standard error is read late: {error}");
        }
        self.child = Some(child);
        Ok(Descriptor { file: OwnedFd::from(stdout).into(), blocks: false, ended: false })
    }

    fn read_input(&mut self, buffer: &mut [u8]) -> Option<SourceReport> {
        let kind = self.origin.kind();
        let input = self.input.as_mut().filter(|input| !input.ended)?;
        let buffer = &mut buffer[..READ_BYTES];
        loop {
            if input.blocks && input.ready().is_empty() {
                return None;
            }
            match input.file.read(buffer) {
                // A named pipe that nobody has written to yet reads as if it had ended.
                Ok(0) if kind == SourceKind::Fifo && !input.ready().contains(PollFlags::HUP) => {
                    return None;
                }
                Ok(0) => {
                    input.ended = true;
                    return Some(SourceReport::Ended);
                }
                Ok(bytes) => return Some(SourceReport::Bytes(bytes)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => {
                    input.ended = true;
                    return Some(SourceReport::Failed(SourceFailure::Read((&error).into())));
                }
            }
        }
    }
}

impl Drop for SourceIo {
    /// Nothing of a command is left behind, whatever ends the stream.
    fn drop(&mut self) {
        self.end(Instant::now());
    }
}

impl Descriptor {
    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        // What is no pipe stays as it is, and so does one for which the user has no room left.
        let _ = fcntl_setpipe_size(&self.file, PIPE_BYTES);
        registry.register(&mut SourceFd(&self.file.as_raw_fd()), token, Interest::READABLE)
    }

    /// What there is without waiting: bytes, or the end.
    fn ready(&self) -> PollFlags {
        let mut descriptors = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut descriptors, Some(&Timespec::default())) {
            Ok(_) => descriptors[0].revents(),
            Err(_) => PollFlags::empty(),
        }
    }
}

fn open_nonblocking(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Sockets cannot be opened again, nor can the pipes of another user.
fn open_stdin() -> io::Result<Descriptor> {
    if let Ok(file) = open_nonblocking(Path::new(STDIN_PATH)) {
        return Ok(Descriptor { file, blocks: false, ended: false });
    }
    let file = io::stdin().as_fd().try_clone_to_owned()?.into();
    Ok(Descriptor { file, blocks: true, ended: false })
}
