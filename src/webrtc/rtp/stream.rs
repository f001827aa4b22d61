//! The video as one viewer gets it: its own sequence numbers, timestamps, keys and resends.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::history::{History, OutgoingFrame, Packet};
use super::rtcp::{self, Requests, Sent};
use super::srtp::{Opener, Sealer};

/// The longest time without a sender report (RFC 3550, section 6.2).
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// What a viewer may ask for again beyond as many packets as it was sent.
const RESEND_CREDIT: u32 = 256;
/// Runs that resends are found in. A player that keeps packets in order waits for those of before a
/// gap, too, even behind a key frame.
const RUNS: usize = 4;

const VERSION: u8 = 2 << 6;
const EXTENSION: u8 = 1 << 4;
const MARKER: u8 = 1 << 7;
const HEADER_BYTES: usize = 12;
/// One-byte header extensions (RFC 8285, section 4.2): their mark and one word.
const EXTENSION_BYTES: usize = 8;
const ONE_BYTE_EXTENSIONS: u16 = 0xbede;
/// The number of a resent packet in the stream that it is resent from (RFC 4588, section 4).
const ORIGINAL_NUMBER_BYTES: usize = 2;

/// What offer and answer have agreed on, and what is chosen at random (RFC 3550, section 5.1).
#[derive(Debug, Clone)]
pub struct StreamFormat {
    pub payload_type: u8,
    /// The payload type of resends. Without one, packets are resent as they were.
    pub rtx: Option<u8>,
    /// The number of the header extension `playout-delay`, from 1 to 14.
    pub playout_delay: Option<u8>,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    pub cname: String,
    pub first_sequence_number: u16,
    pub timestamp_offset: u32,
}

/// What a viewer asks for.
#[derive(Debug)]
pub struct Feedback {
    /// PLI and FIR.
    pub keyframes: u64,
    /// The packets to be resent, sealed.
    pub resent: Vec<Vec<u8>>,
}

/// Packets of one frame that follow each other and, but for the last, are of one size.
pub struct Burst {
    pub contents: Vec<u8>,
    pub packet_bytes: usize,
}

pub struct Stream {
    format: StreamFormat,
    sealer: Sealer,
    opener: Opener,
    /// The next sequence number, with its rollovers.
    next: u64,
    next_rtx: u64,
    /// What was sent without leaving out a frame, oldest first: the number that the first packet
    /// has here and in the history.
    runs: VecDeque<(u64, u64)>,
    credit: u32,
    packets: u32,
    payload_bytes: u32,
    /// NTP time and timestamp of the last frame.
    last_frame: (u64, u32),
    reported: Option<Instant>,
}

impl Stream {
    pub fn new(format: StreamFormat, (sealer, opener): (Sealer, Opener)) -> Stream {
        let next = u64::from(format.first_sequence_number);
        Stream {
            format,
            sealer,
            opener,
            next,
            next_rtx: next,
            runs: VecDeque::new(),
            credit: RESEND_CREDIT,
            packets: 0,
            payload_bytes: 0,
            last_frame: (0, 0),
            reported: None,
        }
    }

    /// The packets of a frame, sealed.
    pub fn send(&mut self, frame: &OutgoingFrame, history: &History, mut out: impl FnMut(Burst)) {
        let expected = self.runs.back().map(|(first, start)| start + (self.next - first));
        if expected != Some(frame.packets.start) {
            self.runs.push_back((self.next, frame.packets.start));
            if self.runs.len() > RUNS {
                self.runs.pop_front();
            }
        }
        let mut rest = frame.packets.clone();
        while !rest.is_empty() {
            out(self.burst(&mut rest, history));
        }
        let count = (frame.packets.end - frame.packets.start) as u32;
        self.credit = self.credit.saturating_add(count).min(RESEND_CREDIT + count);
        let timestamp = frame.timestamp.wrapping_add(self.format.timestamp_offset);
        self.last_frame = (frame.ntp, timestamp);
    }

