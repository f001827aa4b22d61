//! This process: its limit of open files, the signals that it handles, and its children.
//!
//! All children are reaped in one place. The id of a reaped process may be reused at once, so whoever might still
//! send a signal to it has to be told.

use std::io;
use std::process::Command;

use mio::{Interest, Registry};
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, WaitStatus, getrlimit, setrlimit, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals as SignalStream;

use super::tokens::SIGNALS;

/// More open files than any reasonable limit of connections needs. A higher limit would cost kernel memory.
const OPEN_FILES: u64 = 65_536;

/// The path of this program, even if its file was replaced.
pub const PROGRAM: &str = "/proc/self/exe";

/// Secrets, and the socket to systemd.
const PRIVATE_VARIABLES: [&str; 4] =
    ["BALLCAST_TOKEN", "BALLCAST_PUBLISH_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"];

/// Raises the soft limit of open files as far as the hard limit allows, up to [`OPEN_FILES`]. The usual
/// default, 1,024, is for programs that use `select`.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if current.is_some_and(|current| current < wanted) {
        let limit = Rlimit { current: Some(wanted), maximum };
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            log::debug!("the limit of open files stays at {current:?}: {error}");
        }
    }
}

/// SIGCHLD, and the signals that ask the program to exit.
pub struct Signals(SignalStream);

/// The signals that have arrived since the last call.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    pub exit: bool,
    pub child_ended: bool,
}

impl Signals {
    /// Handles SIGINT, SIGTERM, SIGCHLD, and SIGHUP, which the kernel sends when the terminal is closed,
    /// unless nohup(1) or a shell has made the process ignore it.
    pub fn register(registry: &Registry) -> io::Result<Signals> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = (!is_ignored(&status, SIGHUP)).then_some(SIGHUP);
        let mut signals = SignalStream::new([SIGINT, SIGTERM, SIGCHLD].into_iter().chain(hangup))?;
        registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
        Ok(Signals(signals))
    }

    pub fn take(&mut self) -> Arrived {
        let mut arrived = Arrived { exit: false, child_ended: false };
        for signal in self.0.pending() {
            match signal {
                SIGCHLD => arrived.child_ended = true,
                _ => arrived.exit = true,
            }
        }
        arrived
    }
}

/// Whether a process ignores a signal, by its `status` in proc(5).
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Removes variables that are private to this process from the environment of a child.
pub fn remove_private_variables(command: &mut Command) -> &mut Command {
    PRIVATE_VARIABLES.iter().fold(command, |command, variable| command.env_remove(variable))
}

/// Reaps all children that have ended, and calls `note_reaped` with each.
pub fn reap(mut note_reaped: impl FnMut(Pid, WaitStatus)) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        note_reaped(pid, status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_was_ignored_from_the_start_is_recognized() {
        let status = "Name:\tballcast\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(status, SIGHUP));
        assert!(!is_ignored(status, SIGTERM));
        assert!(!is_ignored("SigIgn:\t\n", SIGHUP) && !is_ignored("", SIGHUP));
    }
}
