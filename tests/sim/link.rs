//! One direction of a network path: loss, delay, reordering, duplication, corruption, a rate limit.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::tally::{Fault, Tally};

/// IPv4 and UDP headers.
const HEADER_BYTES: usize = 28;

/// The properties of a link. They can change while datagrams are in flight.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// The probability that a datagram is lost, independent of the others.
    pub loss: f64,
    /// The probability that a burst of loss begins with a datagram.
    pub burst: f64,
    /// Datagrams in a burst, on average.
    pub burst_length: f64,
    pub delay: Duration,
    pub jitter: Duration,
    /// The probability that a datagram may overtake those sent before it.
    pub reorder: f64,
    pub duplicate: f64,
    /// The probability that one bit of a datagram is flipped.
    pub corrupt: f64,
    /// Bits per second, and the bytes that the queue holds before more is dropped.
    pub rate: Option<(u64, usize)>,
    /// Longer packets are sent in fragments, all of which have to arrive.
    pub mtu: usize,
    /// The link is down until then.
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
    /// No authenticated byte was changed.
    pub intact: bool,
}

/// MESSAGE-INTEGRITY does not cover the FINGERPRINT of a STUN message, which is its last attribute
/// (RFC 8489, section 14.7).
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
    /// When the last bit of the accepted datagrams is sent.
    busy_until: Option<Instant>,
    last_arrival: Option<Instant>,
}

impl Link {
    pub fn new(conditions: Conditions) -> Link {
        Link { conditions, burst_left: 0, busy_until: None, last_arrival: None }
    }

    /// Sends a datagram. It arrives not at all, once or twice.
    pub fn send(
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

    /// When the last bit is sent, or `None` if the queue is full.
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
