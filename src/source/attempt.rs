//! What has happened to a stream since it was opened last.

use std::time::{Duration, Instant};

/// From one opening of a stream to the next.
#[derive(Debug, Default)]
pub struct Attempt {
    pub opened_at: Option<Instant>,
    pub first_item: Option<Instant>,
    pub last_item: Option<Instant>,
    /// Its end is known, and said.
    pub failed: bool,
    /// It goes on, and why it is not shown is said.
    pub is_blamed: bool,
    /// There are no more bytes.
    pub ended_at: Option<Instant>,
}

impl Attempt {
    pub fn opened(now: Instant) -> Attempt {
        Attempt { opened_at: Some(now), ..Attempt::default() }
    }

    /// There may be more bytes.
    pub fn is_open(&self) -> bool {
        self.opened_at.is_some() && self.ended_at.is_none()
    }

    /// It has brought pictures, and nothing was wrong with it.
    pub fn is_good(&self) -> bool {
        self.last_item.is_some() && !self.failed && !self.is_blamed
    }

    /// For how long it has brought pictures.
    pub fn good_for(&self) -> Duration {
        let both = self.last_item.zip(self.first_item);
        both.map_or(Duration::ZERO, |(last, first)| last - first)
    }
}
