//! Soak: 50 viewers on real sockets that come, watch, sleep, fail and go at random, for as long as is
//! asked for. A line each minute tells what the server holds, and what its viewers got.
//!
//! Run by name: `cargo test --test machine -- soak MINUTES`, 60 unless told. `SOAK_SEED=N` draws other lives.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::support::process::Server;
use crate::support::socket_viewer::SocketViewer;
use crate::support::usage::Usage;

const VIEWERS: usize = 50;
const FRAMES_PER_SECOND: f64 = 30.0;
/// Room for those who have vanished, too, until the server knows.
const FLAGS: [&str; 6] =
    ["--max-viewers", "200", "--max-viewers-per-address", "200", "--max-offers-per-second", "1000"];
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// From the offer to the first frame, and from the end of a short sleep to the next one.
const FRAME_LIMIT: Duration = Duration::from_secs(5);
/// What a viewer that is awake gets of its frames at least, and all of them together: a busy machine
/// takes some.
const LEAST_SHARE: f64 = 0.5;
const LEAST_SHARE_OF_ALL: f64 = 0.9;
/// By how much the server's memory may be larger in the second half than it was in the first.
const MOST_GROWTH_KB: u64 = 3_072;

/// What the viewers have seen.
#[derive(Default)]
struct Tally {
    joined: u64,
    refused: u64,
    half_open: u64,
    cut: u64,
    closed: u64,
    vanished: u64,
    slept: u64,
    frames: u64,
    expected: f64,
    /// What must not happen to a healthy viewer.
    faults: Vec<String>,
}

/// One of the viewers, in one life after the other.
struct Slot<'a> {
    number: usize,
    rng: fastrand::Rng,
    server: SocketAddr,
    end: Instant,
    tally: &'a Mutex<Tally>,
}

pub fn run(words: &[String]) -> ExitCode {
    let minutes = words.iter().find_map(|word| word.parse().ok()).unwrap_or(60.0);
    let seed: u64 = std::env::var("SOAK_SEED").map_or(1, |seed| seed.parse().unwrap());
    let server = Server::start(&FLAGS);
    println!("{minutes} minutes, seed {seed}, {VIEWERS} viewers of process {}", server.pid());
    let before = server.usage();
    let tally = Mutex::new(Tally::default());
    let end = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    let mut report = Report::new(end);
    scope(|threads| {
        for number in 0..VIEWERS {
            let rng = fastrand::Rng::with_seed(seed * 1_000 + number as u64);
            let slot = Slot { number, rng, server: server.address, end, tally: &tally };
            threads.spawn(|| slot.live());
        }
        while Instant::now() < end {
            report.sleep();
            report.line(&server, &tally);
        }
    });
    // Those who have vanished are removed within ten seconds.
    server.wait_for("all have left", |stats| {
        stats["viewers"].as_array().unwrap().is_empty() && stats["connections"] == 1
    });
    // The server may close the connection of that request a little after its client.
    sleep(Duration::from_secs(1));
    report.line(&server, &tally);
    let tally = tally.into_inner().unwrap();
    let faults = report.faults(&tally, before);
    faults.iter().for_each(|fault| println!("FAILED: {fault}"));
    if faults.is_empty() {
        println!("passed");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Slot<'_> {
    fn live(mut self) {
        self.pause(3.0);
        while Instant::now() < self.end {
            match self.rng.u32(0..20) {
                0 => self.ask_and_forget(),
                1 => self.cut_a_request(),
                _ => self.view(),
            }
            self.pause(2.0);
        }
    }

    /// Up to so many seconds.
    fn pause(&mut self, most: f64) {
        let seconds = self.rng.f64() * most;
        sleep(Duration::from_secs_f64(seconds).min(self.end - Instant::now().min(self.end)));
    }

    fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.tally.lock().unwrap());
    }

    fn fault(&self, what: &str) {
        let fault = format!("viewer {}: {what}", self.number);
        println!("{fault}");
        self.count(|tally| tally.faults.push(fault));
    }

    fn join(&self) -> Option<SocketViewer> {
        match SocketViewer::try_join_from(Ipv4Addr::LOCALHOST.into(), self.server, &[]) {
            Ok(Ok(viewer)) => return Some(viewer),
            Ok(Err(refusal)) => {
                println!("refused: {}", refusal.json());
                self.count(|tally| tally.refused += 1);
            }
            Err(error) => self.fault(&format!("no answer: {error}")),
        }
        None
    }

    /// An offer, and then nothing.
    fn ask_and_forget(&self) {
        if self.join().is_some() {
            self.count(|tally| tally.half_open += 1);
        }
    }

    fn cut_a_request(&mut self) {
        let request =
            b"POST /offer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\n{\"type\"";
        let bytes = self.rng.usize(0..request.len());
        let written = TcpStream::connect(self.server).and_then(|mut stream| {
            stream.write_all(&request[..bytes])?;
            self.pause(1.0);
            Ok(())
        });
        match written {
            Ok(()) => self.count(|tally| tally.cut += 1),
            Err(error) => self.fault(&format!("no connection: {error}")),
        }
    }

    /// Watches, perhaps sleeps and watches on, and goes with or without a word.
    fn view(&mut self) {
        let Some(mut viewer) = self.join() else { return };
        if !self.wait_for_frame(&mut viewer, "no first frame") {
            return;
        }
        self.count(|tally| tally.joined += 1);
        self.watch(&mut viewer);
        if self.rng.u32(0..4) == 0 && !self.sleep(&mut viewer) {
            return;
        }
        if self.rng.bool() {
            viewer.client.close(Instant::now());
            viewer.send();
            self.count(|tally| tally.closed += 1);
        } else {
            self.count(|tally| tally.vanished += 1);
        }
    }

    /// Some seconds of frames at their rate, many of short ones and few of long ones.
    fn watch(&mut self, viewer: &mut SocketViewer) {
        let seconds = 1.0 + 40.0 * self.rng.f64().powi(3);
        let started = Instant::now();
        let end = self.end.min(started + Duration::from_secs_f64(seconds));
        let mut frames = 0;
        while Instant::now() < end && !viewer.client.closed {
            viewer.step();
            frames += viewer.client.frames.drain(..).count() as u64;
        }
        if viewer.client.closed {
            self.fault("the server ended it");
        }
        let expected = FRAMES_PER_SECOND * started.elapsed().as_secs_f64();
        if (frames as f64) < LEAST_SHARE * expected - 5.0 {
            self.fault(&format!("{frames} frames, not {expected:.0}"));
        }
        self.count(|tally| {
            tally.frames += frames;
            tally.expected += expected;
        });
    }

    /// Nothing is read or sent for a while; whether the viewer is still one. The server removes one
    /// that is silent for 9.5 s.
    fn sleep(&mut self, viewer: &mut SocketViewer) -> bool {
        let seconds = self.rng.f64() * 15.0;
        sleep(Duration::from_secs_f64(seconds));
        self.count(|tally| tally.slept += 1);
        // What had come before.
        while viewer.receive(Duration::from_millis(1)) {}
        viewer.client.frames.clear();
        if seconds > 8.0 || viewer.client.closed {
            return false;
        }
        if !self.wait_for_frame(viewer, "no frame after a sleep") {
            return false;
        }
        self.watch(viewer);
        true
    }

    fn wait_for_frame(&self, viewer: &mut SocketViewer, fault: &str) -> bool {
        let started = Instant::now();
        while viewer.client.frames.is_empty() {
            if started.elapsed() > FRAME_LIMIT {
                self.fault(fault);
                return false;
            }
            viewer.step();
        }
        true
    }
}

