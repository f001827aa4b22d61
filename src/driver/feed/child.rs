//! A command: a shell in a process group of its own, with pipes for what it writes.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitStatus, kill_process_group, test_kill_process_group};

use super::stderr_tail::StderrTail;
use super::watcher::{SHELL, Watcher};
use crate::driver::children::remove_private_variables;
use crate::feed::Exit;
use crate::foreign::Foreign;

/// Reads of standard error before all others get their turn.
const STDERR_READS_A_TURN: usize = 8;
/// How long until the group is looked at again when its first process is gone: twice as long each time.
const CHECK_MIN: Duration = Duration::from_millis(10);
const CHECK_MAX: Duration = Duration::from_millis(500);

/// Tells the watcher the process group, before there is a process more in it; its standard input is the
/// watcher's pipe until then. The process stays the same.
const SCRIPT: &str = "echo $$ >&0; exec </dev/null; exec \"$0\" -c \"$1\"";

pub struct Child {
    /// The first process, and its group.
    group: Pid,
    stderr: PipeReader,
    tail: StderrTail,
    /// How the first process ended.
    status: Option<WaitStatus>,
    check_at: Option<Instant>,
    pause: Duration,
    gone: bool,
}

impl Child {
    /// Starts a command. The pipe is what it writes to standard output.
    pub fn start(command: &str, watcher: &Watcher) -> io::Result<(Child, PipeReader)> {
        let (stdout, stdout_of_child) = io::pipe()?;
        let (stderr, stderr_of_child) = io::pipe()?;
        rustix::io::ioctl_fionbio(&stdout, true)?;
        rustix::io::ioctl_fionbio(&stderr, true)?;
        let process = remove_private_variables(&mut Command::new(SHELL))
            .args(["-c", SCRIPT, SHELL, command])
            .stdin(watcher.pipe()?)
            .stdout(stdout_of_child)
            .stderr(stderr_of_child)
            .process_group(0)
            .spawn()?;
        let child = Child {
            group: Pid::from_child(&process),
            stderr,
            tail: StderrTail::default(),
            status: None,
            check_at: None,
            pause: CHECK_MIN,
            gone: false,
        };
        Ok((child, stdout))
    }

    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.stderr.as_raw_fd()), token, Interest::READABLE)
    }

    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// When to [`check`](Child::check) again, although no child of this process has ended.
    pub fn check_at(&self) -> Option<Instant> {
        self.check_at
    }

    pub fn kill(&mut self, signal: Signal, now: Instant) {
        if self.gone {
            return;
        }
        if let Err(error) = kill_process_group(self.group, signal) {
            log::debug!("the command cannot be sent {signal:?}: {error}");
        }
        self.pause = CHECK_MIN;
        if self.check_at.is_some() {
            self.check_at = Some(now + self.pause);
        }
    }

    /// A child of this process was reaped, which had ended like this.
    pub fn note_reaped(&mut self, pid: Pid, status: WaitStatus) {
        if pid == self.group {
            self.status = Some(status);
        }
    }

    /// Finds whether the group is gone, after what has ended was reaped.
    pub fn check(&mut self, now: Instant) {
        if self.gone {
            return;
        }
        // A process that is not reaped yet counts.
        self.gone = test_kill_process_group(self.group) == Err(Errno::SRCH);
        self.check_at = (!self.gone && self.status.is_some()).then(|| now + self.pause);
        self.pause = (self.pause * 2).min(CHECK_MAX);
    }

    /// Reads standard error. False when there is nothing more for now.
    pub fn read_stderr(&mut self) -> bool {
        let mut buffer = [0; 4_096];
        for _ in 0..STDERR_READS_A_TURN {
            match self.stderr.read(&mut buffer) {
                Ok(bytes @ 1..) => self.tail.push(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return false,
            }
        }
        true
    }

    /// How it ended, and what it wrote to standard error.
    pub fn into_end(mut self) -> (Exit, Option<Foreign>) {
        // A full pipe, and some more of a process that has left the group.
        for _ in 0..16 {
            if !self.read_stderr() {
                break;
            }
        }
        let signal = self.status.and_then(WaitStatus::terminating_signal);
        let status = self.status.and_then(WaitStatus::exit_status);
        let exit = match (signal, status) {
            (Some(signal), _) => Exit::Signal(signal, signal_hook::low_level::signal_name(signal)),
            (None, Some(status)) => Exit::Status(status),
            (None, None) => Exit::Unknown,
        };
        (exit, self.tail.finish())
    }
}
