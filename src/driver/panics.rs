//! Rate-limited reports of panics. A hostile source or peer may cause a contained panic with every picture or
//! datagram, and a report of each would flood the log.

use std::collections::BTreeMap;
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two reports of panics at the same location.
const INTERVAL: Duration = Duration::from_secs(60);

/// Wraps the panic hook, so that panics at one location are reported at most once a minute.
pub fn limit_reports() {
    let report = panic::take_hook();
    let reported = Mutex::new(Reported::default());
    panic::set_hook(Box::new(move |info| {
        let location = info.location().map_or_else(String::new, ToString::to_string);
        let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.take_due(location, Instant::now()) {
            drop(reported);
            report(info);
        }
    }));
}

/// When panics were last reported, by location. Bounded by the number of locations that can panic.
#[derive(Default)]
struct Reported(BTreeMap<String, Instant>);

impl Reported {
    /// Whether a panic at this location is due to be reported. If so, counts it as reported.
    fn take_due(&mut self, location: String, now: Instant) -> bool {
        let is_due = self.0.get(&location).is_none_or(|last| now >= *last + INTERVAL);
        if is_due {
            self.0.insert(location, now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_at_one_location_are_reported_once_a_minute() {
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
