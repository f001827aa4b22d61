//! Child processes: their environment, and how they are reaped.
//!
//! All children are reaped in one place. The id of a reaped process may be reused at once, so whoever might still
//! send a signal to it has to be told.

use std::process::Command;

use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

/// The path of this program, even if its file was replaced.
pub const PROGRAM: &str = "/proc/self/exe";

/// Secrets, and the socket to systemd.
const PRIVATE_VARIABLES: [&str; 4] =
    ["BALLCAST_TOKEN", "BALLCAST_PUBLISH_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"];

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
