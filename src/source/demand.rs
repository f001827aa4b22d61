//! Lets a source rest while nobody watches, if the operator wants that: a camera takes power, and has a light.

use std::time::{Duration, Instant};

/// How long a source goes on after the last viewer, who may only have reloaded the page.
const RESTS_AFTER: Duration = Duration::from_secs(10);

/// Whether the source is wanted.
#[derive(Debug, Default)]
pub struct Demand {
    /// It rests while nobody watches.
    may_rest: bool,
    is_watched: bool,
    is_resting: bool,
    /// When it rests, after somebody has watched.
    rests_at: Option<Instant>,
}

impl Demand {
    /// Of a source that rests while nobody watches, as nobody does yet.
    pub fn while_watched() -> Demand {
        Demand { may_rest: true, is_resting: true, ..Demand::default() }
    }

    /// Somebody watches, or nobody does. Returns whether the source has rested and is wanted now.
    pub fn set_watched(&mut self, now: Instant, is_watched: bool) -> bool {
        if !self.may_rest || self.is_watched == is_watched {
            return false;
        }
        self.is_watched = is_watched;
        self.rests_at = (!is_watched).then_some(now + RESTS_AFTER);
        is_watched && std::mem::take(&mut self.is_resting)
    }

    /// Somebody asks for one picture: the source goes on for a while. As [`set_watched`](Self::set_watched).
    pub fn note_asked(&mut self, now: Instant) -> bool {
        if !self.may_rest || self.is_watched {
            return false;
        }
        self.rests_at = Some(now + RESTS_AFTER);
        std::mem::take(&mut self.is_resting)
    }

    pub fn rests_at(&self) -> Option<Instant> {
        self.rests_at
    }

    /// Whether the source begins to rest.
    pub fn take_rest(&mut self, now: Instant) -> bool {
        let rests = self.rests_at.take_if(|at| *at <= now).is_some();
        self.is_resting |= rests;
        rests
    }

    pub fn is_resting(&self) -> bool {
        self.is_resting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_wanted_from_the_first_viewer_to_ten_seconds_after_the_last() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut demand = Demand::while_watched();
        assert!(demand.is_resting());
        assert!(demand.set_watched(at(0), true));
        assert!(!demand.set_watched(at(1), true), "it runs already");
        assert!(!demand.set_watched(at(5), false));
        assert!(!demand.set_watched(at(9), true), "it has not rested");
        assert!(!demand.set_watched(at(20), false));
        assert!(!demand.take_rest(at(29)));
        assert!(!demand.note_asked(at(29)));
        assert!(!demand.take_rest(at(38)), "somebody has asked");
        assert!(demand.take_rest(at(39)) && demand.is_resting());
        assert_eq!(demand.rests_at(), None);
        assert!(demand.note_asked(at(50)));
        assert!(demand.take_rest(at(60)));
    }

    #[test]
    fn a_source_that_does_not_rest_is_always_wanted() {
        let now = Instant::now();
        let mut demand = Demand::default();
        assert!(!demand.set_watched(now, true) && !demand.set_watched(now, false));
        assert!(!demand.note_asked(now));
        assert_eq!((demand.rests_at(), demand.is_resting()), (None, false));
    }
}
