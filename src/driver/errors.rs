//! Errors of system calls: which of them pass, and rate-limited warnings.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// Why the loop has ended other than by a signal.
#[derive(Debug)]
pub enum RunError {
    /// The kernel cannot wait for events.
    Wait(io::Error),
    /// There is nothing left to show, for this reason: a clause without a full stop.
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

/// Time between two warnings of the same error.
const INTERVAL: Duration = Duration::from_secs(60);

/// When each error of the operating system, by number, was last warned of. All other errors count as one.
#[derive(Debug, Default)]
pub struct Warnings(BTreeMap<i32, Instant>);

impl Warnings {
    /// Logs an error and its consequence, each error at most once a minute.
    pub fn warn(&mut self, error: &io::Error, consequence: &str) {
        let number = error.raw_os_error().unwrap_or_default();
        if self.take_due(number, Instant::now()) {
            log::warn!("{consequence}: {error}");
        }
    }

    fn take_due(&mut self, number: i32, now: Instant) -> bool {
        let is_due = self.0.get(&number).is_none_or(|last| now >= *last + INTERVAL);
        if is_due {
            self.0.insert(number, now);
        }
        is_due
    }
}

/// Whether an error of a socket concerns a single call, connection or destination: the next call may succeed.
pub fn is_transient(error: &io::Error) -> bool {
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

/// Whether the same system call always fails: its arguments are invalid.
pub fn is_permanent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EFAULT | libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_warned_of_once_a_minute_and_others_meanwhile() {
        let (mut warnings, start) = (Warnings::default(), Instant::now());
        let mut is_due =
            |number, seconds| warnings.take_due(number, start + Duration::from_secs(seconds));
        assert!(is_due(libc::ENOMEM, 0) && is_due(libc::EMFILE, 1));
        assert!(
            !is_due(libc::ENOMEM, 59) && is_due(libc::ENOMEM, 60) && !is_due(libc::ENOMEM, 119)
        );
    }

    #[test]
    fn errors_of_a_peer_pass_and_invalid_arguments_do_not() {
        let error = io::Error::from_raw_os_error;
        for number in [libc::EINTR, libc::EAGAIN, libc::ECONNRESET, libc::EHOSTUNREACH] {
            assert!(is_transient(&error(number)) && !is_permanent(&error(number)), "{number}");
        }
        for number in [libc::EBADF, libc::EINVAL] {
            assert!(is_permanent(&error(number)) && !is_transient(&error(number)), "{number}");
        }
        for number in [libc::ENOMEM, libc::EMFILE, libc::ENOBUFS] {
            assert!(!is_permanent(&error(number)) && !is_transient(&error(number)), "{number}");
        }
    }
}
