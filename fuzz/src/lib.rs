//! What the fuzz targets run: ordinary functions from bytes to what came of them.
//!
//! Each module has one `run`, which panics when a law is broken and returns the names of what it
//! has seen, so that the replay of the corpus can tell whether everything still occurs.

use std::collections::BTreeSet;

pub mod datagram;
pub mod http;
pub mod http_diff;
pub mod http_reference;
pub mod offer;
pub mod server;

/// The tests' own client, null cryptography and world in virtual time.
#[path = "../../tests/support"]
#[allow(dead_code, reason = "each program uses its own part of this")]
mod support {
    pub mod client;
    pub mod crypto;
    pub mod world;
}

/// Names of what happened: refusals, accepted shapes, endings.
pub type Outcomes = BTreeSet<String>;
