//! Deterministic simulation: runs of the core with faults of the network, of HTTP clients and of the
//! source, in virtual time.
//!
//! One seed determines a whole run. `SIM_SEED=N` replays one run with its full log,
//! `SIM_SEEDS=A..B` runs a range of seeds, `SIM_SECONDS=S` sets the virtual length of each run,
//! `SIM_STOP=S1,L2` ends a sweep at the first failure of one of these rules, and
//! `SIM_SCENARIO=NAME` replays one scenario with its full log. Without any of them the gate runs:
//! all scenarios, and then a sweep.

mod browser;
mod cameras;
#[path = "../support/client.rs"]
#[allow(dead_code, reason = "viewers of the simulator use a part of it")]
mod client;
#[path = "../support/crypto.rs"]
mod crypto;
#[path = "../support/dear_offers.rs"]
mod dear_offers;
mod link;
mod log;
mod media_server;
mod options;
mod pinned;
mod rules;
mod run;
mod source;
mod tally;
mod viewer;
mod wire;

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use options::Options;
use run::scenarios::{self, SCENARIOS, Scenario};
use run::{Outcome, Run};
use tally::{Fault, Happening, Tally};

const GATE: Range<u64> = 1..1_001;
/// Seeds that are added at a time while an event is missing, and the end of that.
const EXTRA_SEEDS: usize = 500;
const MOST_SEEDS: u64 = 4_001;
const GATE_SECONDS: u64 = 60;
/// Refusal reasons that must occur in the gate's seeds. `input-overflow` cannot occur here: no
/// connection carries two requests that are large enough.
const REFUSALS: [&str; 40] = [
    "answer-late",
    "bare-cr",
    "bare-lf",
    "body-late",
    "body-too-large",
    "chunked",
    "coding-unknown",
    "connections",
    "content-type",
    "control-character",
    "expectation",
    "foreign-origin",
    "head-late",
    "header-malformed",
    "headers-too-large",
    "headers-too-many",
    "host-malformed",
    "host-missing",
    "host-unknown",
    "incomplete",
    "length-and-coding",
    "length-malformed",
    "length-missing",
    "line-folded",
    "method-not-allowed",
    "method-unknown",
    "no-codec",
    "no-source",
    "no-video",
    "not-found",
    "offer-malformed",
    "offer-rate",
    "request-line",
    "shutting-down",
    "target",
    "target-too-long",
    "version",
    "video-not-receiving",
    "viewers",
    "viewers-per-address",
];

fn main() -> ExitCode {
    let length = Duration::from_secs(env_number("SIM_SECONDS").unwrap_or(GATE_SECONDS));
    if let Some(seed) = env_number("SIM_SEED") {
        return replay(seed, length);
    }
    if let Ok(name) = std::env::var("SIM_SCENARIO") {
        return exit_code(&run_scenarios(|scenario| scenario.0 == name, true));
    }
    match std::env::var("SIM_SEEDS") {
        Ok(range) => {
            let bounds =
                range.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            let Some((first, end)) = bounds else {
                eprintln!("SIM_SEEDS cannot be '{range}': it takes A..B");
                return ExitCode::from(2);
            };
            exit_code(&sweep(first..end, length, false).1)
        }
        Err(_) => gate(length),
    }
}

fn env_number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} cannot be '{value}': it takes a number")),
    )
}

fn replay(seed: u64, length: Duration) -> ExitCode {
    let options = Options::draw(seed, length);
    println!("seed {seed} {options:#?}");
    let outcome = run(seed, length, true);
    println!("seed {seed} trace {:016x}", outcome.trace);
    match outcome.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("seed {seed} FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(seed: u64, length: Duration, verbose: bool) -> Outcome {
    run_on_own_thread(move || {
        let mut of_cameras = Tally::default();
        let played = cameras::play(seed, &mut of_cameras);
        let mut outcome = Run::new(Options::draw(seed, length), verbose).run();
        outcome.tally.add(&of_cameras);
        match played {
            Ok(trace) => outcome.trace ^= trace,
            Err(failure) => outcome.failure = outcome.failure.or(Some(failure)),
        }
        outcome
    })
}

/// Plays the wanted scenarios. Returns the failures by name.
fn run_scenarios(wanted: impl Fn(&Scenario) -> bool, verbose: bool) -> BTreeMap<String, String> {
    let mut failures = BTreeMap::new();
    for scenario in SCENARIOS.into_iter().filter(wanted) {
        let outcome = run_on_own_thread(move || scenarios::play(scenario, verbose));
        println!("scenario {} trace {:016x}", scenario.0, outcome.trace);
        if let Some(failure) = outcome.failure {
            println!("scenario {} FAILED: {failure}", scenario.0);
            failures.insert(scenario.0.to_owned(), failure);
        }
    }
    failures
}

/// One run on its own thread, because str0m's random generator is thread-local.
fn run_on_own_thread(run: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let thread = std::thread::spawn(move || {
        pinned::simulate();
        run()
    });
    thread.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let failure = format!("S13: a panic: {}", text.unwrap_or_default());
        Outcome { trace: 0, tally: Tally::default(), failure: Some(failure) }
    })
}

