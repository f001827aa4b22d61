//! A small machine: the binary with 32 MB of memory and a tenth of a core, and ten viewers of the ball.
//!
//! Run by name: `cargo test --test small_machine`. It needs root, or a `sudo` that asks for no password:
//! the limits are those of control groups, v2 or v1. `SMALL_MACHINE_CPU=PERCENT` gives another share of
//! the core.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use support::process::{Server, binary};
use support::socket_viewer::SocketViewer;

const MEMORY_BYTES: u64 = 32 << 20;
const VIEWERS: usize = 10;
const WATCH: Duration = Duration::from_secs(10);
const LEAST_RATE: f64 = 25.0;
/// The kernel gives the share anew in each of these.
const PERIOD_US: u64 = 100_000;
const GROUP: &str = "ballcast-small-machine";

fn main() -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        let mut root = Command::new("sudo");
        let status =
            root.args(["-n", "-E"]).arg(std::env::current_exe().unwrap()).status().unwrap();
        return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let percent = std::env::var("SMALL_MACHINE_CPU").map_or(10, |percent| percent.parse().unwrap());
    ten_viewers_hold_their_frame_rate(percent);
    ExitCode::SUCCESS
}

fn ten_viewers_hold_their_frame_rate(percent: u64) {
    let group = Group::create(MEMORY_BYTES, percent);
    let server = Server::start_command(group.command(), "127.0.0.1", 0, &[]);
    let mut viewers: Vec<SocketViewer> =
        (0..VIEWERS).map(|_| SocketViewer::join(&server)).collect();
    let joined = Instant::now();
    while viewers.iter().any(|viewer| viewer.client.frames.is_empty()) {
        assert!(joined.elapsed() < Duration::from_secs(20), "not all have a frame");
        viewers.iter_mut().for_each(SocketViewer::handle_all);
    }
    println!("{VIEWERS} viewers have their first frame after {:.2?}", joined.elapsed());
    viewers.iter_mut().for_each(|viewer| viewer.client.frames.clear());
    let (before, started) = (server.usage(), Instant::now());
    while started.elapsed() < WATCH {
        viewers.iter_mut().for_each(SocketViewer::handle_all);
        std::thread::sleep(Duration::from_millis(2));
    }
    let (after, seconds) = (server.usage(), started.elapsed().as_secs_f64());
    let rates = viewers.iter().map(|viewer| viewer.client.frames.len() as f64 / seconds);
    let least = rates.fold(f64::INFINITY, f64::min);
    println!(
        "{percent} % of a core, {} MB: {least:.1} frames/s for each of {VIEWERS} viewers, {:.1} % of a \
         core used, {} kB resident, at most {} kB charged, throttled {} times",
        MEMORY_BYTES >> 20,
        100.0 * (after.cpu_s - before.cpu_s) / seconds,
        after.resident_kb,
        group.most_charged_kb(),
        group.times_throttled(),
    );
    assert!(least >= LEAST_RATE, "{least:.1} frames/s");
}

/// Control groups for one process, in the hierarchies that the kernel has. They are removed in the end.
struct Group {
    memory: PathBuf,
    cpu: PathBuf,
    is_v2: bool,
}

impl Group {
    fn create(memory_bytes: u64, percent: u64) -> Group {
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
        let quota = PERIOD_US * percent / 100;
        if is_v2 {
            fs::write(memory.join("memory.max"), memory_bytes.to_string()).unwrap();
            fs::write(cpu.join("cpu.max"), format!("{quota} {PERIOD_US}")).unwrap();
        } else {
            let limit = memory.join("memory.limit_in_bytes");
            fs::write(limit, memory_bytes.to_string()).unwrap();
            fs::write(cpu.join("cpu.cfs_period_us"), PERIOD_US.to_string()).unwrap();
            fs::write(cpu.join("cpu.cfs_quota_us"), quota.to_string()).unwrap();
        }
        Group { memory, cpu, is_v2 }
    }

    /// The server, which joins the groups before it starts.
    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ >$0/cgroup.procs; echo $$ >$1/cgroup.procs; shift; exec \"$@\""]);
        command.args([&self.memory, &self.cpu]).arg(binary());
        command
    }

    fn most_charged_kb(&self) -> u64 {
        let name = if self.is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let bytes = fs::read_to_string(self.memory.join(name)).unwrap_or_default();
        bytes.trim().parse::<u64>().unwrap_or_default() >> 10
    }

    fn times_throttled(&self) -> u64 {
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
