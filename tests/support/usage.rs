//! What a process uses of the machine (proc(5)).

use std::fs;

#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time since its start, in steps of 10 ms.
    pub cpu_s: f64,
    pub resident_kb: u64,
    pub descriptors: usize,
}

impl Usage {
    pub fn of(pid: u32) -> Usage {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Usage {
            cpu_s: ticks as f64 / 100.0,
            resident_kb: resident.trim().trim_end_matches(" kB").parse().unwrap(),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
        }
    }
}
