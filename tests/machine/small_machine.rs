//! A small machine: the binary with 32 MB of memory and a tenth of a core, and ten viewers of the ball;
//! and with a fifth of a core under any load of TCP.
//!
//! Run by name: `cargo test --test machine -- small_machine`. It needs root, or a `sudo` that asks for no password:
//! the limits are those of control groups, v2 or v1. `SMALL_MACHINE_CPU=PERCENT` gives the ten viewers
//! another share of the core, and `SMALL_MACHINE_LOAD=NAME` runs the loads whose name contains it.

mod group;
mod load;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::support::process::Server;
use crate::support::socket_viewer::SocketViewer;
use group::Group;

const MEMORY_BYTES: u64 = 32 << 20;
const VIEWERS: usize = 10;
const WATCH: Duration = Duration::from_secs(10);
const LEAST_RATE: f64 = 25.0;
/// The kernel gives the share anew in each of these.
const PERIOD: Duration = Duration::from_millis(100);

pub fn run(_: &[String]) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        let mut root = Command::new("sudo");
        root.args(["-n", "-E"]).arg(std::env::current_exe().unwrap()).arg("small_machine");
        let status = root.status().unwrap();
        return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let only = std::env::var("SMALL_MACHINE_LOAD");
    load::no_load_of_tcp_harms_a_viewer(only.as_deref().unwrap_or_default());
    if only.is_ok() {
        return ExitCode::SUCCESS;
    }
    let percent = std::env::var("SMALL_MACHINE_CPU").map_or(10, |percent| percent.parse().unwrap());
    ten_viewers_hold_their_frame_rate(percent);
    ExitCode::SUCCESS
}

fn ten_viewers_hold_their_frame_rate(percent: u64) {
    let group = Group::create(MEMORY_BYTES, percent, PERIOD);
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
