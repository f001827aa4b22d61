//! The process between Ballcast and a command, which holds on to all processes of the command.
//!
//! It is this program with [`FLAG`]. As a child subreaper (prctl(2)) it becomes the parent of each process
//! of the command whose own parent ends, also of those that have left the process group or the session. It
//! has children as long as anything is left of the command, and ends with the last of them. It starts the
//! command in a process group of its own, and reads nothing that the command writes.
//!
//! Standard input is a socket to Ballcast. Each byte that comes is a [`SupervisorRequest`]: a signal for all processes
//! of the command. The end of the socket is the end of Ballcast, by whatever: all processes are killed.
//! Before the supervisor ends, it writes how the command has ended, an [`End`].
//!
//! A process of another user cannot be sent a signal, and is waited for.

use std::collections::BTreeMap;
use std::fs::{File, read_dir, read_to_string};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
    set_child_subreaper, set_parent_process_death_signal, wait,
};
use rustix::stdio::{dup2_stderr, dup2_stdout};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::driver::children::remove_private_variables;
use crate::os_error::OsError;

/// The flag that makes this program a supervisor. It is for the program itself, and so not in its help.
pub const FLAG: &str = "supervise";
/// The command, which is in no list of processes before its shell is.
pub const COMMAND_VARIABLE: &str = "BALLCAST_COMMAND";
/// What runs shell commands, as in system(3).
const SHELL: &str = "/bin/sh";

/// Between two looks for processes that are to be killed: one may have been started during a look, and the
/// kernel may take its time. Twice as long each time.
const KILL_PAUSE_MIN: Duration = Duration::from_millis(1);
const KILL_PAUSE_MAX: Duration = Duration::from_millis(100);

/// What is done to all processes of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupervisorRequest {
    Interrupt,
    Terminate,
    /// Until none is left.
    Kill,
}

impl SupervisorRequest {
    pub fn byte(self) -> u8 {
        match self {
            SupervisorRequest::Interrupt => b'I',
            SupervisorRequest::Terminate => b'T',
            SupervisorRequest::Kill => b'K',
        }
    }

    fn from_byte(byte: u8) -> Option<SupervisorRequest> {
        let all =
            [SupervisorRequest::Interrupt, SupervisorRequest::Terminate, SupervisorRequest::Kill];
        all.into_iter().find(|request| request.byte() == byte)
    }
}

/// How the command's first process has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Status(i32),
    Signal(i32),
    /// It did not begin.
    NotStarted(OsError),
}

impl End {
    fn new(status: WaitStatus) -> End {
        match status.terminating_signal() {
            Some(signal) => End::Signal(signal),
            None => End::Status(status.exit_status().unwrap_or_default()),
        }
    }

    fn to_line(&self) -> String {
        match self {
            End::Status(status) => format!("status {status}\n"),
            End::Signal(signal) => format!("signal {signal}\n"),
            End::NotStarted(OsError::Number(number)) => format!("failed {number}\n"),
            End::NotStarted(OsError::Kind(_)) => "failed 0\n".to_owned(),
        }
    }

    /// `None` if the supervisor has ended without a word.
    pub fn from_line(line: &str) -> Option<End> {
        let (kind, value) = line.trim_end().split_once(' ')?;
        match kind {
            "status" => value.parse().ok().map(End::Status),
            "signal" => value.parse().ok().map(End::Signal),
            "failed" => value.parse().ok().map(|it| End::NotStarted(OsError::Number(it))),
            _ => None,
        }
    }
}

/// The process's whole life.
///
/// # Errors
/// The machine is out of something, or this is not a process that Ballcast has started: a sentence.
pub fn supervise() -> Result<(), String> {
    let failed = |error: io::Error| format!("The command cannot be supervised: {error}.");
    let command = std::env::var_os(COMMAND_VARIABLE).ok_or("There is no command to supervise.")?;
    // What a terminal or systemd sends to all processes is for the command's.
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).map_err(failed)?;
    }
    set_child_subreaper(Some(getpid())).map_err(|error| failed(error.into()))?;
    // The command may have stopped this process when Ballcast is killed.
    set_parent_process_death_signal(Some(Signal::CONT)).map_err(|error| failed(error.into()))?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    let started = remove_private_variables(&mut Command::new(SHELL))
        .env_remove(COMMAND_VARIABLE)
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn();
    // Ballcast sees the end of what the command writes when the command has closed it.
    let nowhere = File::options().write(true).open("/dev/null").map_err(failed)?;
    dup2_stdout(&nowhere).and_then(|()| dup2_stderr(&nowhere)).map_err(|e| failed(e.into()))?;
    let end = match started {
        Ok(child) => {
            let requests = socket.try_clone().map_err(failed)?;
            // A process group has the number of its first process.
            let first = Pid::from_child(&child);
            std::thread::spawn(move || obey(requests, first));
            reap_all(first)
        }
        Err(error) => End::NotStarted((&error).into()),
    };
    // Nobody may be left to be told.
    let _ = (&socket).write_all(end.to_line().as_bytes());
    Ok(())
}

