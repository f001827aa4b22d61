//! The whole server under load: the real binary on one core, the load generator on the other, and
//! real sockets on the loopback address between them.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::figures::{Spread, short, slope};
use crate::large;
use crate::load::{Load, Report as LoadReport};
use crate::machine::{Core, Usage, spawn_on};
use crate::report::Report;
use crate::support::process::Server;
use crate::{Mode, say};

const FRAMES_PER_SECOND: u32 = 30;
/// Raises the limits for viewers and offers. The limit of connections of one address stays.
const RAISED_LIMITS: [&str; 6] = [
    "--max-viewers",
    "10000",
    "--max-viewers-per-address",
    "10000",
    "--max-offers-per-second",
    "10000",
];
/// A rate of joins that is no load for the server and the generator.
const JOINS_PER_SECOND: usize = 100;
/// The wait after the last join for key frames, first reports and growing buffers.
const SETTLE: Duration = Duration::from_secs(3);
/// The server closes a connection this long after its last answer.
const LINGER: Duration = Duration::from_secs(3);
const CAPACITY_STEPS: [usize; 12] =
    [500, 1_000, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000, 5_000, 6_000, 8_000, 10_000];
/// Joins per second times viewers: with more viewers, there is less CPU time for handshakes.
const CAPACITY_JOINS: usize = 100_000;
/// How many windows to measure for a number of viewers, if the machine has other work.
const CAPACITY_TRIES: usize = 4;
/// A server that waits for its core for more than this share of the time does not have it alone.
const SHARED_CORE: f64 = 0.01;
/// The share of CPU time from which on a core is full.
const CORE_IS_FULL: f64 = 0.97;

pub fn ball() -> Server {
    spawn_on(Core::Measured, || Server::start(&RAISED_LIMITS))
}

pub fn large() -> Server {
    spawn_on(Core::Measured, || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(large::ARGUMENT);
        Server::start_command(command, "127.0.0.1", 0, &RAISED_LIMITS)
    })
}

/// The results of one window, from the kernel and from the load generator.
pub struct Measurement {
    /// CPU seconds of the server per second.
    pub share: f64,
    /// How long per second the server waited for its core, because the machine had other work.
    pub waited: f64,
    pub load: LoadReport,
}

pub fn measure_window(server: &Server, load: &mut Load, window: Duration) -> Measurement {
    let before = Usage::of(server.pid());
    load.mark();
    std::thread::sleep(window);
    let after = Usage::of(server.pid());
    let report = load.report();
    let seconds = report.number("seconds");
    let share = (after.cpu_s - before.cpu_s) / seconds;
    let waited = (after.waited_s - before.waited_s) / seconds;
    let measurement = Measurement { share, waited, load: report };
    say(&measurement.line());
    measurement
}

impl Measurement {
    fn line(&self) -> String {
        let load = &self.load;
        format!(
            "{} viewers: server {:.1} % of its core (waited {:.1} % for it), generator {:.1} %, \
             late p99 {} ms, longest gap {:.0} ms{}",
            load.0["with_frames"],
            self.share * 100.0,
            self.waited * 100.0,
            load.number("own_cpu") * 100.0,
            short(load.number("late_p99_ms")),
            load.number("longest_gap_ms"),
            load.flaws().map_or(String::new(), |flaws| format!(", {flaws}")),
        )
    }
}

/// CPU, memory and frames at several numbers of viewers.
pub struct Sweep {
    /// The number of viewers, and CPU seconds per second in each window.
    pub cpu: Vec<(usize, Vec<f64>)>,
    pub resident_kb: Vec<(usize, u64)>,
    /// The windows with the most viewers.
    pub last: Vec<Measurement>,
    pub flaws: Vec<String>,
    /// The largest share of the time that the server waited for its core.
    pub waited: f64,
}

/// The durations of one step.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub settle: Duration,
    pub window: Duration,
    pub repetitions: usize,
}

impl Sweep {
    pub fn new() -> Sweep {
        Sweep {
            cpu: Vec::new(),
            resident_kb: Vec::new(),
            last: Vec::new(),
            flaws: Vec::new(),
            waited: 0.0,
        }
    }

