//! The targets for a machine with two cores, one for the server and one for the load. A figure that
//! is not listed here has no target.

use crate::figures::short;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    None,
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub fn text(self) -> String {
        match self {
            Target::None => String::new(),
            Target::AtMost(0.0) => "0".into(),
            Target::AtMost(limit) => format!("≤ {}", short(limit)),
            Target::AtLeast(limit) => format!("≥ {}", short(limit)),
        }
    }

    pub fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Target::None => None,
            Target::AtMost(limit) => Some(value <= limit),
            Target::AtLeast(limit) => Some(value >= limit),
        }
    }
}

/// The target of a figure, by its key.
pub fn of(key: &str) -> Target {
    match key {
        "ball-lost" | "ball-skipped" | "large-join-lost" | "storm-lost" => Target::AtMost(0.0),
        "idle-before-switches" | "idle-after-switches" => Target::AtMost(0.0),
        "idle-before-ticks" | "idle-after-ticks" => Target::AtMost(0.0),
        "soak-descriptors" => Target::AtMost(0.0),
        "soak-memory" => Target::AtMost(1_024.0),
        "micro-offer-hostile" => Target::AtMost(2_000.0),
        "ball-over-floor" => Target::AtMost(2.4),
        "large-cpu" => Target::AtMost(1.2),
        "ball-memory" | "large-memory" => Target::AtMost(96.0),
        "ball-late-p99" => Target::AtMost(20.0),
        "ball-encode" => Target::AtMost(0.5),
        "ball-rate" | "large-join-rate" => Target::AtLeast(29.9),
        "large-join-up" => Target::AtLeast(400.0),
        "large-join-connect-p95" | "storm-first-frame-p95" => Target::AtMost(300.0),
        "storm-gap" => Target::AtMost(70.0),
        "capacity" => Target::AtLeast(5_000.0),
        "capacity-ratio" => Target::AtMost(1.2),
        "pipe-late-p50" => Target::AtMost(1.0),
        "pipe-late-p99" => Target::AtMost(3.0),
        "pipe-first-frame-ratio" => Target::AtMost(1.3),
        "pipe-up-to-date" => Target::AtMost(300.0),
        "pipe-resident" => Target::AtMost(16.0),
        "parse-h264" => Target::AtLeast(1.0),
        "y4m-ratio" => Target::AtMost(1.1),
        "jpeg-decode" => Target::AtMost(4.0),
        "binary" => Target::AtMost(5.6),
        "resident-0" => Target::AtMost(6.0),
        "resident-1" => Target::AtMost(9.0),
        "cpu-1" => Target::AtMost(1.8),
        "browser-first-frame-p50" => Target::AtMost(45.0),
        "browser-first-frame-p95" => Target::AtMost(75.0),
        "browser-latency-p50" => Target::AtMost(2.5),
        "browser-latency-p99" => Target::AtMost(8.0),
        _ => Target::None,
    }
}