    /// The longest burst that `packets` begins with; they are taken off.
    fn burst(&mut self, packets: &mut Range<u64>, history: &History) -> Burst {
        let overhead = self.header_bytes() + self.sealer.tag_bytes();
        let bytes = |number| history.get(number).map_or(0, |packet| packet.payload.len());
        let first_bytes = bytes(packets.start);
        let mut end = packets.start + 1;
        while end < packets.end && bytes(end - 1) == first_bytes && bytes(end) <= first_bytes {
            end += 1;
        }
        let taken = packets.start..end;
        packets.start = end;
        let total = taken.clone().map(|number| bytes(number) + overhead).sum();
        let mut contents = vec![0; total];
        let mut rest = &mut contents[..];
        for packet in taken.filter_map(|number| history.get(number)) {
            let (sealed, after) = rest.split_at_mut(packet.payload.len() + overhead);
            self.seal(packet, self.next, sealed);
            rest = after;
            self.next += 1;
            self.packets = self.packets.wrapping_add(1);
            self.payload_bytes = self.payload_bytes.wrapping_add(packet.payload.len() as u32);
        }
        Burst { contents, packet_bytes: first_bytes + overhead }
    }

    fn header_bytes(&self) -> usize {
        HEADER_BYTES + if self.format.playout_delay.is_some() { EXTENSION_BYTES } else { 0 }
    }

    /// A packet of the stream itself, into a place of just its size.
    fn seal(&mut self, packet: &Packet, number: u64, sealed: &mut [u8]) {
        let StreamFormat { payload_type, ssrc, .. } = self.format;
        self.write_header(sealed, payload_type, packet, number, ssrc);
        self.sealer.seal_rtp(ssrc, number, &packet.payload, sealed);
    }

    fn write_header(&self, to: &mut [u8], payload_type: u8, packet: &Packet, n: u64, ssrc: u32) {
        let extension = if self.format.playout_delay.is_some() { EXTENSION } else { 0 };
        let marker = if packet.marker { MARKER } else { 0 };
        let timestamp = packet.timestamp.wrapping_add(self.format.timestamp_offset);
        to[0] = VERSION | extension;
        to[1] = marker | payload_type;
        to[2..4].copy_from_slice(&(n as u16).to_be_bytes());
        to[4..8].copy_from_slice(&timestamp.to_be_bytes());
        to[8..12].copy_from_slice(&ssrc.to_be_bytes());
        if let Some(id) = self.format.playout_delay {
            // Chromium shows a frame at once when both limits of the delay, 12 bits each, are zero.
            let one_word = 1_u16;
            to[12..14].copy_from_slice(&ONE_BYTE_EXTENSIONS.to_be_bytes());
            to[14..16].copy_from_slice(&one_word.to_be_bytes());
            to[16..20].copy_from_slice(&[id << 4 | 2, 0, 0, 0]);
        }
    }

    /// Opens what the viewer sent; `None` if it was not this viewer.
    pub fn receive(&mut self, packet: &[u8], history: &History) -> Option<Feedback> {
        let compound = self.opener.open_rtcp(packet)?;
        let Requests { keyframes, lost } = rtcp::read_requests(&compound, self.format.ssrc);
        let resent = lost.into_iter().filter_map(|number| self.resend(number, history)).collect();
        Some(Feedback { keyframes, resent })
    }

