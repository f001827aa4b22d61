//! The RTP stream to one viewer: its gate and its numbers, what leaves when, what is sent once more,
//! what is sent twice, and what is counted of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::rtp::Ssrc;
use str0m::stats::MediaEgressStats;

use super::Transmit;
use super::pacing::{Pacing, Slice};
use super::payload::Packets;
use super::repeats::Repeats;
use super::resends::{Resend, ResendBudget};
use super::statistics::{Reception, ViewerCounters};
use crate::sdp::local::StreamFormat;

pub struct VideoStream {
    pub format: StreamFormat,
    /// Shut at first and after each drop; a key frame opens it.
    gate_open: bool,
    next_sequence_number: u64,
    timestamp_offset: u32,
    /// Of the frame that was begun last.
    timestamp: Option<u32>,
    pacing: Pacing,
    resends: ResendBudget,
    repeats: Repeats,
    /// What is being sent is sent twice.
    repeating: bool,
    /// NACKs that were counted when the last statistics came.
    nacks: u64,
    pub counters: ViewerCounters,
    pub reception: Reception,
}

/// Packets of one frame to be sent, and their numbers.
pub struct Batch {
    pub slice: Slice,
    pub first_sequence_number: u64,
    pub timestamp: u32,
}

/// What becomes of a datagram that str0m wants to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Send,
    /// It is a retransmission, and there were too many.
    Skip,
    /// There were so many that all that are still to come are to be forgotten.
    ForgetResends,
}

impl VideoStream {
    pub fn new(
        format: StreamFormat,
        first_sequence_number: u16,
        timestamp_offset: u32,
    ) -> VideoStream {
        VideoStream {
            format,
            gate_open: false,
            next_sequence_number: u64::from(first_sequence_number),
            timestamp_offset,
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

    /// Takes a frame that is to leave `within` that time, if the gate lets it through.
    pub fn push(&mut self, now: Instant, frame: &Arc<Packets>, within: Duration) {
        self.gate_open |= frame.keyframe;
        if self.gate_open {
            self.pacing.push(now, frame, within);
        } else {
            self.counters.drops += 1;
        }
    }

    /// Lets more packets of large frames leave, if that is due.
    pub fn advance(&mut self, now: Instant) {
        self.pacing.advance(now);
    }

    /// What is to be sent now, until `None`. [`Self::end_batch`] follows each.
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

    /// Of the frame's capture, but later than that of the frame before: one that was sent already, or
    /// others in its place, may come again.
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

    /// What has not left is not sent.
    pub fn shut_gate(&mut self) {
        self.gate_open = false;
        self.pacing.clear();
    }

    pub fn is_gate_open(&self) -> bool {
        self.gate_open
    }

    /// Media stops.
    pub fn stop(&mut self) {
        self.shut_gate();
        self.repeats.clear();
    }

    /// str0m is about to tell what it wants to send.
    pub fn begin_drain(&mut self) {
        self.resends.begin_drain();
    }

    /// Whether a datagram is sent. One that is sent twice is kept for the second time.
    pub fn pass(&mut self, now: Instant, transmit: &Transmit) -> Passage {
        let datagram = &transmit.contents;
        if self.is_resend(datagram) {
            match self.resends.take() {
                Resend::Send => self.counters.resends += 1,
                Resend::Skip => return Passage::Skip,
                Resend::Forget => return Passage::ForgetResends,
            }
        } else if self.repeating && is_rtp_of(datagram, self.format.ssrc) {
            self.repeats.push(now, transmit.clone());
        }
        self.counters.bytes += datagram.len() as u64;
        Passage::Send
    }

    /// A datagram that is due a second time.
    pub fn take_repeat(&mut self, now: Instant) -> Option<Transmit> {
        let repeat = self.repeats.take_due(now)?;
        self.counters.repeats += 1;
        self.counters.bytes += repeat.contents.len() as u64;
        Some(repeat)
    }

    /// When more is to be sent of what it has.
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

    /// Whether a datagram of ours is RTP of the stream for retransmissions (RFC 4588).
    fn is_resend(&self, datagram: &[u8]) -> bool {
        let is_rtp = datagram.get(1).is_some_and(|second| Some(second & 0x7f) == self.format.rtx);
        is_rtp && is_rtp_of(datagram, self.format.rtx_ssrc)
    }
}

/// Whether a datagram that is RTP, if anything of RTP, is of a stream (RFC 3550, section 5.1).
fn is_rtp_of(datagram: &[u8], ssrc: u32) -> bool {
    datagram.get(8..12) == Some(&ssrc.to_be_bytes())
}
