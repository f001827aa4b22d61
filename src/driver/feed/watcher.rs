//! Ends a command when Ballcast is killed: a signal that cannot be caught leaves nobody else to do it.
//!
//! The watcher is a shell that reads a pipe whose other end is open in this process only. Its lines say
//! which process group is to be killed when the pipe ends: a number, or nothing for none.

use std::io::{self, PipeWriter, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// What runs shell commands, as in system(3).
pub const SHELL: &str = "/bin/sh";

const SCRIPT: &str = "while read -r line; do group=$line; done; \
                      [ -z \"$group\" ] || kill -9 \"-$group\"";

pub struct Watcher {
    pid: Pid,
    pipe: PipeWriter,
    reaped: bool,
}

impl Watcher {
    pub fn start() -> io::Result<Watcher> {
        let (reader, pipe) = io::pipe()?;
        // In a process group of its own, Ctrl-C in a terminal does not reach it.
        let process = Command::new(SHELL)
            .args(["-c", SCRIPT])
            .env_clear()
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Watcher { pid: Pid::from_child(&process), pipe, reaped: false })
    }

    /// Where a process writes the number of its group, which is killed when this process ends.
    pub fn pipe(&self) -> io::Result<PipeWriter> {
        self.pipe.try_clone()
    }

    /// The group is gone, and its number may be another's soon.
    pub fn forget_group(&mut self) {
        if let Err(error) = self.pipe.write_all(b"\n") {
            log::debug!("the watcher of the command has ended: {error}");
        }
    }

    /// A child of this process was reaped. True if it was the watcher.
    pub fn note_reaped(&mut self, pid: Pid) -> bool {
        self.reaped |= pid == self.pid;
        self.reaped
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if !self.reaped {
            // There is no more to do about an error.
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}
