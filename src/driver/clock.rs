//! The wall clock as the core knows it, and the detection of steps.

use std::time::{Duration, Instant, SystemTime};

/// A wall clock that differs this much from the expected time was set. Slewing (NTP) stays below.
const STEP_MIN: Duration = Duration::from_secs(1);

/// The wall clock and the moment at which it was read, as the core was told.
#[derive(Debug)]
pub struct WallClock {
    wall: SystemTime,
    read_at: Instant,
}

impl WallClock {
    pub fn new(now: Instant, wall: SystemTime) -> WallClock {
        WallClock { wall, read_at: now }
    }

    /// Takes a reading. Returns the time if the clock was set since the last step.
    pub fn step(&mut self, now: Instant, wall: SystemTime) -> Option<SystemTime> {
        let expected = self.wall + (now - self.read_at);
        let difference = match wall.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        (difference > STEP_MIN).then(|| {
            *self = WallClock::new(now, wall);
            wall
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_a_step_once_in_either_direction() {
        let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let seconds = Duration::from_secs;
        let mut clock = WallClock::new(start, wall);
        assert_eq!(clock.step(start + seconds(5), wall + seconds(6)), None);
        let ahead = wall + seconds(7_200);
        assert_eq!(clock.step(start + seconds(10), ahead), Some(ahead));
        assert_eq!(clock.step(start + seconds(20), ahead + seconds(10)), None);
        assert_eq!(clock.step(start + seconds(30), wall), Some(wall));
        assert_eq!(clock.step(start + seconds(31), wall + seconds(1)), None);
    }
}
