//! The rhythm of a stream, and what comes of it.

use super::*;

/// So many gaps between pictures are remembered, and each counts for so much at most.
const GAPS_REMEMBERED: usize = 32;
const LONGEST_GAP: Duration = Duration::from_secs(10);
pub(super) const HANGS_AFTER: Duration = Duration::from_secs(5);
pub(super) const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// How far the pictures that were read are apart. Limits follow it, as slow sources are no silent ones.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    items: u64,
    last: Option<Instant>,
    longest: VecDeque<Duration>,
}

impl Gaps {
    pub(super) fn restart(&mut self) {
        (self.items, self.last) = (0, None);
    }

    /// Whether there is a new one.
    pub(super) fn note(&mut self, now: Instant, items: u64) -> bool {
        let came = items - std::mem::replace(&mut self.items, items);
        if came == 0 {
            return false;
        }
        let gap = self.last.replace(now).map(|last| now - last);
        let at_once = (1..came).map(|_| Duration::ZERO);
        self.longest.extend(gap.into_iter().chain(at_once));
        let too_many = self.longest.len().saturating_sub(GAPS_REMEMBERED);
        self.longest.drain(..too_many);
        true
    }

    pub(super) fn longest(&self) -> Duration {
        let longest = self.longest.iter().max().copied().unwrap_or_default();
        longest.min(LONGEST_GAP)
    }

    pub(super) fn silent_after(&self) -> Duration {
        SILENT_AFTER.max(2 * self.longest() + Duration::from_millis(500))
    }

    pub(super) fn hangs_after(&self) -> Duration {
        let least = if self.longest.is_empty() { STARTS_WITHIN } else { HANGS_AFTER };
        least.max(3 * self.longest())
    }
}

/// What comes of the stream while it says that all is well, or does not say what is wrong.
#[derive(Debug, Default)]
pub(super) struct Fruits {
    /// When bytes came first and last since the last picture of this opening.
    pub(super) bytes: Option<(Instant, Instant)>,
    /// When the first and the last picture failed to be encoded since one was.
    pub(super) failed: Option<(Instant, Instant)>,
    pub(super) last_failed: Option<Instant>,
}

impl Fruits {
    pub(super) fn encoded(&mut self, now: Instant, fails: bool) {
        // Nothing is known of the time in which nobody watched.
        let lately = self.failed.filter(|(_, last)| now < *last + LAW_LIMIT);
        self.last_failed = if fails { Some(now) } else { self.last_failed };
        self.failed = fails.then(|| (lately.map_or(now, |(first, _)| first), now));
    }

    /// Since when there is nothing but this, if it goes on.
    pub(super) fn since(now: Instant, seen: Option<(Instant, Instant)>) -> Option<Instant> {
        let (first, last) = seen?;
        (now < last + GOES_ON).then_some(first)
    }
}
