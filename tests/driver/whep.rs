//! WHEP: each request and its answer, from the program over real TCP.

use crate::support::process::Server;
use crate::support::whep::{Player, players, whep_cases};
use crate::support::world::ALLOWED_ORIGIN;

fn with_program(viewers: usize) -> [Player; 2] {
    let viewers = viewers.to_string();
    let flags = ["--allow-origin", ALLOWED_ORIGIN, "--max-offers-per-second", "1000"];
    let flags = [&flags[..], &["--max-viewers", &viewers]].concat();
    players(|| Box::new(Server::start(&flags)))
}

whep_cases!(with_program);
