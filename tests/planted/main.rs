//! Does the simulator find bugs? All bugs of `tests/planted/` are laid out in one copy of the
//! source, each behind a switch. The copy is built once. With all of them off its traces are those
//! of the original; each of them, alone, has to be found within 500 seeds by a rule that it names,
//! or by a scenario.
//!
//! Run by name: `cargo test --profile sim --no-default-features --test planted`; `PLANTED=WORD`
//! turns on only the bugs whose name contains the word.

mod bugs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use serde_json::Value;

const SEEDS: &str = "1..501";
/// Enough to reach each part of the core.
const SEEDS_WITHOUT_BUGS: &str = "1..51";

fn main() -> ExitCode {
    let began = Instant::now();
    let word = std::env::var("PLANTED").unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
    let bugs = bugs::all(root);
    lay_out(root, &copy);
    for (file, text) in bugs::plant(&bugs, &copy.join("src")).unwrap_or_else(|errors| {
        panic!("{}", errors.join("\n"));
    }) {
        std::fs::write(file, text).unwrap();
    }
    let original = traces(&build(root, &[]));
    let simulator = build(&copy, &["--features", "planted"]);
    let with_none = traces(&simulator);
    assert!(!original.is_empty());
    assert_eq!(original, with_none, "the copy is another program, with all bugs off");
    println!("with all bugs off, {} seeds have the traces of the original", original.len());

    let (mut found, mut missed) = (0, 0);
    for (number, bug) in bugs.iter().enumerate().filter(|(_, bug)| bug.name.contains(&word)) {
        match find(&simulator, number, &bug.found_by) {
            Some(failure) => {
                found += 1;
                println!("found  {}: {failure}", bug.name);
            }
            None => {
                missed += 1;
                println!("MISSED {} by {:?}", bug.name, bug.found_by);
            }
        }
    }
    println!("{found} passed, {missed} failed, {:.0} s", began.elapsed().as_secs_f64());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A copy of everything that the simulator is built from, with a feature and a module more.
fn lay_out(root: &Path, copy: &Path) {
    for directory in ["src", "static", "tests", "benches", "fuzz/src", "fuzz/targets"] {
        let _ = std::fs::remove_dir_all(copy.join(directory));
        copy_directory(&root.join(directory), &copy.join(directory));
    }
    for file in ["Cargo.toml", "Cargo.lock", "fuzz/Cargo.toml"] {
        std::fs::copy(root.join(file), copy.join(file)).unwrap();
    }
    std::fs::copy(root.join("tests/planted/switch.rs"), copy.join("src/planted.rs")).unwrap();
    // With the feature, what is built from the copy never passes for the original.
    edit(&copy.join("Cargo.toml"), |text| {
        text.replace("\n[features]\n", "\n[features]\nplanted = []\n")
    });
    edit(&copy.join("src/lib.rs"), |text| {
        format!("#![allow(unused_parens)]\n{text}\npub mod planted;\n")
    });
}

fn edit(file: &Path, change: impl Fn(String) -> String) {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, change(text)).unwrap();
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

/// Builds the simulator, with the dependencies as they are built for the tests. Returns the program.
fn build(source: &Path, features: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["test", "--locked", "--profile", "sim", "--no-default-features", "--test", "sim"])
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .args(features)
        .current_dir(source)
        .env("CARGO_TARGET_DIR", target)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs = messages.filter(|message| message["target"]["name"] == "sim");
    let program = programs.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.last().expect("cargo names the program that it has built")
}

/// The trace of each seed, with no bug on.
fn traces(simulator: &Path) -> BTreeMap<String, String> {
    let output = Command::new(simulator).env("SIM_SEEDS", SEEDS_WITHOUT_BUGS).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "without a bug the simulator finds one: {text}");
    let lines = text.lines().filter_map(|line| line.split_once(" trace "));
    lines.map(|(seed, trace)| (seed.to_owned(), trace.to_owned())).collect()
}

/// The first failure of one of the rules that the simulator finds with that bug on.
fn find(simulator: &Path, number: usize, rules: &[String]) -> Option<String> {
    let scenario = rules.iter().find_map(|rule| rule.strip_prefix("scenario "));
    let mut command = Command::new(simulator);
    command.env("PLANTED_BUG", number.to_string());
    match scenario {
        Some(name) => command.env("SIM_SCENARIO", name),
        None => command.env("SIM_SEEDS", SEEDS).env("SIM_STOP", rules.join(",")),
    };
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut failures = text.lines().filter_map(|line| line.split_once(" FAILED: "));
    let by_rule = |what: &str| rules.iter().any(|rule| what.starts_with(&format!("{rule}:")));
    let (run, what) = failures.find(|(_, what)| scenario.is_some() || by_rule(what))?;
    Some(format!("{what} ({run})"))
}
