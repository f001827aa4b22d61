//! The functions that the fuzz targets run.
//!
//! Each module has one `run`, which panics when a property is violated and returns the names of the
//! outcomes of its input, so that the replay of the corpus can check whether all of them still
//! occur.

use std::collections::BTreeSet;

pub mod answer;
pub mod client;
pub mod datagram;
mod edits;
#[cfg(feature = "codecs")]
pub mod encode;
pub mod http;
pub mod http_diff;
pub mod http_reference;
#[cfg(feature = "codecs")]
mod jpeg_model;
#[cfg(feature = "codecs")]
mod memory;
pub mod offer;
pub mod parse;
pub mod server;

/// The client, the null cryptography and the server in virtual time that the tests use too.
#[path = "../../tests/support"]
#[allow(dead_code, reason = "each program uses its own part of this")]
mod support {
    pub mod client;
    pub mod crypto;
    pub mod world;
}

/// Names of what occurred: refusals, accepted input shapes, how a connection ended.
pub type Outcomes = BTreeSet<String>;
