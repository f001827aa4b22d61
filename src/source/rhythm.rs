//! Measures the time between pictures, which tells when a source is silent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many times between pictures are kept: more than a second of most sources.
const GAPS: usize = 32;
/// The longest measured time that counts. A longer one has to be declared.
const LONGEST_MEASURED: Duration = Duration::from_secs(10);
/// The shortest time without pictures after which a source is silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// The same of a camera, whose pictures wait for no writer.
const CAMERA_SILENT_AFTER: Duration = Duration::from_secs(1);
/// A command without pictures for this long hangs, as some camera stacks do.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// The same at the start of a command and after its first picture, when the period is not known.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// A picture that is late by less is on time.
const LATENESS: Duration = Duration::from_millis(500);
/// Below this period, the mean of recent arrivals is the better measure.
const SLOW: Duration = Duration::from_millis(400);

/// The times between the pictures of a source, declared and measured. Its limits follow the longer one, as
/// a stream may be slower than it declares.
#[derive(Debug)]
pub struct Rhythm {
    /// The shortest time without pictures after which the source is silent.
    least_silence: Duration,
    /// The source may be slower than it declares.
    may_be_slower: bool,
    /// The period that the operator has declared.
    declared: Option<Duration>,
    gaps: VecDeque<Duration>,
    /// The last picture of this attempt.
    last: Option<Instant>,
}

impl Rhythm {
    /// That of a stream, of which the operator may have declared the period.
    pub fn of_stream(declared: Option<Duration>) -> Rhythm {
        Rhythm {
            least_silence: SILENT_AFTER,
            may_be_slower: true,
            declared,
            gaps: VecDeque::new(),
            last: None,
        }
    }

    /// That of a camera, whose pictures come at the rate that was agreed.
    pub fn of_camera() -> Rhythm {
        Rhythm {
            least_silence: CAMERA_SILENT_AFTER,
            may_be_slower: false,
            ..Rhythm::of_stream(None)
        }
    }

    /// Handles that the source is opened. Earlier measurements still count.
    pub fn restart(&mut self) {
        self.last = None;
    }

    /// Records a picture.
    pub fn note_picture(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            if self.gaps.len() == GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back(now.saturating_duration_since(last));
        }
    }

    /// The period of a slow source: the measured median, or as declared.
    pub fn slow_period(&self, told: Option<Duration>) -> Option<Duration> {
        let mut gaps: Vec<Duration> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        let measured = gaps.get(gaps.len() / 2).copied();
        measured.or(self.declared).or(told).filter(|period| *period >= SLOW)
    }

    /// The time after a picture when the source is silent. `told` is the period that the stream declares.
    pub fn silent_after(&self, told: Option<Duration>) -> Duration {
        self.least_silence.max(2 * self.longest(told) + LATENESS)
    }

    /// The time after a picture when a command hangs.
    pub fn hangs_after(&self, told: Option<Duration>) -> Duration {
        let least = if self.gaps.is_empty() { STARTS_WITHIN } else { HANGS_AFTER };
        least.max(3 * self.longest(told))
    }

    /// The time after its start when a command without a picture hangs.
    pub fn starts_within(&self, told: Option<Duration>) -> Duration {
        STARTS_WITHIN.max(3 * self.longest(told))
    }

    /// The longest time between two pictures; zero while it is not known.
    fn longest(&self, told: Option<Duration>) -> Duration {
        let measured = self.gaps.iter().copied().max().filter(|_| self.may_be_slower);
        let measured = measured.map(|gap| gap.min(LONGEST_MEASURED));
        [self.declared, told, measured].into_iter().flatten().max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A source whose pictures came after these times, in milliseconds.
    fn measured(gaps: impl IntoIterator<Item = u64>) -> Rhythm {
        let mut now = Instant::now();
        let mut rhythm = Rhythm::of_stream(None);
        rhythm.note_picture(now);
        for gap in gaps {
            now += Duration::from_millis(gap);
            rhythm.note_picture(now);
        }
        rhythm
    }

    #[test]
    fn limits_follow_what_is_declared_and_what_is_measured() {
        let fast = measured([40; 50]);
        assert_eq!(fast.silent_after(None), 2 * SECOND);
        assert_eq!(fast.hangs_after(None), 5 * SECOND);
        assert_eq!(fast.slow_period(None), None);
        let slow = measured([3_000; 2]);
        assert_eq!(slow.silent_after(None), Duration::from_millis(6_500));
        assert_eq!(slow.hangs_after(None), 9 * SECOND);
        assert_eq!(slow.slow_period(None), Some(3 * SECOND));
        assert_eq!(Rhythm::of_stream(None).slow_period(Some(5 * SECOND)), Some(5 * SECOND));
        assert_eq!(fast.silent_after(Some(5 * SECOND)), Duration::from_millis(10_500));
        let declared = Rhythm::of_stream(Some(60 * SECOND));
        assert_eq!(declared.starts_within(None), 180 * SECOND);
        assert_eq!(declared.hangs_after(None), 180 * SECOND);
        assert_eq!(Rhythm::of_stream(None).hangs_after(None), 10 * SECOND, "nothing is known yet");
    }

    #[test]
    fn a_stall_of_a_camera_changes_nothing() {
        let (mut camera, now) = (Rhythm::of_camera(), Instant::now());
        camera.note_picture(now);
        camera.note_picture(now + 8 * SECOND);
        assert_eq!(camera.silent_after(Some(SECOND / 30)), SECOND);
        assert_eq!(camera.silent_after(Some(SECOND)), Duration::from_millis(2_500));
    }

    #[test]
    fn a_stall_is_forgotten_and_never_counts_for_more_than_ten_seconds() {
        let stalled = [40; 40].into_iter().chain([60_000]).chain([40; 10]);
        let rhythm = measured(stalled.clone());
        assert_eq!(rhythm.silent_after(None), Duration::from_millis(20_500));
        assert_eq!(rhythm.slow_period(None), None);
        assert_eq!(measured(stalled.chain([40; 22])).silent_after(None), 2 * SECOND);
    }
}