    /// A packet once more; nothing if it is too old, or too many were asked for.
    fn resend(&mut self, number: u16, history: &History) -> Option<Vec<u8>> {
        // The latest number of the stream that ends in these 16 bits.
        let last = self.next.checked_sub(1)?;
        let number = last.checked_sub(u64::from((last as u16).wrapping_sub(number)))?;
        let (first, start) = self.runs.iter().rev().find(|(first, _)| *first <= number)?;
        let packet = history.get(start + number - first)?;
        self.credit = self.credit.checked_sub(1)?;
        let overhead = self.header_bytes() + self.sealer.tag_bytes();
        let Some(rtx) = self.format.rtx else {
            let mut sealed = vec![0; overhead + packet.payload.len()];
            self.seal(packet, number, &mut sealed);
            return Some(sealed);
        };
        let payload = [&(number as u16).to_be_bytes()[..], &packet.payload].concat();
        debug_assert_eq!(payload.len(), ORIGINAL_NUMBER_BYTES + packet.payload.len());
        let mut sealed = vec![0; overhead + payload.len()];
        let rtx_ssrc = self.format.rtx_ssrc;
        self.write_header(&mut sealed, rtx, packet, self.next_rtx, rtx_ssrc);
        self.sealer.seal_rtp(rtx_ssrc, self.next_rtx, &payload, &mut sealed);
        self.next_rtx += 1;
        Some(sealed)
    }

    /// A sender report, when it is time for one after a frame.
    pub fn report(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.reported.is_some_and(|last| now < last + REPORT_INTERVAL) {
            return None;
        }
        self.reported = Some(now);
        Some(self.sealer.seal_rtcp(&rtcp::report(&self.sent())))
    }

    /// BYE.
    pub fn goodbye(&mut self) -> Vec<u8> {
        let compound = rtcp::goodbye(&self.sent(), self.format.rtx_ssrc);
        self.sealer.seal_rtcp(&compound)
    }

