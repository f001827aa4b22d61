//! Decides when an encoder makes a key frame: at once for a viewer that connects, and at most twice a
//! second for all RTCP requests together.

use std::time::{Duration, Instant};

/// A key frame costs as much as many delta frames, so that not every PLI of a storm gets one. Two per second
/// are enough for a viewer with losses.
const PER_WINDOW: usize = 2;
const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Keyframes {
    /// A viewer has connected and has nothing to decode yet.
    joined: bool,
    /// A viewer has lost its picture.
    requested: bool,
    /// The times of the last key frames that were made for requests, oldest first.
    granted: [Option<Instant>; PER_WINDOW],
}

impl Keyframes {
    pub fn viewer_joined(&mut self) {
        self.joined = true;
    }

    pub fn request(&mut self) {
        self.requested = true;
    }

    /// Whether the next picture becomes a key frame. One key frame serves all viewers that wait for one.
    pub fn take(&mut self, now: Instant) -> bool {
        let granted = self.requested && self.may_grant(now);
        if !granted && !self.joined {
            return false;
        }
        if !self.joined {
            self.granted.rotate_left(1);
            self.granted[PER_WINDOW - 1] = Some(now);
        }
        (self.joined, self.requested) = (false, false);
        true
    }

    fn may_grant(&self, now: Instant) -> bool {
        self.granted[0].is_none_or(|oldest| now >= oldest + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_requests_becomes_two_key_frames_a_second() {
        let start = Instant::now();
        let mut keyframes = Keyframes::default();
        let mut granted = Vec::new();
        for ms in (0..10_000).step_by(33) {
            let now = start + Duration::from_millis(ms);
            keyframes.request();
            if keyframes.take(now) {
                granted.push(now);
            }
        }
        for pair in granted.windows(3) {
            assert!(pair[2] - pair[0] >= Duration::from_secs(1));
        }
        assert!((19..=21).contains(&granted.len()), "{}", granted.len());
    }

    #[test]
    fn a_single_request_is_granted_at_once_and_once() {
        let now = Instant::now();
        let mut keyframes = Keyframes::default();
        assert!(!keyframes.take(now));
        keyframes.request();
        assert!(keyframes.take(now));
        assert!(!keyframes.take(now));
    }

    #[test]
    fn a_viewer_that_joins_during_a_storm_does_not_wait() {
        let now = Instant::now();
        let mut keyframes = Keyframes::default();
        for _ in 0..PER_WINDOW {
            keyframes.request();
            assert!(keyframes.take(now));
        }
        keyframes.request();
        assert!(!keyframes.take(now));
        keyframes.viewer_joined();
        assert!(keyframes.take(now));
        // The key frame for the join was the answer to the request as well.
        assert!(!keyframes.take(now + WINDOW));
    }
}
