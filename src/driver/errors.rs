//! Errors of system calls: which of them pass, and which the operator should know of, without a flood
//! of lines.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// Why the loop has ended that should not have.
#[derive(Debug)]
pub enum RunError {
    /// The kernel cannot be waited for.
    Wait(io::Error),
    /// There is nothing to be shown any more, for this reason: a sentence without a full stop.
    NothingToShow(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Wait(error) => write!(f, "The event loop failed: {error}."),
            RunError::NothingToShow(reason) => {
                write!(f, "There is nothing left to show: {reason}.")
            }
        }
    }
}

/// How long until the same error is a line again.
const INTERVAL: Duration = Duration::from_secs(60);

/// Errors of the operating system that were warned of, by number.
#[derive(Debug, Default)]
pub struct Warnings(BTreeMap<i32, Instant>);

impl Warnings {
    /// Logs an error and what follows from it, each kind once a minute.
    pub fn warn(&mut self, error: &io::Error, what: &str) {
        let now = Instant::now();
        let number = error.raw_os_error().unwrap_or_default();
        let due = self.0.get(&number).is_none_or(|last| now >= *last + INTERVAL);
        if due {
            self.0.insert(number, now);
            log::warn!("{what}: {error}");
        }
    }
}

/// Whether an error of a socket concerns one call, one connection or one destination, and not the
/// machine: the next call may well succeed.
pub fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted
            | ErrorKind::WouldBlock
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::TimedOut
    )
}

/// Whether a system call will fail in the same way for ever: what it was given is wrong.
pub fn is_of_the_call(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EFAULT | libc::EINVAL))
}