/// What is told each minute, and what is kept of it.
struct Report {
    started: Instant,
    every: Duration,
    end: Instant,
    /// At the last line.
    descriptors: usize,
    /// Resident memory in each half.
    most_kb: [u64; 2],
    warnings: Vec<String>,
    errors: Vec<String>,
}

impl Report {
    fn new(end: Instant) -> Report {
        let started = Instant::now();
        let every = REPORT_EVERY.min((end - started) / 6);
        Report {
            started,
            every,
            end,
            descriptors: 0,
            most_kb: [0; 2],
            warnings: vec![],
            errors: vec![],
        }
    }

    /// Until the next line.
    fn sleep(&self) {
        let left = self.end.saturating_duration_since(Instant::now());
        sleep(if left < self.every.mul_f32(1.5) { left } else { self.every });
    }

    fn line(&mut self, server: &Server, tally: &Mutex<Tally>) {
        for line in server.log_so_far() {
            if line.contains(" ERROR] ") || line.contains("panicked") {
                println!("{line}");
                self.errors.push(line);
            } else if line.contains(" WARN ") {
                println!("{line}");
                self.warnings.push(line);
            }
        }
        let (usage, stats) = (server.usage(), server.stats());
        let tally = tally.lock().unwrap();
        self.descriptors = usage.descriptors;
        let half = usize::from(self.started.elapsed() > (self.end - self.started) / 2);
        self.most_kb[half] = self.most_kb[half].max(usage.resident_kb);
        println!(
            "{:5.1} min: {} kB, {} descriptors, {:.1} s CPU; {} warnings, {} errors; {} viewers now, \
             {} captured, {} served, {} refused; {} frames of {:.0}; {} half-open, {} cut, {} slept, {} closed, \
             {} vanished",
            self.started.elapsed().as_secs_f64() / 60.0,
            usage.resident_kb,
            usage.descriptors,
            usage.cpu_s,
            self.warnings.len(),
            self.errors.len(),
            stats["viewers"].as_array().unwrap().len(),
            stats["frames"],
            stats["viewers_served"],
            tally.refused,
            tally.frames,
            tally.expected,
            tally.half_open,
            tally.cut,
            tally.slept,
            tally.closed,
            tally.vanished,
        );
    }

    /// What is not as it must be.
    fn faults(&self, tally: &Tally, before: Usage) -> Vec<String> {
        let mut faults = tally.faults.clone();
        faults.extend(self.errors.iter().cloned());
        if self.descriptors > before.descriptors {
            faults.push(format!("{} descriptors, not {}", self.descriptors, before.descriptors));
        }
        let [first, second] = self.most_kb;
        if second > first + MOST_GROWTH_KB {
            faults.push(format!("{second} kB in the second half, {first} kB in the first"));
        }
        let share = tally.frames as f64 / tally.expected;
        if share.is_nan() || share < LEAST_SHARE_OF_ALL {
            faults.push(format!("{share:.3} of all frames"));
        }
        if tally.refused * 100 > tally.joined {
            faults.push(format!("{} refused of {}", tally.refused, tally.joined));
        }
        faults
    }
}
