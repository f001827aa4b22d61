//! Judges whether a stream brings pictures that can be shown, and why not.
//!
//! Bytes alone do not make a stream run, and neither do a few pictures among many that are dropped. Two
//! ratios are measured over [`WINDOW`]:
//!
//! - of the parser: complete pictures, and pictures that it drops;
//! - of the decoder and the encoders: pictures that succeed and fail. They run only while there are
//!   viewers.

use std::time::{Duration, Instant};

use super::cause::{LeftOut, SourceCause};
use super::ledger::{Ledger, WINDOW};
use crate::media::Damage;
use crate::source::parse::{Lack, ParserCounters, StreamError};

/// After bytes for this long without a picture, there will be none without a change.
pub const FRUITLESS_AFTER: Duration = WINDOW;
/// How often a picture is tried while pictures cannot be shown.
const TRIAL_PERIOD: Duration = Duration::from_secs(1);

/// The outcomes since the stream was opened.
#[derive(Debug, Default)]
pub struct Watch {
    parsed: Ledger,
    shown: Ledger,
    counted: ParserCounters,
    /// What the parser lacks.
    lack: Option<Lack>,
    /// Why the parser last dropped pictures.
    left_out: Option<LeftOut>,
    /// The first and the last time that bytes came after the last picture.
    bytes: Option<(Instant, Instant)>,
    blame: Option<Blame>,
    tried_at: Option<Instant>,
}

/// Why a stream that brings pictures does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// The parser drops nearly all of them, most of them for this reason.
    Parsed(LeftOut),
    /// They cannot be decoded or encoded.
    Shown(Damage),
}

impl Watch {
    /// Handles that the stream is opened again. `is_same` tells that it has the same contents as before, as
    /// a file has. If pictures could not be shown a moment ago, that remains the cause until one can be.
    /// Everything else starts over.
    pub fn reopen(&mut self, now: Instant, is_same: bool) {
        if is_same {
            self.counted = ParserCounters::default();
            return;
        }
        let blame = self.blame.filter(|blame| matches!(blame, Blame::Shown(_)));
        let blame = blame.filter(|_| self.shown.has_noted_since(now, WINDOW));
        let shown =
            if blame.is_some() { Ledger::default() } else { std::mem::take(&mut self.shown) };
        *self = Watch { blame, shown, ..Watch::default() };
    }

    /// Records the counters of the parser after it has parsed bytes, and what it lacks.
    pub fn note_bytes(&mut self, now: Instant, counters: ParserCounters, lack: Option<Lack>) {
        let last = std::mem::replace(&mut self.counted, counters);
        let good = counters.items - last.items;
        let skipped = counters.skipped - last.skipped;
        let damaged = counters.damaged - last.damaged;
        let oversized = counters.oversized - last.oversized;
        self.lack = lack;
        self.parsed.note(now, good, skipped + damaged + oversized, WINDOW);
        if good > 0 {
            self.bytes = None;
        } else if counters.bytes > last.bytes {
            let (first, _) = self.bytes.unwrap_or((now, now));
            self.bytes = Some((first, now));
        }
        self.left_out = match skipped.max(damaged).max(oversized) {
            0 => self.left_out,
            most if most == skipped => Some(LeftOut::Skipped),
            most if most == oversized => Some(LeftOut::Oversized),
            _ => Some(LeftOut::Damaged),
        };
        if self.blame.is_none() && self.parsed.nearly_all_bad(now) {
            self.blame = self.left_out.map(Blame::Parsed);
        } else if matches!(self.blame, Some(Blame::Parsed(_))) && self.parsed.mostly_good() {
            self.blame = None;
        }
    }

    /// Records whether a picture was decoded and encoded. `overdue` is the time without pictures after
    /// which the source is silent.
    pub fn note_outcome(&mut self, now: Instant, damage: Option<Damage>, overdue: Duration) {
        let bad = u64::from(damage.is_some());
        self.shown.note(now, 1 - bad, bad, overdue.max(WINDOW));
        match damage {
            Some(damage) if self.blame.is_none() => {
                let fails = self.shown.all_bad_for(now, overdue) || self.shown.nearly_all_bad(now);
                self.blame = fails.then_some(Blame::Shown(damage));
            }
            None if matches!(self.blame, Some(Blame::Shown(_))) && self.shown.mostly_good() => {
                self.blame = None;
            }
            _ => {}
        }
    }

    /// Records a picture that is already encoded. Failures to decode earlier pictures, in another format, do
    /// not apply to it.
    pub fn note_encoded(&mut self) {
        if matches!(self.blame, Some(Blame::Shown(_))) {
            (self.blame, self.shown) = (None, Ledger::default());
        }
    }

    /// Why the stream does not run although it brings pictures.
    pub fn blame(&self) -> Option<SourceCause> {
        Some(match self.blame? {
            Blame::Parsed(left_out) => SourceCause::LeftOut(left_out),
            Blame::Shown(damage) => SourceCause::Damaged(damage),
        })
    }

