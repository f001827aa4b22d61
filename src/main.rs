//! The program. `ballcast::run` does all of it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ballcast::run()
}
