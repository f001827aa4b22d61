//! One encoded picture, and its codec.

use std::time::{Duration, Instant};

use super::h264::AccessUnit;

/// The start code of a key frame of VP8, after the three bytes of its tag (RFC 6386, section 9.1).
const VP8_START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];
const VP8_INTER_FRAME: u8 = 0x01;

/// The codec of a viewer. A picture is encoded once for each codec in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    H264,
    Vp8,
}

impl Codec {
    /// In order of preference.
    pub const ALL: [Codec; 2] = [Codec::H264, Codec::Vp8];

    /// The encoding name in SDP.
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
    content: FrameContent,
    keyframe: bool,
    /// When the picture was taken. RTP timestamps follow it.
    pub captured: Instant,
    /// The time of our processor that rendering, decoding and encoding took, for the statistics. That of a hardware
    /// encoder is not in it.
    pub cost: Duration,
}

/// The encoded bytes.
#[derive(Debug, Clone)]
pub(crate) enum FrameContent {
    H264(AccessUnit),
    /// A frame of RFC 6386, section 9.
    Vp8(Vec<u8>),
}

impl Frame {
    /// A frame of H.264.
    pub fn h264(unit: AccessUnit, captured: Instant) -> Frame {
        let keyframe = unit.is_keyframe();
        Frame { content: FrameContent::H264(unit), keyframe, captured, cost: Duration::ZERO }
    }

    /// A frame of VP8 (RFC 6386, section 9).
    pub fn vp8(data: Vec<u8>, captured: Instant) -> Frame {
        let keyframe = is_vp8_keyframe(&data);
        Frame { content: FrameContent::Vp8(data), keyframe, captured, cost: Duration::ZERO }
    }

    pub fn codec(&self) -> Codec {
        match self.content {
            FrameContent::H264(_) => Codec::H264,
            FrameContent::Vp8(_) => Codec::Vp8,
        }
    }

    /// Whether a decoder can start here.
    pub fn is_keyframe(&self) -> bool {
        self.keyframe
    }

    pub(crate) fn content(&self) -> &FrameContent {
        &self.content
    }

    /// The encoded bytes: a byte stream of H.264, or a frame of VP8.
    pub fn data(&self) -> &[u8] {
        match &self.content {
            FrameContent::H264(unit) => unit.data(),
            FrameContent::Vp8(data) => data,
        }
    }

    /// The NAL units of H.264; `None` of VP8.
    pub fn access_unit(&self) -> Option<&AccessUnit> {
        match &self.content {
            FrameContent::H264(unit) => Some(unit),
            FrameContent::Vp8(_) => None,
        }
    }

    /// The size in bytes.
    #[cfg(feature = "testing")]
    pub fn len(&self) -> usize {
        self.data().len()
    }

    #[cfg(feature = "testing")]
    pub fn is_empty(&self) -> bool {
        self.data().is_empty()
    }
}

/// Whether a frame of VP8 is a key frame (RFC 6386, section 9.1).
fn is_vp8_keyframe(data: &[u8]) -> bool {
    data.first().is_some_and(|tag| tag & VP8_INTER_FRAME == 0)
        && data.get(3..6) == Some(&VP8_START_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_of_vp8_has_its_tag_and_its_start_code() {
        assert!(is_vp8_keyframe(&[0xb0, 0x44, 0, 0x9d, 0x01, 0x2a, 0x80, 2]));
        assert!(!is_vp8_keyframe(&[0xb1, 0x44, 0, 0x9d, 0x01, 0x2a]));
        assert!(!is_vp8_keyframe(&[0xb0, 0x44, 0, 0x9d, 0x01]));
        assert!(!is_vp8_keyframe(&[]));
    }
}
