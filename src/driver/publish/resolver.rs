//! Resolves host names without blocking the loop: `getaddrinfo` returns when it likes, so a short-lived
//! thread calls it.
//!
//! Only the system's resolver finds what the rest of the host finds: `/etc/hosts`, mDNS and whatever else the
//! C library asks. (musl, in a static binary, asks `/etc/hosts` and DNS only.)
//!
//! A thread cannot be stopped inside `getaddrinfo`. A lookup that was given up goes on until the resolver's own
//! timeouts end it; its result is dropped, and the target starts no second thread meanwhile. The exit of
//! the process does not wait for it.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use mio::Waker;

use crate::driver::blocking::Blocking;
use crate::foreign::Foreign;
use crate::publish::{MAX_ADDRESSES, PublishCause, PublishFailure};

const REASON_MAX_CHARS: usize = 200;

type Resolved = Result<Vec<IpAddr>, PublishFailure>;

/// The lookups of one target: at most one thread at a time.
pub struct Resolver {
    lookup: Blocking<Resolved>,
    /// Of the last lookup that has begun.
    name: String,
    /// Its result was not given up.
    is_wanted: bool,
}

impl Resolver {
    /// A thread that has a result wakes the poll with this waker.
    pub fn new(waker: Arc<Waker>) -> Resolver {
        Resolver { lookup: Blocking::new(waker), name: String::new(), is_wanted: false }
    }

    /// Starts to look up a name, and gives up an earlier lookup. A thread that still looks up the same name
    /// is waited for again.
    ///
    /// # Errors
    /// The system starts no thread, or a lookup of another name that was given up has not returned.
    pub fn start(&mut self, name: String) -> Result<(), PublishFailure> {
        self.start_with(name, look_up)
    }

    /// What the lookup has found: at least one address, or why there is none. `None` while it runs.
    pub fn take(&mut self) -> Option<Resolved> {
        let taken = self.lookup.take()?;
        let resolved = taken.unwrap_or_else(|error| Err(unresolved(&error.to_string())));
        self.is_wanted.then_some(resolved)
    }

    /// Waits for the lookup no longer, if there is one.
    pub fn give_up(&mut self) {
        self.is_wanted = false;
        drop(self.lookup.take());
    }

    fn start_with(
        &mut self,
        name: String,
        look_up: impl FnOnce(&str) -> Resolved + Send + 'static,
    ) -> Result<(), PublishFailure> {
        self.give_up();
        if !self.lookup.is_running() {
            self.name.clone_from(&name);
            let started = self.lookup.start("lookup", move || look_up(&name));
            started.map_err(|error| unresolved(&format!("no thread can be started: {error}")))?;
        } else if self.name != name {
            return Err(unresolved("the lookup of another name has not returned"));
        }
        self.is_wanted = true;
        Ok(())
    }
}

fn unresolved(reason: &str) -> PublishFailure {
    PublishFailure {
        cause: PublishCause::NameUnknown,
        words: Foreign::new(reason, REASON_MAX_CHARS),
    }
}

/// Blocks for as long as the system's resolver does. The best address is first.
fn look_up(name: &str) -> Resolved {
    let found = (name, 0).to_socket_addrs().map_err(|error| {
        let reason = error.to_string();
        let prefix = "failed to lookup address information: ";
        unresolved(reason.strip_prefix(prefix).unwrap_or(&reason))
    })?;
    let addresses = usable(found.map(|address| address.ip()));
    if addresses.is_empty() {
        return Err(unresolved("it has no address but link-local ones"));
    }
    Ok(addresses)
}

