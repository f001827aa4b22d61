//! What a test sees of its own descriptors and of the processes of this machine.

use std::fs::{read_dir, read_to_string};
use std::sync::{Mutex, MutexGuard};

/// Tests that count descriptors and processes run one after the other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub fn descriptors() -> usize {
    read_dir("/proc/self/fd").unwrap().count()
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
