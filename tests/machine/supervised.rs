//! Supervised: a command whose process is killed, stopped and asked to end at random, for as long as is
//! asked for, while a viewer watches. A line each minute tells what the server holds, and how long it took
//! until the picture was back.
//!
//! Run by name: `cargo test --test machine -- supervised MINUTES`, 60 unless told. `SUPERVISED_SEED=N` draws others.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::support::marker;
use crate::support::process::Server;
use crate::support::processes::descendants;
use crate::support::socket_viewer::SocketViewer;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const OUTPUT: &str =
    "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency -g 30 -f h264 -";
const SIGNALS: [(&str, Signal); 3] =
    [("KILL", Signal::KILL), ("STOP", Signal::STOP), ("TERM", Signal::TERM)];
/// One that is stopped is noticed after 5 s and gone after 4 more; the pause before the next is 10 s at most.
/// The rest is for a busy machine.
const BACK_LIMIT: Duration = Duration::from_secs(40);
/// Between two looks at the statistics.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest time from a picture that is back to the next signal.
const LONGEST_LIFE_S: f64 = 20.0;
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// By how much the server's memory may be larger in the second half than it was in the first.
const MOST_GROWTH_KB: u64 = 3_072;

struct Run {
    server: Server,
    viewer: SocketViewer,
    started: Instant,
    length: Duration,
    reported_at: Instant,
    frames: u64,
    /// By signal: how many, and the longest time until the picture was back.
    kills: BTreeMap<&'static str, (u64, Duration)>,
    /// Resident memory in each half.
    most_kb: [u64; 2],
    errors: Vec<String>,
}

pub fn run(words: &[String]) -> ExitCode {
    let minutes = words.iter().find_map(|word| word.parse().ok()).unwrap_or(60.0);
    let seed: u64 = std::env::var("SUPERVISED_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(seed);
    let command = format!("exec ffmpeg -v error {} {OUTPUT}", marker::input("320x240"));
    let server = Server::start(&["--exec", &command]);
    println!("{minutes} minutes, seed {seed}, process {}", server.pid());
    let mut run = Run {
        viewer: SocketViewer::join(&server),
        server,
        started: Instant::now(),
        length: Duration::from_secs_f64(60.0 * minutes),
        reported_at: Instant::now(),
        frames: 0,
        kills: BTreeMap::new(),
        most_kb: [0; 2],
        errors: Vec::new(),
    };
    run.wait_for_picture("the first", 0);
    let (children, descriptors) = (run.children(), run.server.usage().descriptors);
    while run.started.elapsed() < run.length {
        run.watch(Duration::from_secs_f64(LONGEST_LIFE_S * rng.f64().powi(2)));
        run.kill(SIGNALS[rng.usize(..SIGNALS.len())]);
        run.check_leftovers(children.len(), descriptors);
    }
    run.report();
    let faults = run.faults();
    faults.iter().for_each(|fault| println!("FAILED: {fault}"));
    if faults.is_empty() {
        println!("passed");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Run {
    /// The viewer lives for a while.
    fn watch(&mut self, length: Duration) {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.viewer.step();
        }
        self.frames += self.viewer.client.frames.drain(..).count() as u64;
        assert!(!self.viewer.client.closed, "the viewer is a viewer all the time");
        if self.reported_at.elapsed() >= REPORT_EVERY {
            self.report();
        }
    }

    fn kill(&mut self, (name, signal): (&'static str, Signal)) {
        let restarts = self.server.stats()["source"]["restarts"].as_u64().unwrap();
        let ffmpeg = self.children().into_iter().find(|child| child.name == "ffmpeg").unwrap();
        kill_process(Pid::from_raw(ffmpeg.pid).unwrap(), signal).unwrap();
        let back = self.wait_for_picture(name, restarts + 1);
        assert!(!self.children().iter().any(|child| child.pid == ffmpeg.pid), "it is gone");
        let (count, longest) = self.kills.entry(name).or_default();
        *count += 1;
        *longest = (*longest).max(back);
    }

    /// Waits until the command was started anew so often, and the viewer has a picture of it.
    fn wait_for_picture(&mut self, what: &str, restarts: u64) -> Duration {
        let asked = Instant::now();
        let runs = |stats: &Value| {
            let source = &stats["source"];
            source["state"] == "running" && source["restarts"].as_u64() >= Some(restarts)
        };
        while !runs(&self.server.stats()) {
            assert!(asked.elapsed() < BACK_LIMIT, "{what}: {}", self.server.stats());
            self.watch(LOOK_EVERY);
        }
        let before = self.frames;
        while self.frames < before + 3 {
            assert!(asked.elapsed() < BACK_LIMIT, "{what}: no picture: {}", self.server.stats());
            self.watch(LOOK_EVERY);
        }
        asked.elapsed()
    }

    /// Nothing is left of what was killed.
    fn check_leftovers(&mut self, children: usize, descriptors: usize) {
        let asked = Instant::now();
        // The connection of the last request for statistics may close a little later.
        while self.server.usage().descriptors != descriptors {
            assert!(
                asked.elapsed() < BACK_LIMIT,
                "{} descriptors",
                self.server.usage().descriptors
            );
            self.watch(LOOK_EVERY);
        }
        let now = self.children();
        assert!(now.iter().all(|child| !child.is_zombie), "{now:?}");
        assert_eq!(now.len(), children, "{now:?}");
        let half = usize::from(self.started.elapsed() > self.length / 2);
        self.most_kb[half] = self.most_kb[half].max(self.server.usage().resident_kb);
    }

    /// The server's processes, and theirs.
    fn children(&self) -> Vec<Process> {
        let below = descendants(self.server.pid());
        below.iter().filter_map(|process| Process::of(process.pid)).collect()
    }

    fn report(&mut self) {
        self.reported_at = Instant::now();
        for line in self.server.log_so_far() {
            if line.contains(" ERROR] ") || line.contains("panicked") {
                println!("{line}");
                self.errors.push(line);
            }
        }
        let (usage, stats) = (self.server.usage(), self.server.stats());
        println!(
            "{:5.1} min: {} kB, {} descriptors, {} processes, {:.1} s CPU; {} restarts, {} frames of {}; {:.1?}",
            self.started.elapsed().as_secs_f64() / 60.0,
            usage.resident_kb,
            usage.descriptors,
            self.children().len(),
            usage.cpu_s,
            stats["source"]["restarts"],
            self.frames,
            stats["frames"],
            self.kills,
        );
    }

    /// What is not as it must be in the end.
    fn faults(&self) -> Vec<String> {
        let mut faults = self.errors.clone();
        let stats = self.server.stats();
        let kills: u64 = self.kills.values().map(|(count, _)| count).sum();
        if stats["source"]["restarts"] != kills {
            faults.push(format!("{} restarts after {kills} kills", stats["source"]["restarts"]));
        }
        if stats["viewers_served"] != 1 {
            faults.push(format!("{} viewers, and there was one", stats["viewers_served"]));
        }
        let [first, second] = self.most_kb;
        if first > 0 && second > first + MOST_GROWTH_KB {
            faults.push(format!("{second} kB in the second half, {first} kB in the first"));
        }
        faults
    }
}

/// What of proc(5) matters here.
#[derive(Debug)]
struct Process {
    pid: i32,
    name: String,
    is_zombie: bool,
}

impl Process {
    fn of(pid: i32) -> Option<Process> {
        let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (before, fields) = stat.rsplit_once(") ")?;
        let is_zombie = fields.starts_with('Z');
        let name = before.split_once('(')?.1.to_owned();
        Some(Process { pid, name, is_zombie })
    }
}
