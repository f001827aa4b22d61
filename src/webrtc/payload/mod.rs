//! RTP payload formats: splits frames into RTP payloads.

mod h264;
mod vp8;

use std::slice::Chunks;
use std::sync::Arc;
use std::time::Instant;

use crate::media::{Codec, Frame, FrameContent, Rotation};

/// The largest RTP payload, in bytes. IPv6's minimum MTU (RFC 8200) leaves 1,232 bytes for a datagram,
/// of which the RTP header takes 12, extensions 16, the original sequence number of a retransmission 2,
/// and the SRTP tag 16.
pub const MAX_PAYLOAD_BYTES: usize = 1_150;

/// Splits `data` into parts of even size, each at most `max_bytes`, so that the last packet of a frame is
/// not a short one.
fn even_parts(data: &[u8], max_bytes: usize) -> Chunks<'_, u8> {
    let parts = data.len().div_ceil(max_bytes).max(1);
    data.chunks(data.len().div_ceil(parts).max(1))
}

/// A payload of a header and a part of a frame, in one allocation.
fn with_header<const N: usize>(header: [u8; N], part: &[u8]) -> Arc<[u8]> {
    let mut payload: Arc<[u8]> = std::iter::repeat_n(0, N + part.len()).collect();
    if let Some(payload) = Arc::get_mut(&mut payload) {
        payload[..N].copy_from_slice(&header);
        payload[N..].copy_from_slice(part);
    }
    payload
}

/// A frame as RTP payloads, made once and shared by all viewers.
#[derive(Debug, Clone)]
pub struct Packets {
    /// In sending order, each at most [`MAX_PAYLOAD_BYTES`]. The last one carries the marker bit.
    pub payloads: Vec<Arc<[u8]>>,
    pub codec: Codec,
    /// Whether a decoder can start here.
    pub keyframe: bool,
    pub captured: Instant,
    /// The capture time in units of 90 kHz, to which each viewer adds its own offset.
    pub timestamp: u32,
    /// How the viewer has to turn the picture.
    pub rotation: Rotation,
}

impl Packets {
    /// `timestamp` is the capture time in units of 90 kHz.
    pub fn new(frame: &Frame, timestamp: u32, rotation: Rotation) -> Packets {
        Packets {
            payloads: packetize(frame),
            codec: frame.codec(),
            keyframe: frame.is_keyframe(),
            captured: frame.captured,
            timestamp,
            rotation,
        }
    }
}

/// The RTP payloads of a frame in sending order, each at most [`MAX_PAYLOAD_BYTES`]. The last one
/// carries the marker bit.
pub fn packetize(frame: &Frame) -> Vec<Arc<[u8]>> {
    match frame.content() {
        FrameContent::H264(unit) => h264::packetize(unit),
        FrameContent::Vp8(data) => vp8::packetize(data),
    }
}
