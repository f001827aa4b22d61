//! `cargo bench`: the cost and the speed of the server, from single functions to a real browser.
//!
//! ```text
//! cargo bench                   # everything, about 25 minutes on two cores
//! cargo bench -- --quick        # everything with small numbers: checks that it works, not how fast
//! cargo bench -- storm micro    # the parts whose name contains one of the words
//! cargo bench -- --list
//! ```
//!
//! The table at the end is also in `target/bench/results.json`. All traffic stays on the loopback.
//! The measured server has one core, the load generator another.
//!
//! The same executable, started with a special first argument, is the load generator ([`load`]), the
//! receiver of [`floor`], and a server with video of 2 Mbit/s ([`large`]).

mod aiortc;
mod browser;
mod camera;
mod figures;
mod floor;
mod large;
mod load;
mod machine;
mod micro;
mod pipes;
mod report;
mod server;
mod streams;
#[path = "../tests/support/mod.rs"]
mod support;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use report::Report;

/// How much to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Full,
    /// Only checks that everything works, in a minute or two.
    Quick,
}

impl Mode {
    pub fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Mode::Full => full,
            Mode::Quick => quick,
        }
    }
}

struct Part {
    name: &'static str,
    /// The approximate duration of a full run.
    full: Duration,
    run: fn(Mode, &mut Report),
}

const fn part(name: &'static str, seconds: u64, run: fn(Mode, &mut Report)) -> Part {
    Part { name, full: Duration::from_secs(seconds), run }
}

const PARTS: [Part; 17] = [
    part("micro", 150, micro::measure),
    part("floor", 15, floor::measure),
    part("server-idle", 175, server::measure_idle),
    part("server-ball", 150, server::measure_ball),
    part("server-large", 130, server::measure_large),
    part("server-join", 25, server::measure_join),
    part("server-storm", 40, server::measure_storm),
    part("server-soak", 150, server::measure_soak),
    part("server-capacity", 300, server::measure_capacity),
    part("streams-parse", 20, streams::measure_parse),
    part("streams-pipe", 110, streams::measure_pipe),
    part("streams-join", 85, streams::measure_join),
    part("streams-encode", 80, streams::measure_encode),
    part("camera", 85, camera::measure),
    part("browser-first-frame", 60, browser::measure_first_frame),
    part("browser-latency", 75, browser::measure_latency),
    part("aiortc", 75, aiortc::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(load::ARGUMENT) => return helper(run_load(&arguments[1..])),
        Some(floor::ARGUMENT) => return helper(floor::run_sink(&arguments[1..])),
        Some(large::ARGUMENT) => return helper(large::run(&arguments[1..])),
        _ => {}
    }
    let mut mode = Mode::Full;
    let mut words = Vec::new();
    for argument in &arguments {
        match argument.as_str() {
            "--quick" => mode = Mode::Quick,
            "--list" => {
                PARTS.iter().for_each(|part| println!("{}", part.name));
                return ExitCode::SUCCESS;
            }
            // Cargo adds this one.
            "--bench" => {}
            flag if flag.starts_with('-') => {
                eprintln!(
                    "bench: unknown option {flag}: expected --quick, --list or names of parts"
                );
                return ExitCode::from(2);
            }
            word => words.push(word.to_owned()),
        }
    }
    run_parts(mode, &words)
}

/// Reports progress on standard error.
pub fn say(line: &str) {
    eprintln!("bench:   {line}");
}

fn run_parts(mode: Mode, words: &[String]) -> ExitCode {
    let wanted = |part: &&Part| words.is_empty() || words.iter().any(|w| part.name.contains(w));
    let parts: Vec<&Part> = PARTS.iter().filter(wanted).collect();
    if parts.is_empty() {
        eprintln!("bench: no part matches; --list prints their names");
        return ExitCode::from(2);
    }
    let files = machine::raise_open_files();
    let total: Duration = parts.iter().map(|part| part.full).sum();
    let time = mode.pick(format!("about {} minutes", total.as_secs().div_ceil(60)), "quick".into());
    eprintln!("bench: {} parts, {time}; limit of open files {files}", parts.len());

    let mut report = Report::new(machine::description(), mode == Mode::Quick);
    for part in parts {
        let time = mode.pick(format!("about {} s", part.full.as_secs()), "quick".into());
        eprintln!("bench: {} ({time})", part.name);
        let started = Instant::now();
        report.begin(part.name);
        let ran = catch_unwind(AssertUnwindSafe(|| (part.run)(mode, &mut report)));
        if let Err(panic) = ran {
            report.fail(panic_message(&*panic));
        }
        eprintln!("bench: {} took {:.0} s", part.name, started.elapsed().as_secs_f64());
    }
    println!("\n{}", report.table());
    match report.write() {
        Ok(path) => println!("Machine-readable results: {}", path.display()),
        Err(error) => report.fail(format!("cannot write the results: {error}")),
    }
    if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The message of a panic.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "it panicked".into())
}

fn run_load(arguments: &[String]) -> Result<(), String> {
    let [server, frames_per_second] = arguments else { return Err("SERVER FPS".into()) };
    let server = server.parse().map_err(|error| format!("{server}: {error}"))?;
    let rate =
        frames_per_second.parse().map_err(|error| format!("{frames_per_second}: {error}"))?;
    machine::raise_open_files();
    load::generator::run(server, rate).map_err(|error| error.to_string())
}

/// The exit code of a helper process.
fn helper(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("bench helper: {sentence}");
            ExitCode::FAILURE
        }
    }
}
