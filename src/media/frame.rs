//! One encoded access unit, and how it is encoded.

use std::slice::Chunks;
use std::time::{Duration, Instant};

use super::{h264, vp8};

/// The largest RTP payload, in bytes. With 12 bytes of RTP header, 16 of extensions, 2 of a resent
/// packet's original number and 16 of SRTP tag it fits, with room, the 1,232 bytes that IPv6's
/// smallest MTU (RFC 8200) leaves to a datagram.
pub const MAX_PAYLOAD_BYTES: usize = 1_150;

/// Parts of even size, each at most `most` bytes: the last packet of a frame is not a lonely short
/// one.
pub fn even_parts(data: &[u8], most: usize) -> Chunks<'_, u8> {
    let parts = data.len().div_ceil(most).max(1);
    data.chunks(data.len().div_ceil(parts).max(1))
}

/// What a viewer decodes. The pictures are encoded once for each codec that somebody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    H264,
    Vp8,
}

impl Codec {
    /// The one that is preferred comes first.
    pub const ALL: [Codec; 2] = [Codec::H264, Codec::Vp8];

    /// As SDP writes it.
    pub fn name(self) -> &'static str {
        match self {
            Codec::H264 => "H264",
            Codec::Vp8 => "VP8",
        }
    }
}

/// One encoded picture.
#[derive(Debug, Clone)]
pub struct Frame {
    codec: Codec,
    data: Vec<u8>,
    keyframe: bool,
    /// When the picture was taken. RTP timestamps follow it.
    pub captured: Instant,
    /// What rendering and encoding took, for the statistics.
    pub cost: Duration,
}

impl Frame {
    /// An access unit as a byte stream (ITU-T H.264 Annex B: start codes between NAL units).
    pub fn h264(data: Vec<u8>, captured: Instant) -> Frame {
        let keyframe = h264::is_keyframe(&data);
        Frame { codec: Codec::H264, data, keyframe, captured, cost: Duration::ZERO }
    }

    /// A frame as RFC 6386, section 9 has it.
    pub fn vp8(data: Vec<u8>, captured: Instant) -> Frame {
        let keyframe = vp8::is_keyframe(&data);
        Frame { codec: Codec::Vp8, data, keyframe, captured, cost: Duration::ZERO }
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether a decoder can start here.
    pub fn is_keyframe(&self) -> bool {
        self.keyframe
    }

    pub fn len(&self) -> usize {
        self.data.len()
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The RTP payloads in sending order, each at most [`MAX_PAYLOAD_BYTES`]. The last one carries
    /// the marker.
    pub fn packetize(&self) -> Vec<Vec<u8>> {
        match self.codec {
            Codec::H264 => h264::packetize(&self.data),
            Codec::Vp8 => vp8::packetize(&self.data),
        }
    }
}
