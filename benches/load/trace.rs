//! Frames as they reach each viewer, one by one, for a benchmark that knows when each was made.

use std::time::Instant;

use serde_json::{Value, json};

use crate::machine::clock_ns;

/// What identifies a frame: the end of its last packet is that of the picture before it was cut.
const TAIL_BYTES: usize = 16;

/// A complete frame at a viewer. Times are those of [`clock_ns`].
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// When this viewer joined.
    pub joined: u64,
    pub first_packet: u64,
    pub last_packet: u64,
    pub tail: u64,
}

/// The frames of all viewers, in the order in which they were complete.
#[derive(Default)]
pub struct Trace(Vec<Arrival>);

impl Trace {
    pub fn add(&mut self, joined: Instant, first: Instant, last: Instant, payload: &[u8]) {
        self.0.push(Arrival {
            joined: clock_ns(joined),
            first_packet: clock_ns(first),
            last_packet: clock_ns(last),
            tail: tail_of(payload),
        });
    }

    pub fn into_json(self) -> Value {
        let row = |a: Arrival| json!([a.joined, a.first_packet, a.last_packet, a.tail]);
        Value::Array(self.0.into_iter().map(row).collect())
    }
}

pub fn from_json(rows: &Value) -> Vec<Arrival> {
    let number = |row: &Value, column: usize| row[column].as_u64().unwrap_or_default();
    let arrival = |row: &Value| Arrival {
        joined: number(row, 0),
        first_packet: number(row, 1),
        last_packet: number(row, 2),
        tail: number(row, 3),
    };
    rows.as_array().map(|rows| rows.iter().map(arrival).collect()).unwrap_or_default()
}

/// The digest of the last bytes of a picture, or of its last packet's payload.
pub fn tail_of(picture: &[u8]) -> u64 {
    let tail = &picture[picture.len().saturating_sub(TAIL_BYTES)..];
    // FNV-1a.
    tail.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
