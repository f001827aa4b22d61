//! The RTP stream to one viewer: its gate, sequence numbers, timestamps, pacing, retransmissions, repeated
//! packets and counters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::rtp::Ssrc;
use str0m::stats::MediaEgressStats;

use super::Transmit;
use super::config::StreamNumbers;
use super::pacing::{Pacing, Slice};
use super::payload::Packets;
use super::repeats::Repeats;
use super::resends::{Resend, ResendBudget};
use super::statistics::{Reception, ViewerCounters};
use crate::sdp::local::AnsweredFormat;

pub struct VideoStream {
    pub format: AnsweredFormat,
    /// Shut at first and after each drop. A key frame opens it.
    gate_open: bool,
    next_sequence_number: u64,
    timestamp_offset: u32,
    /// The RTP timestamp of the last frame.
    timestamp: Option<u32>,
    pacing: Pacing,
    resends: ResendBudget,
    repeats: Repeats,
    /// The packets of the batch under way are sent twice.
    repeating: bool,
    /// The number of NACKs in the last statistics.
    nacks: u64,
    pub counters: ViewerCounters,
    pub reception: Reception,
}

/// Packets of one frame to be sent, with their numbers.
pub struct Batch {
    pub slice: Slice,
    pub first_sequence_number: u64,
    pub timestamp: u32,
}

/// Whether a datagram of str0m is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendDecision {
    Send,
    /// It is a retransmission beyond the limit.
    Skip,
    /// The limit is far exceeded: drop the pending retransmissions, too.
    ForgetResends,
}

impl VideoStream {
    pub fn new(format: AnsweredFormat, numbers: &StreamNumbers) -> VideoStream {
        VideoStream {
            format,
            gate_open: false,
            next_sequence_number: u64::from(numbers.first_sequence_number),
            timestamp_offset: numbers.timestamp_offset,
            timestamp: None,
            pacing: Pacing::default(),
            resends: ResendBudget::new(),
            repeats: Repeats::default(),
            repeating: false,
            nacks: 0,
            counters: ViewerCounters::default(),
            reception: Reception::default(),
        }
    }

    pub fn ssrc(&self) -> Ssrc {
        self.format.ssrc.into()
    }

    /// Adds a frame that has to leave within `within`, if the gate lets it through.
    pub fn push(&mut self, now: Instant, frame: &Arc<Packets>, within: Duration) {
        self.gate_open |= frame.keyframe;
        if self.gate_open {
            self.pacing.push(now, frame, within);
        } else {
            self.counters.drops += 1;
        }
    }

    /// Allows more packets of large frames if a step is due.
    pub fn advance(&mut self, now: Instant) {
        self.pacing.advance(now);
    }

    /// The next packets to send now, until `None`. [`Self::end_batch`] follows each.
    pub fn begin_batch(&mut self, now: Instant) -> Option<Batch> {
        let slice = self.pacing.next_slice()?;
        let frame = &slice.frame;
        let count = slice.packets.len() as u32;
        let timestamp = match self.timestamp.filter(|_| !slice.begins_frame()) {
            Some(timestamp) => timestamp,
            None => self.timestamp_of(frame),
        };
        if slice.begins_frame() {
            self.counters.frames += 1;
            self.counters.keyframes += u64::from(frame.keyframe);
        }
        self.counters.packets += u64::from(count);
        self.resends.note_sent(count);
        self.repeating = self.repeats.wants(now, frame.payloads.len());
        let first_sequence_number = self.next_sequence_number;
        self.next_sequence_number += u64::from(count);
        Some(Batch { slice, first_sequence_number, timestamp })
    }

    /// The RTP timestamp of a frame: that of its capture, but later than that of the frame before, as frames
    /// that were sent before may come again.
    fn timestamp_of(&mut self, frame: &Packets) -> u32 {
        let captured = frame.timestamp.wrapping_add(self.timestamp_offset);
        let is_later = |last: &u32| captured.wrapping_sub(*last) as i32 > 0;
        let timestamp = match self.timestamp.filter(|last| !is_later(last)) {
            Some(last) => last.wrapping_add(1),
            None => captured,
        };
        self.timestamp = Some(timestamp);
        timestamp
    }

    pub fn end_batch(&mut self) {
        self.repeating = false;
    }

    /// Drops what has not left, and everything until the next key frame.
    pub fn shut_gate(&mut self) {
        self.gate_open = false;
        self.pacing.clear();
    }

    pub fn is_gate_open(&self) -> bool {
        self.gate_open
    }

    /// Stops media: shuts the gate, and drops repeated packets.
    pub fn stop(&mut self) {
        self.shut_gate();
        self.repeats.clear();
    }

    /// Starts the limit of a drain of str0m's outputs.
    pub fn begin_drain(&mut self) {
        self.resends.begin_drain();
    }

    /// Decides whether a datagram is sent, and counts it. Keeps a copy of one that is sent twice.
    pub fn decide(&mut self, now: Instant, transmit: &Transmit) -> SendDecision {
        let datagram = &transmit.contents;
        if self.is_resend(datagram) {
            match self.resends.take() {
                Resend::Send => self.counters.resends += 1,
                Resend::Skip => return SendDecision::Skip,
                Resend::Forget => return SendDecision::ForgetResends,
            }
        } else if self.repeating && is_rtp_of(datagram, self.format.ssrc) {
            self.repeats.push(now, transmit.clone());
        }
        self.counters.bytes += datagram.len() as u64;
        SendDecision::Send
    }

    /// The next datagram that is due a second time.
    pub fn take_repeat(&mut self, now: Instant) -> Option<Transmit> {
        let repeat = self.repeats.take_due(now)?;
        self.counters.repeats += 1;
        self.counters.bytes += repeat.contents.len() as u64;
        Some(repeat)
    }

    /// When more is due to be sent.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.repeats.next(), self.pacing.next_step()].into_iter().flatten().min()
    }

    pub fn note_statistics(&mut self, now: Instant, stats: &MediaEgressStats) {
        self.reception.update(stats);
        if stats.loss.is_some_and(|loss| loss > 0.0) || stats.nacks > self.nacks {
            self.repeats.note_loss(now);
        }
        self.nacks = stats.nacks;
    }

    /// Whether a datagram of ours belongs to the retransmission stream (RFC 4588).
    fn is_resend(&self, datagram: &[u8]) -> bool {
        let is_rtp = datagram.get(1).is_some_and(|second| Some(second & 0x7f) == self.format.rtx);
        is_rtp && is_rtp_of(datagram, self.format.rtx_ssrc)
    }
}

/// Whether a datagram has this SSRC, if it is RTP (RFC 3550, section 5.1).
fn is_rtp_of(datagram: &[u8], ssrc: u32) -> bool {
    datagram.get(8..12) == Some(&ssrc.to_be_bytes())
}