    fn sent(&self) -> Sent<'_> {
        let (ntp, timestamp) = self.last_frame;
        Sent {
            ssrc: self.format.ssrc,
            cname: &self.format.cname,
            ntp,
            timestamp,
            packets: self.packets,
            payload_bytes: self.payload_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use str0m::crypto::dtls::SrtpProfile;

    use super::*;
    use crate::media::Frame;
    use crate::webrtc::rtp::Keying;

    const TAG_BYTES: usize = 16;

    fn keying(is_client: bool) -> Keying {
        let material = (0..88).collect();
        Keying { profile: SrtpProfile::AEAD_AES_256_GCM, material, is_client }
    }

    /// The server's stream, and the end of a viewer that seals its requests.
    fn ends(rtx: Option<u8>, first_sequence_number: u16) -> (Stream, Sealer) {
        let crypto = str0m::crypto::from_feature_flags();
        let format = StreamFormat {
            payload_type: 96,
            rtx,
            playout_delay: Some(5),
            ssrc: 9,
            rtx_ssrc: 10,
            cname: "c".into(),
            first_sequence_number,
            timestamp_offset: 1_000,
        };
        let stream = Stream::new(format, keying(false).into_ends(&crypto).unwrap());
        (stream, keying(true).into_ends(&crypto).unwrap().0)
    }

    /// A delta frame that needs some packets, and what is sent for it.
    fn send(stream: &mut Stream, history: &mut History, bytes: usize, at: Instant) -> Vec<Vec<u8>> {
        let mut data = vec![0, 0, 1, 0x41];
        data.resize(4 + bytes, 7);
        let frame = history.push(&Frame::h264(data, at), 5, 0);
        let mut packets = Vec::new();
        stream.send(&frame, history, |burst| {
            packets.extend(burst.contents.chunks(burst.packet_bytes).map(<[u8]>::to_vec));
        });
        packets
    }

    fn nack(sealer: &mut Sealer, lost: &[u16]) -> Vec<u8> {
        let mut compound = vec![0x81, 205, 0, 2 + lost.len() as u8, 0, 0, 0, 1, 0, 0, 0, 9];
        lost.iter().for_each(|n| compound.extend([n.to_be_bytes(), [0; 2]].concat()));
        sealer.seal_rtcp(&compound)
    }

    #[test]
    fn packets_have_the_header_of_the_rfc() {
        let (mut stream, _) = ends(None, 0x1234);
        let packets = send(&mut stream, &mut History::default(), 2_000, Instant::now());
        assert_eq!(packets.len(), 2);
        let header = [0x90, 96, 0x12, 0x34, 0, 0, 3, 0xed, 0, 0, 0, 9, 0xbe, 0xde, 0, 1];
        assert_eq!(packets[0][..16], header);
        assert_eq!(packets[0][16..20], [0x52, 0, 0, 0], "playout-delay, both limits zero");
        assert_eq!(packets[1][1..4], [0x80 | 96, 0x12, 0x35], "the marker ends the frame");
    }

    #[test]
    fn lost_packets_are_resent_across_a_rollover() {
        let (mut stream, mut viewer) = ends(Some(97), 0xffff);
        let mut history = History::default();
        let packets = send(&mut stream, &mut history, 2_000, Instant::now());
        let request = nack(&mut viewer, &[0xffff, 0, 1, 0xfffe]);
        let resent = stream.receive(&request, &history).unwrap().resent;
        assert_eq!(resent.len(), 2, "what was never sent is not resent");
        for (index, packet) in resent.iter().enumerate() {
            assert_eq!(packet[1] & 0x7f, 97);
            assert_eq!(packet[8..12], [0, 0, 0, 10]);
            assert_eq!(packet.len(), packets[index].len() + ORIGINAL_NUMBER_BYTES);
        }
        assert_eq!(resent[0][2..4], [0xff, 0xff], "numbers of its own");
        assert_eq!(resent[1][2..4], [0, 0]);
        assert!(stream.receive(&request, &history).is_none(), "a replay");
    }

    #[test]
    fn without_rtx_a_packet_is_resent_as_it_was() {
        let (mut stream, mut viewer) = ends(None, 7);
        let mut history = History::default();
        let packets = send(&mut stream, &mut history, 2_000, Instant::now());
        let resent = stream.receive(&nack(&mut viewer, &[8]), &history).unwrap().resent;
        assert_eq!(resent, packets[1..]);
    }

    #[test]
    fn resends_are_found_on_both_sides_of_a_gap() {
        let (mut stream, mut viewer) = ends(None, 7);
        let (mut history, now) = (History::default(), Instant::now());
        let mut packets = send(&mut stream, &mut history, 10, now);
        // A frame that this viewer does not get.
        history.push(&Frame::h264(vec![0, 0, 1, 0x41, 9], now), 5, 0);
        packets.extend(send(&mut stream, &mut history, 20, now));
        assert_eq!(packets[1][2..4], [0, 8], "its numbers have no gap");
        let resent = stream.receive(&nack(&mut viewer, &[6, 7, 8, 9]), &history).unwrap().resent;
        assert_eq!(resent, packets);
    }

    #[test]
    fn a_viewer_cannot_ask_for_much_more_than_it_was_sent() {
        let (mut stream, mut viewer) = ends(Some(97), 0);
        let (mut history, now) = (History::default(), Instant::now());
        send(&mut stream, &mut history, 100, now);
        let mut resent = 0;
        for _ in 0..100 {
            let request = nack(&mut viewer, &[0; 40]);
            resent += stream.receive(&request, &history).unwrap().resent.len();
        }
        assert_eq!(resent, RESEND_CREDIT as usize + 1);
    }

    #[test]
    fn packets_of_one_size_are_one_burst() {
        let (mut stream, _) = ends(None, 0);
        let (mut history, now) = (History::default(), Instant::now());
        // Parameter sets, which share a packet, and a large picture.
        let mut data = vec![0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 1, 0x65];
        data.resize(8_000, 7);
        let frame = history.push(&Frame::h264(data, now), 0, 0);
        let mut bursts = Vec::new();
        stream.send(&frame, &history, |burst| bursts.push(burst));
        let counts: Vec<usize> =
            bursts.iter().map(|b| b.contents.len().div_ceil(b.packet_bytes)).collect();
        assert_eq!(counts, [1, 7]);
        let headers = HEADER_BYTES + EXTENSION_BYTES + TAG_BYTES;
        assert_eq!(bursts[0].contents.len(), headers + 1 + 2 * 2 + 2 * 2);
    }
}