    /// Increases the load to `viewers` and measures. Returns the highest CPU share of all windows, or
    /// why it cannot be measured.
    pub fn step(
        &mut self,
        server: &Server,
        load: &mut Load,
        viewers: usize,
        timing: Timing,
    ) -> Result<f64, String> {
        let current = load.count()["viewers"].as_u64().unwrap_or(0) as usize;
        load.join(viewers - current, JOINS_PER_SECOND);
        let count = load.wait_for_all();
        if count["with_frames"] != viewers {
            return Err(format!("not all of {viewers} viewers get frames: {count}"));
        }
        std::thread::sleep(timing.settle);
        let windows: Vec<Measurement> =
            (0..timing.repetitions).map(|_| measure_window(server, load, timing.window)).collect();
        for Measurement { load, waited, .. } in &windows {
            assert_eq!(load.number("undecryptable"), 0.0, "every packet can be decrypted");
            self.flaws.extend(load.flaws().map(|flaws| format!("{viewers} viewers: {flaws}")));
            self.waited = self.waited.max(*waited);
        }
        self.cpu.push((viewers, windows.iter().map(|w| w.share).collect()));
        self.resident_kb.push((viewers, Usage::of(server.pid()).resident_kb));
        let highest = windows.iter().map(|w| w.share).fold(0.0, f64::max);
        self.last = windows;
        Ok(highest)
    }

    /// The values of a figure in the last windows.
    pub fn last(&self, name: &str) -> Spread {
        Spread::of(self.last.iter().map(|window| window.load.number(name)).collect())
    }

    /// CPU milliseconds per viewer and second: one slope for each repetition.
    pub fn cpu_slope_ms(&self) -> Spread {
        let repetitions = self.cpu.iter().map(|(_, shares)| shares.len()).min().unwrap_or(0);
        let slopes = (0..repetitions).map(|repetition| {
            let point =
                |(viewers, shares): &(usize, Vec<f64>)| (*viewers as f64, shares[repetition] * 1e3);
            slope(&self.cpu.iter().map(point).collect::<Vec<_>>())
        });
        Spread::of(slopes.collect())
    }

    pub fn memory_slope_kb(&self) -> f64 {
        let points = self.resident_kb.iter().map(|(viewers, kb)| (*viewers as f64, *kb as f64));
        slope(&points.collect::<Vec<_>>())
    }

    fn viewers(&self) -> String {
        let numbers: Vec<String> = self.cpu.iter().map(|(n, _)| n.to_string()).collect();
        numbers.join(", ")
    }

    /// The conditions of the measurement: how busy the cores were.
    fn conditions(&self) -> String {
        format!(
            "generator at {:.0} % of its core, server waited {:.1} % for its own",
            self.last("own_cpu").median * 100.0,
            self.waited * 100.0
        )
    }
}

/// The ball: CPU and memory per viewer, and how late frames are with the most viewers.
pub fn measure_ball(mode: Mode, report: &mut Report) {
    let steps = mode.pick(&[50, 200, 500, 1_000][..], &[2, 5, 10]);
    let server = ball();
    let mut load = Load::start(server.address, FRAMES_PER_SECOND);
    let mut sweep = Sweep::new();
    let timing = sweep_timing(mode, 3);
    let done = steps
        .iter()
        .try_for_each(|&viewers| sweep.step(&server, &mut load, viewers, timing).map(drop));
    add_slopes(report, &sweep, ["ball-cpu", "ball-memory"], "the ball");
    if let Some(floor) = report.value("floor") {
        let times = sweep.cpu_slope_ms().median / floor;
        report.add("ball-over-floor", "the same, relative to the kernel floor", times, "times");
    }
    let most = sweep.cpu.last().map_or(0, |(viewers, _)| *viewers);
    for (key, name, figure) in [
        ("ball-late-p50", "late_p50_ms", "p50"),
        ("ball-late-p99", "late_p99_ms", "p99"),
        ("ball-late-most", "late_most_ms", "max"),
    ] {
        let figure = format!("last packet of a frame after its tick, {most} viewers, {figure}");
        report.add_spread(key, &figure, &sweep.last(name), "ms");
    }
    for (key, name, figure) in [
        ("ball-lost", "lost", "packets lost"),
        ("ball-skipped", "skipped", "frames skipped by late ticks, sum over viewers"),
        ("ball-late", "later_than_period", "frames late by a period or more, sum over viewers"),
    ] {
        report.add_spread(key, &format!("{figure}, {most} viewers"), &sweep.last(name), "");
    }
    report.note(sweep.flaws.join("; "));
    let rates = sweep.last.iter().map(|window| window.load.least_frame_rate()).collect();
    let figure = "frames per second, slowest viewer";
    report.add_spread("ball-rate", figure, &Spread::of(rates), "/s");
    let stats = server.stats();
    for (key, name, figure) in [
        ("ball-encode", "encode_mean_ms", "render and encode, mean"),
        ("ball-encode-most", "encode_max_ms", "render and encode, most"),
    ] {
        report.add(key, figure, stats[name].as_f64().unwrap_or(f64::NAN), "ms");
    }
    done.unwrap();
}

