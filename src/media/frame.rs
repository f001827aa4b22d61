//! One encoded access unit, and how it is encoded.

use std::time::{Duration, Instant};

use super::{h264, vp8};

/// What a viewer decodes. The pictures are encoded once for each codec that a viewer needs.
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

    /// The encoded bytes: a byte stream of H.264, or a frame of VP8.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    pub fn len(&self) -> usize {
        self.data.len()
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}
