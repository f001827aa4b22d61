//! What needs a machine, or a large part of it: networks, small machines, an hour.
//!
//! Run by name: `cargo test --test machine -- PART`; see each part for what it takes.

mod net;
mod small_machine;
mod soak;
mod supervised;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

const PARTS: [(&str, fn(&[String]) -> ExitCode); 4] = [
    ("net", net::run),
    ("small_machine", small_machine::run),
    ("soak", soak::run),
    ("supervised", supervised::run),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let part = PARTS.iter().find(|(name, _)| words.first().is_some_and(|word| word == name));
    let Some((_, run)) = part else {
        eprintln!("name one of these parts: {}", PARTS.map(|(name, _)| name).join(", "));
        return ExitCode::from(2);
    };
    run(&words[1..])
}
