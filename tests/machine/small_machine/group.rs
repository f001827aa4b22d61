//! What one process may use of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::process::binary;

const GROUP: &str = "ballcast-small-machine";

/// Control groups for one process, in the hierarchies that the kernel has. They are removed in the end.
pub struct Group {
    memory: PathBuf,
    cpu: PathBuf,
    is_v2: bool,
}

impl Group {
    pub fn create(memory_bytes: u64, percent: u64, period: Duration) -> Group {
        let root = Path::new("/sys/fs/cgroup");
        let is_v2 = root.join("cgroup.controllers").exists();
        let (memory, cpu) = if is_v2 {
            fs::write(root.join("cgroup.subtree_control"), "+memory +cpu").unwrap();
            (root.join(GROUP), root.join(GROUP))
        } else {
            (root.join("memory").join(GROUP), root.join("cpu").join(GROUP))
        };
        for directory in [&memory, &cpu] {
            fs::create_dir_all(directory).unwrap();
        }
        let period = period.as_micros() as u64;
        let quota = period * percent / 100;
        if is_v2 {
            fs::write(memory.join("memory.max"), memory_bytes.to_string()).unwrap();
            fs::write(cpu.join("cpu.max"), format!("{quota} {period}")).unwrap();
        } else {
            let limit = memory.join("memory.limit_in_bytes");
            fs::write(limit, memory_bytes.to_string()).unwrap();
            fs::write(cpu.join("cpu.cfs_period_us"), period.to_string()).unwrap();
            fs::write(cpu.join("cpu.cfs_quota_us"), quota.to_string()).unwrap();
        }
        Group { memory, cpu, is_v2 }
    }

    /// The server, which joins the groups before it starts.
    pub fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ >$0/cgroup.procs; echo $$ >$1/cgroup.procs; shift; exec \"$@\""]);
        command.args([&self.memory, &self.cpu]).arg(binary());
        command
    }

    pub fn most_charged_kb(&self) -> u64 {
        let name = if self.is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let bytes = fs::read_to_string(self.memory.join(name)).unwrap_or_default();
        bytes.trim().parse::<u64>().unwrap_or_default() >> 10
    }

    pub fn times_throttled(&self) -> u64 {
        let stat = fs::read_to_string(self.cpu.join("cpu.stat")).unwrap_or_default();
        let times = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        times.map_or(0, |times| times.parse().unwrap())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its process has ended: the server is dropped first.
        for directory in [&self.memory, &self.cpu] {
            let _ = fs::remove_dir(directory);
        }
    }
}
