//! The machine: its description, its cores, and the resources that a process uses.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The core for a process. With two or more cores, the measured server has one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    Measured,
    Load,
}

/// Runs `spawn` while this thread is bound to a core, so that the new process inherits it.
pub fn spawn_on<T>(core: Core, spawn: impl FnOnce() -> T) -> T {
    let Ok(all) = sched_getaffinity(None) else { return spawn() };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
    let (Some(&first), Some(&last)) = (cores.first(), cores.last()) else { return spawn() };
    let mut one = CpuSet::new();
    one.set(if core == Core::Measured { first } else { last });
    let bound = sched_setaffinity(None, &one).is_ok();
    let spawned = spawn();
    if bound {
        let _ = sched_setaffinity(None, &all);
    }
    spawned
}

/// Raises the soft limit of open files to the hard one, which is returned.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Processor, cores, memory and kernel, in one line.
pub fn description() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kb: u64 =
        field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {cores} cores, {:.0} GB, Linux {}",
        field("/proc/cpuinfo", "model name"),
        memory_kb as f64 / 1e6,
        kernel.trim()
    )
}

/// A moment as the nanoseconds of the monotonic clock, which are the same in all processes.
pub fn clock_ns(at: Instant) -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let now_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    now_ns - at.elapsed().as_nanos() as u64
}

/// The resources that a process has used so far, and those that it holds now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// CPU time of all its running threads, with nanosecond resolution.
    pub cpu_s: f64,
    /// How long they were ready to run while their core was busy with something else.
    pub waited_s: f64,
    /// User and system time of the process, in the kernel's ticks of 10 ms.
    pub ticks: u64,
    pub resident_kb: u64,
    /// Context switches, voluntary and not.
    pub switches: u64,
    pub descriptors: usize,
}

impl Usage {
    pub fn of(pid: u32) -> Usage {
        Usage::read(&pid.to_string()).unwrap_or_default()
    }

    pub fn of_self() -> Usage {
        Usage::read("self").unwrap_or_default()
    }

    fn read(pid: &str) -> io::Result<Usage> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may contain anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let tick = |field: usize| fields.get(field).and_then(|f| f.parse::<u64>().ok());
        let ticks = tick(11).unwrap_or(0) + tick(12).unwrap_or(0);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let word = value.and_then(|value| value.split_whitespace().next());
            word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
        };
        let (cpu_s, waited_s) = scheduled_s(pid).unwrap_or((ticks as f64 / 100.0, 0.0));
        Ok(Usage {
            cpu_s,
            waited_s,
            ticks,
            resident_kb: number("VmRSS:"),
            switches: number("voluntary_ctxt_switches:") + number("nonvoluntary_ctxt_switches:"),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        })
    }
}

/// The time of running and of waiting for a core, from the scheduler, if this kernel provides it.
fn scheduled_s(pid: &str) -> Option<(f64, f64)> {
    let mut nanos = [0, 0];
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let stat = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        for (sum, field) in nanos.iter_mut().zip(stat.split_whitespace()) {
            *sum += field.parse::<u64>().ok()?;
        }
    }
    let [ran, waited] = nanos.map(|nanos| nanos as f64 / 1e9);
    (ran > 0.0).then_some((ran, waited))
}

/// Datagrams that the kernel dropped because the sockets at these ports were not read in time.
pub fn udp_drops(ports: &BTreeSet<u16>) -> u64 {
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let drops = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = fields.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        ports.contains(&port).then(|| fields.last()?.parse::<u64>().ok())?
    };
    table.lines().skip(1).filter_map(drops).sum()
}