    /// Whether a picture should be tried now and then although the last ones could not be shown.
    pub fn tries_pictures(&self) -> bool {
        matches!(self.blame, Some(Blame::Shown(_)))
    }

    /// Whether the next of them should be tried.
    pub fn take_trial(&mut self, now: Instant) -> bool {
        let due = self.tried_at.is_none_or(|at| now >= at + TRIAL_PERIOD);
        if due {
            self.tried_at = Some(now);
        }
        due
    }

    /// Since when bytes have come without a picture.
    pub fn bytes_since(&self) -> Option<Instant> {
        self.bytes.map(|(first, _)| first)
    }

    /// The same, if they have come within this time.
    pub fn fruitless_since(&self, now: Instant, lately: Duration) -> Option<Instant> {
        let (first, last) = self.bytes?;
        (now <= last + lately).then_some(first)
    }

    /// Why the bytes contain no picture.
    pub fn fruitless_cause(&self) -> SourceCause {
        match (self.lack, self.left_out) {
            (Some(lack), _) => SourceCause::Stream(StreamError::Lacks(lack)),
            (None, Some(left_out)) => SourceCause::LeftOut(left_out),
            (None, None) => SourceCause::Fruitless,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERDUE: Duration = Duration::from_secs(2);

    /// A stream that was parsed for some seconds, 25 pictures a second, into what `count` counts.
    fn parsed(seconds: u64, count: impl Fn(&mut ParserCounters, u64)) -> (Watch, Instant) {
        let mut watch = Watch::default();
        let (mut now, mut counters) = (Instant::now(), ParserCounters::default());
        for number in 0..seconds * 25 {
            counters.bytes += 1_000;
            count(&mut counters, number);
            watch.note_bytes(now, counters, None);
            now += Duration::from_millis(40);
        }
        (watch, now)
    }

    #[test]
    fn a_stream_of_which_nearly_all_is_left_out_does_not_run_and_says_what_it_was() {
        let one_in_25 = |counters: &mut ParserCounters,
                         number: u64,
                         bad: fn(&mut ParserCounters) -> &mut u64| {
            *(if number.is_multiple_of(25) { &mut counters.items } else { bad(counters) }) += 1;
        };
        let (watch, _) = parsed(6, |c, n| one_in_25(c, n, |c| &mut c.damaged));
        assert_eq!(watch.blame(), Some(SourceCause::LeftOut(LeftOut::Damaged)));
        let (watch, _) = parsed(6, |c, n| one_in_25(c, n, |c| &mut c.oversized));
        assert_eq!(watch.blame(), Some(SourceCause::LeftOut(LeftOut::Oversized)));
        let (watch, _) = parsed(6, |c, n| one_in_25(c, n, |c| &mut c.skipped));
        assert_eq!(watch.blame(), Some(SourceCause::LeftOut(LeftOut::Skipped)));
        let (watch, _) = parsed(60, |counters, number| {
            *(if number % 5 == 4 { &mut counters.damaged } else { &mut counters.items }) += 1;
        });
        assert_eq!(watch.blame(), None, "every fifth");
    }

    #[test]
    fn pictures_that_cannot_be_shown_are_a_failure_until_most_can_be() {
        let mut watch = Watch::default();
        let mut now = Instant::now();
        let mut note = |watch: &mut Watch, damage| {
            now += Duration::from_millis(40);
            watch.note_outcome(now, damage, OVERDUE);
        };
        note(&mut watch, None);
        (0..49).for_each(|_| note(&mut watch, Some(Damage::Decode)));
        assert_eq!(watch.blame(), None, "not for long");
        (0..10).for_each(|_| note(&mut watch, Some(Damage::Decode)));
        assert_eq!(watch.blame(), Some(SourceCause::Damaged(Damage::Decode)));
        (0..30).for_each(|_| note(&mut watch, None));
        assert!(watch.blame().is_some(), "half of the window is damaged");
        (0..70).for_each(|_| note(&mut watch, None));
        assert_eq!(watch.blame(), None);
        (0..1_000).for_each(|n| note(&mut watch, (n % 5 == 0).then_some(Damage::Decode)));
        assert_eq!(watch.blame(), None, "every fifth is damaged");
    }

    #[test]
    fn bytes_without_a_picture_are_fruitless_from_the_first_on() {
        let (watch, now) = parsed(3, |counters, number| counters.items = number.min(25));
        let second = Duration::from_secs(1);
        let since = watch.fruitless_since(now, second).unwrap();
        assert!((now - since).abs_diff(2 * second) <= Duration::from_millis(80));
        assert_eq!(watch.fruitless_since(now + 2 * second, second), None, "nothing has come");
        assert_eq!(watch.fruitless_cause(), SourceCause::Fruitless);
    }
}
