//! Counters and measurements of one viewer.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use str0m::stats::MediaEgressStats;

/// The RTP clock of all video (RFC 6184, section 8.1).
const RTP_CLOCK_HZ: u32 = 90_000;

/// What was sent to a viewer, and requested by it.
#[derive(Debug, Default, Clone, Copy)]
pub struct ViewerCounters {
    pub frames: u64,
    /// RTP packets, without retransmissions.
    pub packets: u64,
    /// Bytes of all datagrams.
    pub bytes: u64,
    pub keyframes: u64,
    /// PLI and FIR received.
    pub keyframe_requests: u64,
    /// RTP packets retransmitted.
    pub resends: u64,
    /// RTP packets sent twice without a NACK, as the viewer loses packets.
    pub repeats: u64,
    /// Frames not sent because the gate was shut.
    pub drops: u64,
}

impl AddAssign for ViewerCounters {
    fn add_assign(&mut self, other: ViewerCounters) {
        self.frames += other.frames;
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.keyframes += other.keyframes;
        self.keyframe_requests += other.keyframe_requests;
        self.resends += other.resends;
        self.repeats += other.repeats;
        self.drops += other.drops;
    }
}

/// The quality of reception, from the viewer's last receiver reports (RFC 3550, section 6.4).
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Reception {
    pub round_trip: Option<Duration>,
    /// The fraction of packets lost, from 0 to 1.
    pub loss: Option<f32>,
    pub jitter: Option<Duration>,
}

impl Reception {
    /// Updates the values that str0m's statistics contain.
    pub fn update(&mut self, stats: &MediaEgressStats) {
        let jitter = stats.remote.as_ref().map(|remote| remote.jitter);
        self.round_trip = stats.rtt.or(self.round_trip);
        self.loss = stats.loss.or(self.loss);
        let duration = |ticks| Duration::from_secs(1) / RTP_CLOCK_HZ * ticks;
        self.jitter = jitter.map(duration).or(self.jitter);
    }
}

/// The known values in parentheses after a space, or nothing.
impl fmt::Display for Reception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1e3);
        let known: Vec<String> = [
            self.round_trip.map(|time| format!("round trip {}", ms(time))),
            self.loss.map(|loss| format!("loss {:.1} %", loss * 100.0)),
            self.jitter.map(|jitter| format!("jitter {}", ms(jitter))),
        ]
        .into_iter()
        .flatten()
        .collect();
        if known.is_empty() { Ok(()) } else { write!(f, " ({})", known.join(", ")) }
    }
}
