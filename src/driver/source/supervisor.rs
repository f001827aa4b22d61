//! The process between Ballcast and a command, which keeps track of all processes of the command.
//!
//! It is this program with the option [`FLAG`]. As a child subreaper (prctl(2)) it becomes the parent of each
//! process of the command whose own parent exits, even if that process has left the process group or the
//! session. So it has children as long as any process of the command is left, and exits after the last of them.
//! It starts the command in a process group of its own, and reads none of its output.
//!
//! Standard input is a socket to Ballcast. Each byte on it is a [`SupervisorRequest`]: a signal for all
//! processes of the command. When Ballcast ends, for whatever reason, the socket is closed, and all processes
//! are killed. Before the supervisor exits, it writes how the command ended, as a [`CommandEnd`].
//!
//! Processes of another user cannot be sent signals. The supervisor waits for them.

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

use crate::driver::process::remove_private_variables;
use crate::os_error::OsError;

/// The option that makes this program a supervisor. Only the program itself uses it, so it is not in `--help`.
pub const FLAG: &str = "supervise";
/// The environment variable with the command, which keeps it out of the list of processes until its shell
/// starts.
pub const COMMAND_VARIABLE: &str = "BALLCAST_COMMAND";
/// The shell that runs commands, as in system(3).
const SHELL: &str = "/bin/sh";

/// Time between two searches for processes to kill, doubled each time: a process may have been started during
/// a search, and the kernel may be slow to end one.
const KILL_PAUSE_MIN: Duration = Duration::from_millis(1);
const KILL_PAUSE_MAX: Duration = Duration::from_millis(100);

/// A signal for all processes of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupervisorRequest {
    Interrupt,
    Terminate,
    /// Repeated until none is left.
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

/// How the command's first process, its shell, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEnd {
    Status(i32),
    Signal(i32),
    /// The shell could not be started.
    NotStarted(OsError),
}

impl CommandEnd {
    fn new(status: WaitStatus) -> CommandEnd {
        match status.terminating_signal() {
            Some(signal) => CommandEnd::Signal(signal),
            None => CommandEnd::Status(status.exit_status().unwrap_or_default()),
        }
    }

    fn to_line(&self) -> String {
        match self {
            CommandEnd::Status(status) => format!("status {status}\n"),
            CommandEnd::Signal(signal) => format!("signal {signal}\n"),
            CommandEnd::NotStarted(OsError::Number(number)) => format!("failed {number}\n"),
            CommandEnd::NotStarted(OsError::Kind(_)) => "failed 0\n".to_owned(),
        }
    }

    /// `None` if the supervisor ended without a message.
    pub fn from_line(line: &str) -> Option<CommandEnd> {
        let (kind, value) = line.trim_end().split_once(' ')?;
        match kind {
            "status" => value.parse().ok().map(CommandEnd::Status),
            "signal" => value.parse().ok().map(CommandEnd::Signal),
            "failed" => value.parse().ok().map(|it| CommandEnd::NotStarted(OsError::Number(it))),
            _ => None,
        }
    }
}

/// Runs the supervisor, to its end.
///
/// # Errors
/// A sentence: the machine lacks a resource, or Ballcast did not start this process.
pub fn supervise() -> Result<(), String> {
    let failed = |error: io::Error| format!("The command cannot be supervised: {error}.");
    let command = std::env::var_os(COMMAND_VARIABLE).ok_or("There is no command to supervise.")?;
    // A terminal or systemd sends these to all processes. The command decides what they mean.
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).map_err(failed)?;
    }
    set_child_subreaper(Some(getpid())).map_err(|error| failed(error.into()))?;
    // If Ballcast is killed while the command has stopped this process, it has to continue.
    set_parent_process_death_signal(Some(Signal::CONT)).map_err(|error| failed(error.into()))?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    let started = remove_private_variables(&mut Command::new(SHELL))
        .env_remove(COMMAND_VARIABLE)
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn();
    // Without copies here, Ballcast sees the end of the output when the command closes it.
    let nowhere = File::options().write(true).open("/dev/null").map_err(failed)?;
    dup2_stdout(&nowhere).and_then(|()| dup2_stderr(&nowhere)).map_err(|e| failed(e.into()))?;
    let end = match started {
        Ok(child) => {
            let requests = socket.try_clone().map_err(failed)?;
            // The id of a process group is that of its first process.
            let first = Pid::from_child(&child);
            std::thread::spawn(move || obey(requests, first));
            reap_all(first)
        }
        Err(error) => CommandEnd::NotStarted((&error).into()),
    };
    // Ballcast may be gone.
    let _ = (&socket).write_all(end.to_line().as_bytes());
    Ok(())
}

/// Waits until no process is left, and returns how the first one ended.
fn reap_all(first: Pid) -> CommandEnd {
    let mut end = CommandEnd::Status(0);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == first => end = CommandEnd::new(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return end,
        }
    }
}

/// Carries out the requests of Ballcast until it ends or requests a kill. Then kills until the process exits.
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
    // The main thread exits with the last process.
    loop {
        send_to_all(Signal::KILL, group);
        std::thread::sleep(pause);
        pause = (pause * 2).min(KILL_PAUSE_MAX);
    }
}

/// Sends a signal to all descendants: to the command's group as a whole, which misses no process that is started
/// meanwhile, then to the processes that have left it, parents first, as a killed process starts no more.
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
    // Fails for processes that are gone or belong to another user.
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

/// All visible processes of this machine, by parent (proc(5)).
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

/// The fourth and fifth field of `/proc/PID/stat`. The second is a name in parentheses, which may contain any
/// character.
fn parent_and_group_of(stat: &str) -> Option<(i32, i32)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_requests_round_trip() {
        let not_started = CommandEnd::NotStarted(OsError::Number(2));
        for end in
            [CommandEnd::Status(0), CommandEnd::Status(127), CommandEnd::Signal(9), not_started]
        {
            assert_eq!(CommandEnd::from_line(&end.to_line()), Some(end));
        }
        for nothing in ["", "status", "status x\n", "word 1\n"] {
            assert_eq!(CommandEnd::from_line(nothing), None, "{nothing}");
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