/// All scenarios, then each seed twice: both traces must be the same. Fails also if a fault, an
/// event or a refusal reason that must be exercised never occurred.
fn gate(length: Duration) -> ExitCode {
    let mut failures = run_scenarios(|_| true, false);
    let (mut tally, mut failed_seeds) = sweep(GATE, length, true);
    // What is rare may be in none of them: few viewers are there when a timestamp wraps.
    for first in (GATE.end..MOST_SEEDS).step_by(EXTRA_SEEDS) {
        if Happening::ALL.iter().all(|it| tally.happenings.contains_key(it)) {
            break;
        }
        let (more, failed) = sweep(first..first + EXTRA_SEEDS as u64, length, false);
        tally.add(&more);
        failed_seeds.extend(failed);
    }
    failures.extend(failed_seeds.into_iter().map(|(seed, why)| (format!("seed {seed}"), why)));
    let mut missing = |what: String| {
        println!("never occurred: {what}");
        failures.insert(what, "never occurred".into());
    };
    for fault in Fault::ALL.iter().filter(|fault| !tally.faults.contains_key(fault)) {
        missing(format!("{fault:?}"));
    }
    for happening in Happening::ALL.iter().filter(|h| !tally.happenings.contains_key(h)) {
        missing(format!("{happening:?}"));
    }
    for reason in REFUSALS.iter().filter(|reason| !tally.refusals.contains_key(**reason)) {
        missing(format!("the refusal {reason}"));
    }
    exit_code(&failures)
}

fn exit_code<K>(failures: &BTreeMap<K, String>) -> ExitCode {
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs many seeds on all cores. Returns the counts and the failures by seed.
fn sweep(seeds: Range<u64>, length: Duration, twice: bool) -> (Tally, BTreeMap<u64, String>) {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let results: Mutex<(Tally, BTreeMap<u64, String>)> = Mutex::default();
    let wanted = std::env::var("SIM_STOP").unwrap_or_default();
    let is_wanted = |failure: &str| {
        let rule = failure.split(':').next();
        wanted.split(',').any(|wanted| Some(wanted) == rule)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let stop = results.lock().unwrap().1.values().any(|failure| is_wanted(failure));
                    if seed >= seeds.end || stop {
                        return;
                    }
                    let mut outcome = run(seed, length, false);
                    if twice && outcome.failure.is_none() {
                        let again = run(seed, length, false);
                        if again.trace != outcome.trace {
                            outcome.failure = Some("the same seed gives another trace".into());
                        }
                    }
                    println!("seed {seed} trace {:016x}", outcome.trace);
                    let mut results = results.lock().unwrap();
                    results.0.add(&outcome.tally);
                    if let Some(failure) = outcome.failure {
                        println!("seed {seed} FAILED: {failure}");
                        results.1.insert(seed, failure);
                    }
                }
            });
        }
    });
    let (tally, failures) = results.into_inner().unwrap();
    let count = seeds.end - seeds.start;
    println!(
        "{count} seeds, {} virtual s, {:.1} s, faults {:?}, happenings {:?}, refusals {:?}, {} failed",
        count * length.as_secs(),
        began.elapsed().as_secs_f64(),
        tally.faults,
        tally.happenings,
        tally.refusals,
        failures.len()
    );
    for (seed, failure) in failures.iter().take(20) {
        println!("seed {seed} FAILED: {failure}");
    }
    println!("{} passed, {} failed", count as usize - failures.len(), failures.len());
    (tally, failures)
}
