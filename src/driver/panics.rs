//! What panics leave on standard error. Those that are contained may come with every picture or datagram
//! of somebody hostile, and a report of each would be a flood.

use std::collections::BTreeMap;
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two reports of panics at the same place.
const INTERVAL: Duration = Duration::from_secs(60);

/// Reports panics as before, but those at one place of the program once a minute.
pub fn limit_reports() {
    let report = panic::take_hook();
    let reported = Mutex::new(Reported::default());
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.take_due(place, Instant::now()) {
            drop(reported);
            report(info);
        }
    }));
}

/// When panics were last reported, by place: at most as many as the program has places that can panic.
#[derive(Default)]
struct Reported(BTreeMap<String, Instant>);

impl Reported {
    /// Whether a panic at this place is to be reported, which is noted.
    fn take_due(&mut self, place: String, now: Instant) -> bool {
        let is_due = self.0.get(&place).is_none_or(|last| now >= *last + INTERVAL);
        if is_due {
            self.0.insert(place, now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_at_one_place_are_reported_once_a_minute() {
        let mut reported = Reported::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(reported.take_due("decoder.rs:1:1".into(), at(0)));
        assert!(!reported.take_due("decoder.rs:1:1".into(), at(59)));
        assert!(reported.take_due("encoder.rs:1:1".into(), at(59)));
        assert!(reported.take_due("decoder.rs:1:1".into(), at(60)));
        assert!(!reported.take_due("decoder.rs:1:1".into(), at(119)));
    }
}
