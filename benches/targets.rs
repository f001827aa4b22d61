//! What the figures have to be on a machine with two cores, one for the server and one for the
//! load. A figure that is not here is measured to be known.

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

/// By the figure's key in the machine-readable copy.
pub fn of(key: &str) -> Target {
    match key {
        "ball-lost" | "large-join-lost" | "storm-lost" => Target::AtMost(0.0),
        "idle-before-switches" | "idle-after-switches" => Target::AtMost(0.0),
        "idle-before-ticks" | "idle-after-ticks" => Target::AtMost(0.0),
        "capacity" => Target::AtLeast(5_000.0),
        _ => Target::None,
    }
}
