//! Child processes: what they are not to know, and how they are reaped.
//!
//! Children are reaped in one place, for all that have started some: a number that was waited for may be
//! another process's at once, so whoever might still send a signal to it has to be told.

use std::process::Command;

use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

/// This program, also when its file was replaced by a newer one.
pub const PROGRAM: &str = "/proc/self/exe";

/// Secrets, and what is between this process and systemd.
const PRIVATE_VARIABLES: [&str; 4] =
    ["BALLCAST_TOKEN", "BALLCAST_PUBLISH_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"];

/// Leaves out of a child's environment what is this process's alone.
pub fn remove_private_variables(command: &mut Command) -> &mut Command {
    PRIVATE_VARIABLES.iter().fold(command, |command, variable| command.env_remove(variable))
}

/// Reaps all children that have ended, and tells of each.
pub fn reap(mut note_reaped: impl FnMut(Pid, WaitStatus)) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        note_reaped(pid, status);
    }
}