/// Waits until no process is left, and returns how the first one has ended.
fn reap_all(first: Pid) -> End {
    let mut end = End::Status(0);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == first => end = End::new(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return end,
        }
    }
}

/// Does what Ballcast wants, until it wants all killed, or has ended.
fn obey(mut requests: UnixStream, group: Pid) {
    let mut byte = [0];
    loop {
        let request = match requests.read(&mut byte) {
            Ok(1) => SupervisorRequest::from_byte(byte[0]).unwrap_or(SupervisorRequest::Kill),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(_) | Err(_) => SupervisorRequest::Kill,
        };
        match request {
            SupervisorRequest::Interrupt => send_to_all(Signal::INT, group),
            SupervisorRequest::Terminate => send_to_all(Signal::TERM, group),
            SupervisorRequest::Kill => break,
        }
    }
    let mut pause = KILL_PAUSE_MIN;
    // The process ends with the last of those that are killed.
    loop {
        send_to_all(Signal::KILL, group);
        std::thread::sleep(pause);
        pause = (pause * 2).min(KILL_PAUSE_MAX);
    }
}

/// Sends a signal to all processes below this one: to the command's group at once, so that none is missed
/// that is started meanwhile, then to those that have left it, parents first: who is killed starts no more.
fn send_to_all(signal: Signal, group: Pid) {
    let mut children = children_by_parent();
    let mut parents = vec![getpid().as_raw_pid()];
    let (mut group_is_there, mut others) = (false, Vec::new());
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            match child.group == group.as_raw_pid() {
                true => group_is_there = true,
                false => others.extend(Pid::from_raw(child.pid)),
            }
            parents.push(child.pid);
        }
    }
    // They may be gone, or another user's.
    if group_is_there {
        let _ = kill_process_group(group, signal);
    }
    for process in others {
        let _ = kill_process(process, signal);
    }
}

struct Process {
    pid: i32,
    group: i32,
}

/// All processes of this machine that can be seen, by their parents (proc(5)).
fn children_by_parent() -> BTreeMap<i32, Vec<Process>> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for entry in read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        let stat = read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((parent, group)) = parent_and_group_of(&stat) {
            children.entry(parent).or_default().push(Process { pid, group });
        }
    }
    children
}

/// The fourth and the fifth field of `/proc/PID/stat`. The second is a name in parentheses, which may have any
/// characters.
fn parent_and_group_of(stat: &str) -> Option<(i32, i32)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_requests_survive_the_socket() {
        let not_started = End::NotStarted(OsError::Number(2));
        for end in [End::Status(0), End::Status(127), End::Signal(9), not_started] {
            assert_eq!(End::from_line(&end.to_line()), Some(end));
        }
        for nothing in ["", "status", "status x\n", "word 1\n"] {
            assert_eq!(End::from_line(nothing), None, "{nothing}");
        }
        for request in
            [SupervisorRequest::Interrupt, SupervisorRequest::Terminate, SupervisorRequest::Kill]
        {
            assert_eq!(SupervisorRequest::from_byte(request.byte()), Some(request));
        }
        assert_eq!(SupervisorRequest::from_byte(0), None);
    }

    #[test]
    fn parent_and_group_are_found_whatever_the_name_of_the_process() {
        assert_eq!(parent_and_group_of("12 (cat) S 7 11 12 0 -1"), Some((7, 11)));
        assert_eq!(parent_and_group_of("12 (a) S 1 (b)) R 7 12"), Some((7, 12)));
        assert_eq!(parent_and_group_of(""), None);
        let own = children_by_parent();
        let pid = std::process::id() as i32;
        assert!(own.values().flatten().any(|child| child.pid == pid));
    }
}
