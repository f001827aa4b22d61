//! What has happened since the stream was last opened.

use std::time::{Duration, Instant};

/// One attempt to read the stream, from its opening on.
#[derive(Debug, Default)]
pub struct Attempt {
    pub opened_at: Option<Instant>,
    pub first_item: Option<Instant>,
    pub last_item: Option<Instant>,
    /// It has failed, and the status gives the cause.
    pub failed: bool,
    /// It goes on, but is not shown, and the status gives the cause.
    pub is_blamed: bool,
    /// It is being ended, as nobody watches.
    pub is_put_to_rest: bool,
    /// When the bytes ended.
    pub ended_at: Option<Instant>,
}

impl Attempt {
    pub fn opened(now: Instant) -> Attempt {
        Attempt { opened_at: Some(now), ..Attempt::default() }
    }

    /// Whether more bytes may come.
    pub fn is_open(&self) -> bool {
        self.opened_at.is_some() && self.ended_at.is_none()
    }

    /// Whether it has brought pictures, and there was nothing wrong with it.
    pub fn is_good(&self) -> bool {
        self.last_item.is_some() && !self.failed && !self.is_blamed
    }

    /// For how long it has brought pictures.
    pub fn good_for(&self) -> Duration {
        let both = self.last_item.zip(self.first_item);
        both.map_or(Duration::ZERO, |(last, first)| last - first)
    }
}
