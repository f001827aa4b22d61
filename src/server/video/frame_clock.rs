//! The frame clock: a grid of absolute deadlines that does not drift.

use std::time::{Duration, Instant};

/// A clock that ticks `frames_per_second` times a second while it runs. Ticks lie on the grid
/// `start + n / frames_per_second`, computed from the start each time. Missed ticks are skipped.
#[derive(Debug)]
pub struct FrameClock {
    frames_per_second: u32,
    running: Option<Running>,
    /// One period after the last tick: no tick comes before, even if the clock is stopped and started.
    earliest_start: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    start: Instant,
    next_tick: u64,
}

impl FrameClock {
    /// # Panics
    /// If `frames_per_second` is 0.
    pub fn new(frames_per_second: u32) -> FrameClock {
        assert!(frames_per_second > 0, "a frame rate is at least 1");
        FrameClock { frames_per_second, running: None, earliest_start: None }
    }

    /// Starts the clock; its first tick is due at once, or a period after the last one. A running
    /// clock keeps its grid.
    pub fn start(&mut self, now: Instant) {
        let start = self.earliest_start.map_or(now, |earliest_start| earliest_start.max(now));
        self.running.get_or_insert(Running { start, next_tick: 0 });
    }

    /// Starts a new grid with a tick at once, if the clock runs.
    pub fn restart_now(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            *running = Running { start: now, next_tick: 0 };
        }
    }

    pub fn stop(&mut self) {
        self.running = None;
    }

    /// The time from one tick to the next.
    pub fn period(&self) -> Duration {
        self.offset(1)
    }

    /// Whether the clock is stopped and the last tick is at least one period ago.
    pub fn can_tick_once(&self, now: Instant) -> bool {
        self.running.is_none() && self.earliest_start.is_none_or(|start| start <= now)
    }

    /// Takes one tick while the clock stays stopped, if it [can](Self::can_tick_once).
    pub fn tick_once(&mut self, now: Instant) -> bool {
        let ticks = self.can_tick_once(now);
        if ticks {
            self.earliest_start = Some(now + self.period());
        }
        ticks
    }

    /// The time of the next tick, or `None` while stopped.
    pub fn deadline(&self) -> Option<Instant> {
        let running = self.running.as_ref()?;
        Some(running.start + self.offset(running.next_tick))
    }

    /// Takes the tick that is due at `now`, if there is one. Returns how many ticks before it were
    /// skipped.
    pub fn tick(&mut self, now: Instant) -> Option<u64> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        let running = self.running.as_mut()?;
        let elapsed = now.saturating_duration_since(running.start).as_nanos();
        let passed = (elapsed * u128::from(self.frames_per_second) / NANOS_PER_SECOND) as u64;
        // Rounding in `offset` may leave the division one grid point behind the tick that is due.
        let skipped = passed.saturating_sub(running.next_tick);
        running.next_tick += skipped + 1;
        self.earliest_start = Some(now + self.offset(1));
        Some(skipped)
    }

    fn offset(&self, tick: u64) -> Duration {
        let nanos = u128::from(tick) * NANOS_PER_SECOND / u128::from(self.frames_per_second);
        Duration::from_nanos(nanos as u64)
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// The simulator's seed 1344: the last viewer left and another connected in one moment.
    #[test]
    fn a_clock_that_starts_again_at_once_has_no_second_tick_in_one_period() {
        let now = Instant::now();
        let mut clock = FrameClock::new(30);
        clock.start(now);
        assert!(clock.tick(now).is_some());
        clock.stop();
        clock.start(now);
        assert_eq!(clock.tick(now), None);
        let period = Duration::from_nanos(33_333_333);
        assert_eq!(clock.deadline(), Some(now + period));
        assert!(clock.tick(now + period).is_some());
    }

    #[test]
    fn ten_minutes_at_30_are_18000_frames_even_when_each_wake_up_is_late() {
        let start = Instant::now();
        let end = start + Duration::from_secs(600);
        let mut clock = FrameClock::new(30);
        clock.start(start);
        let mut ticks = 0;
        let mut lateness = (0..).map(|n: u64| Duration::from_micros(n * 7_919 % 5_000));
        while let Some(deadline) = clock.deadline().filter(|deadline| *deadline < end) {
            assert!(clock.tick(deadline + lateness.next().unwrap()).is_some());
            ticks += 1;
        }
        assert!((17_999..=18_001).contains(&ticks), "{ticks}");
    }

    #[test]
    fn a_stopped_clock_ticks_once_a_period() {
        let now = Instant::now();
        let mut clock = FrameClock::new(10);
        let period = Duration::from_millis(100);
        assert!(clock.tick_once(now) && !clock.tick_once(now + period / 2));
        clock.start(now + period / 2);
        assert_eq!(clock.deadline(), Some(now + period), "the tick counts as one of the clock");
        assert!(!clock.tick_once(now + period), "a running clock ticks by itself");
        clock.stop();
        assert!(clock.tick_once(now + period));
    }

    #[test]
    fn late_ticks_are_skipped_and_the_grid_stays() {
        let start = Instant::now();
        let mut clock = FrameClock::new(10);
        clock.start(start);
        assert!(clock.tick(start).is_some());
        assert_eq!(clock.tick(start + Duration::from_millis(1_234)), Some(11));
        assert_eq!(clock.deadline(), Some(start + Duration::from_millis(1_300)));
        assert_eq!(clock.tick(start + Duration::from_millis(1_299)), None);
        assert!(clock.tick(start + Duration::from_millis(1_300)).is_some());
    }

    #[test]
    fn after_a_tick_the_next_deadline_is_always_in_the_future() {
        for rate in [1, 7, 24, 30, 60, 144] {
            let start = Instant::now();
            let mut clock = FrameClock::new(rate);
            clock.start(start);
            for _ in 0..1_000 {
                let now = clock.deadline().unwrap();
                assert!(clock.tick(now).is_some());
                assert!(clock.deadline().unwrap() > now);
            }
        }
    }

    #[test]
    fn a_stopped_clock_has_no_deadline_and_starts_with_a_tick() {
        let start = Instant::now();
        let mut clock = FrameClock::new(30);
        assert_eq!(clock.deadline(), None);
        assert_eq!(clock.tick(start), None);
        clock.start(start);
        assert!(clock.tick(start).is_some());
        clock.stop();
        assert_eq!(clock.deadline(), None);
        clock.start(start + Duration::from_secs(5));
        assert!(clock.tick(start + Duration::from_secs(5)).is_some());
    }
}
