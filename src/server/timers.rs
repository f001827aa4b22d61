//! Deadlines by key. The next one is found without a walk over all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// At most one deadline for each key. Setting, clearing and taking are logarithmic.
#[derive(Debug)]
pub struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Copy> Timers<K> {
    pub fn new() -> Timers<K> {
        Timers { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// Replaces the deadline of `key`; `None` removes it.
    pub fn set(&mut self, key: K, deadline: Option<Instant>) {
        let old = match deadline {
            Some(deadline) => self.by_key.insert(key, deadline),
            None => self.by_key.remove(&key),
        };
        if old == deadline {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, key));
        }
        if let Some(deadline) = deadline {
            self.by_time.insert((deadline, key));
        }
    }

    pub fn of(&self, key: K) -> Option<Instant> {
        self.by_key.get(&key).copied()
    }

    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(deadline, _)| *deadline)
    }

    /// Removes and returns the earliest key whose deadline has come.
    pub fn take_due(&mut self, now: Instant) -> Option<K> {
        self.next().filter(|deadline| *deadline <= now)?;
        self.take_first()
    }

    /// Removes and returns the earliest key, whether or not its deadline has come.
    pub fn take_first(&mut self) -> Option<K> {
        let (_, key) = *self.by_time.first()?;
        self.set(key, None);
        Some(key)
    }

    pub fn len(&self) -> usize {
        debug_assert_eq!(self.by_key.len(), self.by_time.len());
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_come_due_in_order_and_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.set('a', Some(at(30)));
        timers.set('b', Some(at(10)));
        timers.set('c', Some(at(20)));
        timers.set('a', Some(at(5)));
        timers.set('c', None);
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.take_due(at(4)), None);
        assert_eq!(timers.take_due(at(10)), Some('a'));
        assert_eq!(timers.take_due(at(10)), Some('b'));
        assert_eq!(timers.take_due(at(99)), None);
        assert_eq!(timers.len(), 0);
    }
}
