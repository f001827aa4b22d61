//! What a test sees of its own descriptors and of the processes of this machine.

use std::fs::{DirEntry, read_dir, read_to_string};
use std::sync::{Mutex, MutexGuard};

/// Tests that count descriptors and processes run one after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub fn descriptors() -> usize {
    read_dir("/proc/self/fd").unwrap().count()
}

/// The threads of a process that have this name.
pub fn threads(pid: u32, name: &str) -> usize {
    let tasks = read_dir(format!("/proc/{pid}/task")).unwrap().map_while(Result::ok);
    let name_of = |task: DirEntry| read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.map(name_of).filter(|it| it.trim_end() == name).count()
}

/// A process: what of proc(5) matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    pub is_zombie: bool,
}

pub fn processes() -> impl Iterator<Item = Process> {
    read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let is_zombie = fields.next()? == "Z";
        let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Process { pid, parent, group, is_zombie })
    })
}

pub fn children() -> Vec<Process> {
    let own = std::process::id() as i32;
    processes().filter(|process| process.parent == own).collect()
}

pub fn is_running(pid: i32) -> bool {
    processes().any(|process| process.pid == pid && !process.is_zombie)
}

/// For a shell: three processes that the end of a command leaves behind, unless somebody looks for them.
/// Each writes its number to standard output, closes it, and ignores what asks it to end. One is in a session
/// of its own, one has lost its parent, and one both.
pub const DAEMONS: &str = "\
    daemon='trap \"\" HUP INT TERM; echo $$; exec >/dev/null 2>&1; while :; do sleep 1; done'; \
    setsid sh -c \"$daemon\" & (sh -c \"$daemon\" &); (setsid sh -c \"$daemon\" &);";

/// The processes with this in their environment, `NAME=VALUE`.
pub fn marked(variable: &str) -> Vec<i32> {
    let is_marked = |process: &Process| {
        std::fs::read(format!("/proc/{}/environ", process.pid)).is_ok_and(|environment| {
            environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
        })
    };
    processes().filter(is_marked).map(|process| process.pid).collect()
}

/// The processes below this one, in no order.
pub fn descendants(pid: u32) -> Vec<Process> {
    let all: Vec<Process> = processes().collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid as i32];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|process| process.parent == parent);
        parents.extend(children.clone().map(|process| process.pid));
        found.extend(children.cloned());
    }
    found
}