/// The same at 2 Mbit/s, with as many viewers as a core can serve.
pub fn measure_large(mode: Mode, report: &mut Report) {
    let steps = mode.pick(&[50, 100, 200, 300, 400, 600, 800, 1_000][..], &[2, 5, 10]);
    let server = large();
    let mut load = Load::start(server.address, FRAMES_PER_SECOND);
    let mut sweep = Sweep::new();
    for (index, &viewers) in steps.iter().enumerate() {
        let share = match sweep.step(&server, &mut load, viewers, sweep_timing(mode, 2)) {
            Ok(share) => share,
            Err(why) => {
                say(&why);
                break;
            }
        };
        let next = steps.get(index + 1).copied().unwrap_or(viewers);
        if share * next as f64 / viewers as f64 > CORE_IS_FULL {
            say(&format!("{next} would exceed one core"));
            break;
        }
    }
    add_slopes(report, &sweep, ["large-cpu", "large-memory"], "2 Mbit/s");
    let most = sweep.cpu.last().map_or(0, |(viewers, _)| *viewers);
    let figure = format!("last packet of a frame after its tick, {most} viewers, p99");
    report.add_spread("large-late-p99", &figure, &sweep.last("late_p99_ms"), "ms");
    report.note(sweep.flaws.join("; "));
}

fn sweep_timing(mode: Mode, repetitions: usize) -> Timing {
    Timing {
        settle: mode.pick(SETTLE, Duration::ZERO),
        window: mode.pick(Duration::from_secs(10), Duration::from_millis(1_200)),
        repetitions: mode.pick(repetitions, 1),
    }
}

