//! Real kernels with cameras in qemu, this build's server in them, and Chromium outside.
//!
//! Run by name: `cargo test --test kernel -- CASE…`, each a part of a case's name; see README.md.

mod bench;
mod camera;
mod cases;
mod guest;
mod media;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use bench::Bench;
use cases::CASES;

/// The release of Debian that a kernel is of, and what cases are named by.
const KERNELS: [(&str, &str); 2] = [("bookworm", "6.1"), ("trixie", "6.12")];
/// The cases of tests/run, on the first kernel.
const SHARE: [&str; 2] = ["plug::mjpeg_camera", "encoder::static_picture"];

struct Run {
    suite: &'static str,
    name: String,
    case: fn(&mut Bench),
}

fn runs() -> Vec<Run> {
    let [(share_suite, _), _] = KERNELS;
    let share = CASES.iter().filter(|(name, _)| SHARE.contains(name));
    let share = share.map(|(name, case)| Run {
        suite: share_suite,
        name: format!("share::{name}"),
        case: *case,
    });
    let all = KERNELS.iter().flat_map(|(suite, version)| {
        CASES.iter().map(move |(name, case)| Run {
            suite,
            name: format!("{version}::{name}"),
            case: *case,
        })
    });
    share.chain(all).collect()
}

/// Whether the case is one that these words ask for. The share is asked for by its name alone.
fn is_wanted(name: &str, words: &[String]) -> bool {
    let is_share = name.starts_with("share::");
    let is_asked = |word: &String| name.contains(word) && (!is_share || word.starts_with("share"));
    words.iter().any(is_asked) || (words.is_empty() && !is_share)
}

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let runs: Vec<Run> = runs().into_iter().filter(|run| is_wanted(&run.name, &words)).collect();
    if std::env::args().any(|word| word == "--list") {
        runs.iter().for_each(|run| println!("{}: test", run.name));
        return ExitCode::SUCCESS;
    }
    if runs.is_empty() {
        eprintln!("no case is named {words:?}");
        return ExitCode::from(2);
    }
    media::make();
    let mut failed = Vec::new();
    let mut bench: Option<Bench> = None;
    for run in &runs {
        println!("\n== {}", run.name);
        if bench.as_ref().is_none_or(|bench| bench.suite != run.suite) {
            drop(bench.take());
            bench = Some(Bench::boot(run.suite));
        }
        let bench = bench.as_mut().expect("it has been booted");
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (run.case)(bench)));
        if result.is_err() {
            bench.report();
            failed.push(&run.name);
        }
        bench.clear();
        let result = if result.is_err() { "FAILED" } else { "ok" };
        println!("   {} {result}, {:.1} s", run.name, began.elapsed().as_secs_f64());
    }
    println!("\n{} of {} cases passed", runs.len() - failed.len(), runs.len());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}
