//! One direction of a network path, with everything that a network does to datagrams.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::tally::{Fault, Tally};

/// IPv4 and UDP headers.
const HEADER_BYTES: usize = 28;

/// What a link does. All of it can change while datagrams are under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// Of 1: the share of datagrams that are lost, each for itself.
    pub loss: f64,
    /// Of 1: how likely a datagram begins a burst of loss.
    pub burst: f64,
    /// Datagrams in a burst, on average.
    pub burst_length: f64,
    pub delay: Duration,
    pub jitter: Duration,
    /// Of 1: the share of datagrams that overtake those before them.
    pub reorder: f64,
    pub duplicate: f64,
    /// Of 1: the share of datagrams with one flipped bit.
    pub corrupt: f64,
    /// Bits a second, and how much waits before more is dropped.
    pub rate: Option<(u64, usize)>,
    /// Longer packets travel in fragments, all of which have to arrive.
    pub mtu: usize,
    /// Nothing passes until then.
    pub down_until: Option<Instant>,
}

impl Conditions {
    pub fn perfect(delay: Duration) -> Conditions {
        Conditions {
            loss: 0.0,
            burst: 0.0,
            burst_length: 1.0,
            delay,
            jitter: Duration::ZERO,
            reorder: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            rate: None,
            mtu: 1_500,
            down_until: None,
        }
    }
}

/// A datagram at the far end.
pub struct Arrival {
    pub at: Instant,
    pub bytes: Vec<u8>,
    /// Everything in it that is authenticated is as it was sent.
    pub intact: bool,
}

/// The fingerprint of a STUN message, its last attribute, is outside of its integrity (RFC 8489,
/// section 14.7).
fn is_intact(sent: &[u8], arrived: &[u8]) -> bool {
    const FINGERPRINT_BYTES: usize = 8;
    let is_stun = sent.first().is_some_and(|first| *first <= 3);
    let bytes = sent.len() - if is_stun { FINGERPRINT_BYTES } else { 0 };
    sent[..bytes] == arrived[..bytes]
}

#[derive(Debug)]
pub struct Link {
    pub conditions: Conditions,
    burst_left: u32,
    /// When the last bit of what has been accepted leaves.
    busy_until: Option<Instant>,
    last_arrival: Option<Instant>,
}

impl Link {
    pub fn new(conditions: Conditions) -> Link {
        Link { conditions, burst_left: 0, busy_until: None, last_arrival: None }
    }

    /// When, and as what, a datagram arrives: not at all, once or twice.
    pub fn carry(
        &mut self,
        now: Instant,
        bytes: Vec<u8>,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Vec<Arrival> {
        if self.conditions.down_until.is_some_and(|until| now < until) {
            tally.fault(Fault::LinkDown);
            return Vec::new();
        }
        let fragments = (bytes.len() + HEADER_BYTES).div_ceil(self.conditions.mtu);
        if fragments > 1 {
            tally.fault(Fault::Fragmented);
        }
        if (0..fragments).any(|_| self.is_lost(rng)) {
            tally.fault(Fault::Lost);
            return Vec::new();
        }
        let Some(sent) = self.transmit(now, bytes.len(), tally) else {
            return Vec::new();
        };
        let copies = if rng.f64() < self.conditions.duplicate {
            tally.fault(Fault::Duplicated);
            2
        } else {
            1
        };
        let arrive = |_| {
            let at = self.arrival(sent, rng, tally);
            let damaged = self.damage(&bytes, rng, tally);
            Arrival { at, intact: is_intact(&bytes, &damaged), bytes: damaged }
        };
        (0..copies).map(arrive).collect()
    }

    fn is_lost(&mut self, rng: &mut Rng) -> bool {
        if self.burst_left > 0 {
            self.burst_left -= 1;
            return true;
        }
        if rng.f64() < self.conditions.burst {
            self.burst_left = (rng.f64() * 2.0 * self.conditions.burst_length) as u32;
            return true;
        }
        rng.f64() < self.conditions.loss
    }

    /// When the last bit is on the wire, unless the queue before it is full.
    fn transmit(&mut self, now: Instant, bytes: usize, tally: &mut Tally) -> Option<Instant> {
        let Some((rate, queue_bytes)) = self.conditions.rate else {
            return Some(now);
        };
        let start = self.busy_until.map_or(now, |until| until.max(now));
        let waiting_bits = (start - now).as_secs_f64() * rate as f64;
        if waiting_bits > (queue_bytes * 8) as f64 {
            tally.fault(Fault::QueueFull);
            return None;
        }
        let bits = ((bytes + HEADER_BYTES) * 8) as f64;
        let sent = start + Duration::from_secs_f64(bits / rate as f64);
        self.busy_until = Some(sent);
        Some(sent)
    }

    fn arrival(&mut self, sent: Instant, rng: &mut Rng, tally: &mut Tally) -> Instant {
        let arrival = sent + self.conditions.delay + self.conditions.jitter.mul_f64(rng.f64());
        if rng.f64() < self.conditions.reorder {
            tally.fault(Fault::Reordered);
            return sent + self.conditions.delay.mul_f64(rng.f64());
        }
        // Jitter alone keeps the order.
        let arrival = self.last_arrival.map_or(arrival, |last| last.max(arrival));
        self.last_arrival = Some(arrival);
        arrival
    }

    fn damage(&mut self, bytes: &[u8], rng: &mut Rng, tally: &mut Tally) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if !bytes.is_empty() && rng.f64() < self.conditions.corrupt {
            tally.fault(Fault::Corrupted);
            let bit = rng.usize(..bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes
    }
}