fn add_slopes(report: &mut Report, sweep: &Sweep, keys: [&'static str; 2], what: &str) {
    let viewers = sweep.viewers();
    let figure = format!("CPU per viewer and second, {what}, slope over {viewers}");
    report.add_spread(keys[0], &figure, &sweep.cpu_slope_ms(), "ms");
    report.note(sweep.conditions());
    report.add(keys[1], "memory per viewer, slope", sweep.memory_slope_kb(), "kB");
}

/// Many viewers join at 2 Mbit/s, at a constant rate.
pub fn measure_join(mode: Mode, report: &mut Report) {
    let (viewers, per_second) = mode.pick((400, 50), (8, 8));
    let server = large();
    let mut load = Load::start(server.address, FRAMES_PER_SECOND);
    load.mark();
    load.join(viewers, per_second);
    let count = load.wait_for_all();
    let joined = load.report();
    let window = mode.pick(Duration::from_secs(10), SETTLE / 3);
    let Measurement { share, waited, load: after } = measure_window(&server, &mut load, window);
    let up = count["with_frames"].as_f64().unwrap_or(0.0);
    report.add(
        "large-join-up",
        &format!("viewers connected, of {viewers} that join at {per_second} per second"),
        up,
        "",
    );
    report.note(format!(
        "then server at {:.0} % of its core (waited {:.1} % for it), generator at {:.0} %",
        share * 100.0,
        waited * 100.0,
        after.number("own_cpu") * 100.0
    ));
    let connect = joined.spread("connect_ms");
    report.add_distribution("large-join-connect", "join to connected", &connect, "ms");
    let p95 = connect.quantile(0.95);
    report.add("large-join-connect-p95", "the same, 95th percentile", p95, "ms");
    let first = joined.spread("first_frame_ms");
    report.add_distribution("large-join-first-frame", "join to first frame", &first, "ms");
    let rate = after.least_frame_rate();
    report.add("large-join-rate", "frames per second, slowest viewer", rate, "/s");
    let lost = joined.number("lost") + after.number("lost");
    report.add("large-join-lost", "packets lost, while joining and after", lost, "");
    report.note(after.flaws().unwrap_or_default());
}

/// Many viewers join within a second, while others watch.
pub fn measure_storm(mode: Mode, report: &mut Report) {
    let (watching, joining) = mode.pick((50, 200), (3, 6));
    let mut gaps = Vec::new();
    let mut lost = Vec::new();
    let mut first_frames = Vec::new();
    for _ in 0..mode.pick(3, 1) {
        let server = ball();
        let mut load = Load::start(server.address, FRAMES_PER_SECOND);
        load.join_and_wait(watching, JOINS_PER_SECOND);
        std::thread::sleep(mode.pick(SETTLE, SETTLE / 6));
        load.mark();
        load.join_and_wait(joining, joining);
        std::thread::sleep(mode.pick(SETTLE, SETTLE / 6));
        let seen = load.report();
        say(&format!(
            "longest gap {:.0} ms, first frame p95 {:.0} ms, generator at {:.0} %",
            seen.number("longest_gap_ms"),
            seen.spread("first_frame_ms").quantile(0.95),
            seen.number("own_cpu") * 100.0
        ));
        gaps.push(seen.number("longest_gap_ms"));
        lost.push(seen.number("lost"));
        first_frames.extend(seen.spread("first_frame_ms").values());
    }
    let figure =
        format!("longest gap for {watching} viewers while {joining} more join within a second");
    report.add_spread("storm-gap", &figure, &Spread::of(gaps), "ms");
    let first_frames = Spread::of(first_frames);
    report.add_distribution(
        "storm-first-frame",
        "join to first frame, joining viewers",
        &first_frames,
        "ms",
    );
    let p95 = first_frames.quantile(0.95);
    report.add("storm-first-frame-p95", "the same, 95th percentile", p95, "ms");
    report.add_spread("storm-lost", "packets lost", &Spread::of(lost), "");
}

/// The memory and descriptors that remain after thousands of viewers have joined and left.
pub fn measure_soak(mode: Mode, report: &mut Report) {
    let (warm_up, total, at_once) = mode.pick((500, 10_000, 20), (20, 60, 6));
    let server = ball();
    churn(&server, warm_up, at_once);
    let before = Usage::of(server.pid());
    let seconds = churn(&server, total, at_once);
    let after = Usage::of(server.pid());
    let grown = after.resident_kb as f64 - before.resident_kb as f64;
    let figure = format!("resident memory added by {total} joins and leaves");
    report.add("soak-memory", &figure, grown, "kB");
    report.note(format!(
        "{} kB after {warm_up}, {} kB after {total} more",
        short(before.resident_kb as f64),
        short(after.resident_kb as f64)
    ));
    let descriptors = after.descriptors as f64 - before.descriptors as f64;
    report.add("soak-descriptors", "descriptors added by them", descriptors, "");
    let cpu_ms = (after.cpu_s - before.cpu_s) * 1e3 / total as f64;
    report.add("soak-cpu", "CPU per viewer that joins, gets a frame and leaves", cpu_ms, "ms");
    report.note(format!("{:.0} per second", total as f64 / seconds));
}

/// `total` viewers join, receive a frame and leave. Returns how many seconds that took.
fn churn(server: &Server, total: usize, at_once: usize) -> f64 {
    let mut load = Load::start(server.address, FRAMES_PER_SECOND);
    let started = Instant::now();
    load.mark();
    load.churn(total, at_once);
    let count = load.wait_for_all();
    let seconds = started.elapsed().as_secs_f64();
    let churned = load.report().number("churned");
    assert_eq!(churned, total as f64, "all viewers received a frame: {count}");
    drop(load);
    wait_until_empty(server);
    let _ = server.log();
    seconds
}

/// Waits until the server has removed all viewers and closed their HTTP connections.
fn wait_until_empty(server: &Server) {
    server.wait_for("all viewers are removed", |stats| {
        stats["viewers"].as_array().is_some_and(Vec::is_empty)
    });
    std::thread::sleep(LINGER);
}

/// The idle server before and after viewers, and the server with one viewer.
pub fn measure_idle(mode: Mode, report: &mut Report) {
    let window = mode.pick(Duration::from_secs(60), Duration::from_secs(2));
    if let Some(bytes) = stripped_bytes() {
        report.add("binary", "stripped release binary", bytes as f64 / 1e6, "MB");
    }
    let server = ball();
    std::thread::sleep(Duration::from_millis(500));
    let resident = |server: &Server| Usage::of(server.pid()).resident_kb as f64 / 1e3;
    report.add("resident-0", "resident without viewers", resident(&server), "MB");
    sleep_and_count(&server, window, report, ["idle-before-switches", "idle-before-ticks"]);

    let mut load = Load::start(server.address, FRAMES_PER_SECOND);
    load.join_and_wait(1, 1);
    std::thread::sleep(mode.pick(SETTLE, SETTLE / 3));
    let shares = (0..mode.pick(3, 1)).map(|_| {
        let window = mode.pick(Duration::from_secs(10), SETTLE / 3);
        let Measurement { share, load: seen, .. } = measure_window(&server, &mut load, window);
        assert_eq!(seen.number("lost"), 0.0, "{:?}", seen.flaws());
        share
    });
    let shares = Spread::of(shares.collect());
    report.add_spread("cpu-1", "CPU with one viewer", &shares.scaled(100.0), "%");
    report.add("resident-1", "resident with one viewer", resident(&server), "MB");

    load.join_and_wait(mode.pick(50, 3), JOINS_PER_SECOND);
    // Half of them send close_notify, the others are removed by a timeout.
    load.leave(mode.pick(25, 2));
    load.vanish(usize::MAX);
    drop(load);
    wait_until_empty(&server);
    sleep_and_count(&server, window, report, ["idle-after-switches", "idle-after-ticks"]);
}

fn sleep_and_count(
    server: &Server,
    window: Duration,
    report: &mut Report,
    [switches, ticks]: [&'static str; 2],
) {
    let seconds = window.as_secs();
    say(&format!("measuring an idle server for {seconds} s"));
    let before = Usage::of(server.pid());
    std::thread::sleep(window);
    let after = Usage::of(server.pid());
    let when =
        if switches.contains("before") { "before the first viewer" } else { "after the last" };
    let figure = format!("context switches in {seconds} s, {when}");
    report.add(switches, &figure, (after.switches - before.switches) as f64, "");
    let figure = format!("CPU ticks of 10 ms in {seconds} s, {when}");
    report.add(ticks, &figure, (after.ticks - before.ticks) as f64, "");
}

/// The size of the binary without symbols.
fn stripped_bytes() -> Option<u64> {
    let copy = crate::report::directory().join("ballcast-stripped");
    std::fs::create_dir_all(crate::report::directory()).ok()?;
    let binary = env!("CARGO_BIN_EXE_ballcast");
    let stripped = Command::new("strip").arg("-o").arg(&copy).arg(binary).status().ok()?;
    let bytes = std::fs::metadata(&copy).ok()?.len();
    let _ = std::fs::remove_file(&copy);
    stripped.success().then_some(bytes)
}

/// How many viewers one core can serve, and whether the cost per viewer stays the same.
pub fn measure_capacity(mode: Mode, report: &mut Report) {
    let steps = mode.pick(&CAPACITY_STEPS[..], &[5, 10]);
    let window = mode.pick(Duration::from_secs(10), Duration::from_secs(1));
    let server = ball();
    let mut load = Load::start(server.address, FRAMES_PER_SECOND);
    let mut capacity = 0;
    let mut limit = String::from("no larger number was tried");
    let mut costs: Vec<(usize, f64)> = Vec::new();
    for &viewers in steps {
        let current = load.count()["viewers"].as_u64().unwrap_or(0) as usize;
        load.join(viewers - current, JOINS_PER_SECOND.min(CAPACITY_JOINS / viewers));
        let count = load.wait_for_all();
        std::thread::sleep(mode.pick(SETTLE, Duration::ZERO));
        // Other work on the machine only makes the result worse, so measure again.
        let mut measured = measure_window(&server, &mut load, window);
        for _ in 1..CAPACITY_TRIES {
            if !measured.load.is_flawless() && measured.waited > SHARED_CORE {
                measured = measure_window(&server, &mut load, window);
            }
        }
        let Measurement { share, waited, load: seen } = measured;
        let own = seen.number("own_cpu");
        let all_up = count["with_frames"] == viewers;
        if !all_up || !seen.is_flawless() {
            limit = if own > CORE_IS_FULL || seen.number("own_drops") > 0.0 {
                format!("at {viewers} the load generator is the limit ({:.0} %)", own * 100.0)
            } else {
                let flaws = seen.flaws().unwrap_or_else(|| count.to_string());
                let (share, waited) = (share * 100.0, waited * 100.0);
                format!("at {viewers}: {flaws}; server at {share:.0} %, waited {waited:.1} %")
            };
            break;
        }
        capacity = viewers;
        costs.push((viewers, share * 1e3 / viewers as f64));
    }
    report.add("capacity", "viewers on one core without loss, the ball", capacity as f64, "");
    report.note(limit);
    if let (Some(first), Some(last)) = (costs.first(), costs.last()) {
        let at = |viewers| costs.iter().find(|(n, _)| *n == viewers);
        let (few, many) = (at(500).unwrap_or(first), at(5_000).unwrap_or(last));
        let figure = format!("cost per viewer, {} relative to {} viewers", many.0, few.0);
        report.add("capacity-ratio", &figure, many.1 / few.1, "times");
        report.note(format!("{} ms and {} ms per second", short(many.1), short(few.1)));
    }
}
