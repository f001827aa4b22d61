//! Limits the pictures per second of a stream.

use std::time::{Duration, Instant};

/// The most pictures in a second. Each is sent to every viewer; cameras deliver up to 120.
pub const MOST_PER_SECOND: u32 = 240;
const SECOND: Duration = Duration::from_secs(1);

/// Counts the pictures of H.264, which cannot be dropped one by one: when there are too many, the rest of
/// the group is dropped, and all groups until the rate of a second is within the limit.
#[derive(Debug, Default)]
pub struct Flood {
    second: Option<Instant>,
    count: u32,
    /// The count of the second before.
    last_count: u32,
    is_closed: bool,
}

impl Flood {
    /// Whether the next picture is shown.
    pub fn admit(&mut self, now: Instant, keyframe: bool) -> bool {
        if self.second.is_none_or(|begun| now >= begun + SECOND) {
            let follows = self.second.is_some_and(|begun| now < begun + 2 * SECOND);
            self.last_count = if follows { self.count } else { 0 };
            (self.second, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        let is_slow = self.count.max(self.last_count) <= MOST_PER_SECOND;
        self.is_closed = match self.is_closed {
            true => !(keyframe && is_slow),
            false => self.count > MOST_PER_SECOND,
        };
        !self.is_closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_pictures_are_dropped_to_the_key_frame_after_a_slower_second() {
        let start = Instant::now();
        let mut flood = Flood::default();
        let admitted = (0..10_000).filter(|n| flood.admit(start, n % 30 == 0)).count();
        assert_eq!(admitted, 240);
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!flood.admit(at(1_500), true), "the second before had too many");
        assert!(!flood.admit(at(2_600), false), "the middle of a group");
        assert!(flood.admit(at(2_640), true));
        assert!(flood.admit(at(2_680), false));
    }

    #[test]
    fn the_fastest_cameras_and_what_has_waited_in_a_pipe_are_shown() {
        let start = Instant::now();
        let mut flood = Flood::default();
        for second in 0..10 {
            let burst = start + Duration::from_millis(second * 1_000);
            assert!((0..120).all(|n| flood.admit(burst, n == 0)));
        }
    }
}
