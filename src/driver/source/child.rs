//! A running command: its supervisor process, and a pipe for each of its output streams.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::process::{Pid, Signal, WaitStatus, kill_process};

use super::stderr_tail::StderrTail;
use super::supervisor::{self, COMMAND_VARIABLE, CommandEnd, SupervisorRequest};
use crate::driver::process::remove_private_variables;
use crate::foreign::Foreign;
use crate::source::Exit;

/// Standard error is read at 128 KiB/s: a line costs some 0.1 µs and may have only two bytes. A command that
/// writes more blocks on its pipe.
const STDERR_BYTES_PER_TURN: usize = 8 * 1_024;
const STDERR_PAUSE: Duration = Duration::from_millis(64);
/// The most that is read when the command has ended: a pipe holds 64 KiB.
const STDERR_BYTES_AT_END: usize = 128 * 1_024;
/// More than the message of a supervisor.
const END_MAX_BYTES: usize = 1_024;

pub struct Child {
    supervisor: Pid,
    /// Requests to the supervisor. It kills the command when the socket is closed, for whatever reason.
    socket: UnixStream,
    stderr: PipeReader,
    tail: StderrTail,
    /// When to read more of standard error, if there may be more.
    read_at: Option<Instant>,
    /// The supervisor's status. It exits after all processes of the command.
    ended: Option<WaitStatus>,
}

impl Child {
    /// Starts a command and returns the pipe of its standard output. `program` is the path of this program.
    pub fn start(command: &str, program: &Path) -> io::Result<(Child, PipeReader)> {
        let (stdout, stdout_of_child) = io::pipe()?;
        let (stderr, stderr_of_child) = io::pipe()?;
        let (socket, socket_of_child) = UnixStream::pair()?;
        rustix::io::ioctl_fionbio(&stdout, true)?;
        rustix::io::ioctl_fionbio(&stderr, true)?;
        socket.set_nonblocking(true)?;
        // A process group of its own, which Ctrl-C in a terminal does not reach, and a name of its own, which
        // `pkill ballcast` does not match.
        let process = remove_private_variables(&mut Command::new(program))
            .arg0("supervisor")
            .arg(format!("--{}", supervisor::FLAG))
            .env(COMMAND_VARIABLE, command)
            .stdin(OwnedFd::from(socket_of_child))
            .stdout(stdout_of_child)
            .stderr(stderr_of_child)
            .process_group(0)
            .spawn()?;
        let child = Child {
            supervisor: Pid::from_child(&process),
            socket,
            stderr,
            tail: StderrTail::default(),
            read_at: None,
            ended: None,
        };
        Ok((child, stdout))
    }

    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.stderr.as_raw_fd()), token, Interest::READABLE)
    }

    /// Whether all processes of the command have ended.
    pub fn is_gone(&self) -> bool {
        self.ended.is_some()
    }

    /// When to [`read_stderr`](Child::read_stderr) again without an event.
    pub fn read_at(&self) -> Option<Instant> {
        self.read_at
    }

    pub fn request(&mut self, request: SupervisorRequest) {
        if self.is_gone() {
            return;
        }
        if let Err(error) = self.socket.write_all(&[request.byte()]) {
            log::debug!("cannot send {request:?} to the supervisor: {error}");
        }
        // The command may have stopped the supervisor with SIGSTOP.
        let _ = kill_process(self.supervisor, Signal::CONT);
    }

    /// A child of this process was reaped, with this status.
    pub fn note_reaped(&mut self, pid: Pid, status: WaitStatus) {
        if pid == self.supervisor {
            self.ended = Some(status);
        }
    }

    /// Reads standard error, as far as its rate allows.
    pub fn read_stderr(&mut self, now: Instant) {
        if self.read_at.is_some_and(|at| now < at) {
            return;
        }
        let any_left = self.read_some_stderr(STDERR_BYTES_PER_TURN);
        self.read_at = any_left.then(|| now + STDERR_PAUSE);
    }

    /// Returns false if there is nothing more for now.
    fn read_some_stderr(&mut self, most_bytes: usize) -> bool {
        let mut buffer = [0; 4_096];
        let mut bytes = 0;
        while bytes < most_bytes {
            match self.stderr.read(&mut buffer) {
                Ok(read @ 1..) => {
                    self.tail.push(&buffer[..read]);
                    bytes += read;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return false,
            }
        }
        true
    }

    /// Returns how the command ended, and what it wrote to standard error.
    pub fn into_end(mut self) -> (Exit, Option<Foreign>) {
        self.read_some_stderr(STDERR_BYTES_AT_END);
        let exit = match self.end() {
            Some(CommandEnd::Signal(signal)) => {
                Exit::Signal(signal, signal_hook::low_level::signal_name(signal))
            }
            Some(CommandEnd::Status(status)) => Exit::Status(status),
            Some(CommandEnd::NotStarted(error)) => Exit::NotStarted(error),
            None => Exit::Unknown,
        };
        (exit, self.tail.finish())
    }

    fn end(&mut self) -> Option<CommandEnd> {
        let mut line = [0; END_MAX_BYTES];
        let bytes = self.socket.read(&mut line).ok()?;
        CommandEnd::from_line(&String::from_utf8_lossy(&line[..bytes]))
    }
}
