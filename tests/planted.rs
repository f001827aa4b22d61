//! Does the simulator find bugs? Each patch of `tests/planted/` is applied to a copy of the source,
//! alone, and has to be found within 500 seeds by a rule that it names, or by a scenario.
//!
//! Run by name: `cargo test --test planted`; `PLANTED=WORD` applies only the patches whose file name
//! contains the word.

#[path = "planted/patches.rs"]
mod patches;

use std::path::Path;
use std::process::{Command, ExitCode};

const SEEDS: &str = "1..501";

fn main() -> ExitCode {
    let word = std::env::var("PLANTED").unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
    let (mut found, mut missed) = (0, 0);
    for patch in patches::all(root).iter().filter(|patch| patch.file_name().contains(&word)) {
        lay_out(root, &copy);
        patch.apply(&copy).unwrap_or_else(|error| panic!("{error}"));
        match simulate(&copy, &patch.found_by) {
            Some(failure) => {
                found += 1;
                println!("found  {}: {failure}", patch.name);
            }
            None => {
                missed += 1;
                println!("MISSED {} by {:?}", patch.name, patch.found_by);
            }
        }
    }
    println!("{found} passed, {missed} failed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A copy of everything that the simulator is built from.
fn lay_out(root: &Path, copy: &Path) {
    for directory in ["src", "static", "tests", "benches", "fuzz/src", "fuzz/targets"] {
        let _ = std::fs::remove_dir_all(copy.join(directory));
        copy_directory(&root.join(directory), &copy.join(directory));
    }
    for file in ["Cargo.toml", "Cargo.lock", "fuzz/Cargo.toml"] {
        std::fs::copy(root.join(file), copy.join(file)).unwrap();
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The first failure of one of the rules that the simulator finds in the copy.
fn simulate(copy: &Path, rules: &[String]) -> Option<String> {
    let scenario = rules.iter().find_map(|rule| rule.strip_prefix("scenario "));
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["test", "--locked", "--profile", "sim", "--no-default-features", "--test", "sim"])
        .current_dir(copy)
        // One of its own: what is built from the copy must never pass for the original.
        .env("CARGO_TARGET_DIR", copy.join("target"));
    match scenario {
        Some(name) => command.env("SIM_SCENARIO", name),
        None => command.env("SIM_SEEDS", SEEDS).env("SIM_STOP", rules.join(",")),
    };
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("could not compile"), "{errors}");
    let mut failures = text.lines().filter_map(|line| line.split_once(" FAILED: "));
    let by_rule = |what: &str| rules.iter().any(|rule| what.starts_with(&format!("{rule}:")));
    let (run, what) = failures.find(|(_, what)| scenario.is_some() || by_rule(what))?;
    Some(format!("{what} ({run})"))
}