/// Each address once, [`MAX_ADDRESSES`] at most. A link-local address of IPv6 needs an interface, which a
/// name does not give (RFC 4007).
fn usable(found: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in found {
        let needs_scope = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if !needs_scope && !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn resolver() -> (Resolver, Poll) {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        (Resolver::new(Arc::new(waker)), poll)
    }

    /// Starts a lookup that returns when it is sent a result.
    fn start(resolver: &mut Resolver, name: &str) -> Result<Sender<Resolved>, PublishFailure> {
        let (sender, results) = channel();
        let look_up = move |_: &str| results.recv_timeout(LIMIT).unwrap();
        resolver.start_with(name.into(), look_up).map(|()| sender)
    }

    fn wait(poll: &mut Poll) {
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(LIMIT)).unwrap();
        assert!(!events.is_empty(), "the thread wakes the poll");
    }

    fn reason(resolved: Resolved) -> String {
        resolved.unwrap_err().words.unwrap().to_string()
    }

    #[test]
    fn a_result_wakes_the_poll_and_is_told_once() {
        let (mut resolver, mut poll) = resolver();
        let lookup = start(&mut resolver, "camera").unwrap();
        assert_eq!(resolver.take(), None, "it runs");
        lookup.send(Ok(vec![[192, 0, 2, 1].into()])).unwrap();
        wait(&mut poll);
        assert_eq!(resolver.take(), Some(Ok(vec![[192, 0, 2, 1].into()])));
        assert_eq!(resolver.take(), None);
    }

    #[test]
    fn a_late_result_is_dropped_and_no_second_thread_runs_beside_a_late_one() {
        let (mut resolver, mut poll) = resolver();
        let late = start(&mut resolver, "late").unwrap();
        resolver.give_up();
        let refused = start(&mut resolver, "other").unwrap_err();
        assert_eq!(reason(Err(refused)), "the lookup of another name has not returned");
        late.send(Ok(vec![[192, 0, 2, 1].into()])).unwrap();
        wait(&mut poll);
        assert_eq!(resolver.take(), None, "nobody waits for it");
        let other = start(&mut resolver, "other").unwrap();
        other.send(Ok(vec![[192, 0, 2, 2].into()])).unwrap();
        wait(&mut poll);
        assert_eq!(resolver.take(), Some(Ok(vec![[192, 0, 2, 2].into()])));
    }

    #[test]
    fn the_next_lookup_of_a_name_waits_for_the_thread_that_looks_it_up() {
        let (mut resolver, mut poll) = resolver();
        let slow = start(&mut resolver, "slow").unwrap();
        resolver.give_up();
        let again = start(&mut resolver, "slow").unwrap();
        assert!(again.send(Ok(Vec::new())).is_err(), "no second thread is started");
        slow.send(Ok(vec![[192, 0, 2, 1].into()])).unwrap();
        wait(&mut poll);
        assert_eq!(resolver.take(), Some(Ok(vec![[192, 0, 2, 1].into()])));
    }

    #[test]
    fn a_result_that_was_not_taken_is_not_that_of_the_next_lookup() {
        let (mut resolver, mut poll) = resolver();
        start(&mut resolver, "camera").unwrap().send(Ok(vec![[192, 0, 2, 1].into()])).unwrap();
        wait(&mut poll);
        let next = start(&mut resolver, "camera").unwrap();
        assert_eq!(resolver.take(), None);
        next.send(Ok(vec![[192, 0, 2, 2].into()])).unwrap();
        wait(&mut poll);
        assert_eq!(resolver.take(), Some(Ok(vec![[192, 0, 2, 2].into()])));
    }

    #[test]
    fn a_thread_that_panics_is_not_waited_for_by_the_next_lookup() {
        let (mut resolver, mut poll) = resolver();
        drop(start(&mut resolver, "camera").unwrap());
        let next = loop {
            match start(&mut resolver, "other") {
                Ok(next) => break next,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        next.send(Ok(vec![[192, 0, 2, 2].into()])).unwrap();
        wait(&mut poll);
        assert_eq!(resolver.take(), Some(Ok(vec![[192, 0, 2, 2].into()])));
    }

    #[test]
    fn addresses_come_once_in_their_order_and_without_those_that_need_an_interface() {
        let found = ["::1", "fe80::1", "127.0.0.1", "::1", "169.254.1.1"];
        let expected = ["::1", "127.0.0.1", "169.254.1.1"];
        let parsed = |text: &[&str]| -> Vec<IpAddr> {
            text.iter().map(|address| address.parse().unwrap()).collect()
        };
        assert_eq!(usable(parsed(&found).into_iter()), parsed(&expected));
        let many = (0..20).map(|n| IpAddr::from([192, 0, 2, n]));
        assert_eq!(usable(many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn addresses_are_resolved_to_themselves_and_a_reason_has_a_limit() {
        assert_eq!(look_up("192.0.2.7"), Ok(vec![[192, 0, 2, 7].into()]));
        assert_eq!(reason(look_up("fe80::1")), "it has no address but link-local ones");
        assert_eq!(reason(Err(unresolved(&"x".repeat(4_096)))).len(), REASON_MAX_CHARS);
        assert_eq!(reason(Err(unresolved("\x1b[31m"))), "\\u{1b}[31m");
    }
}
