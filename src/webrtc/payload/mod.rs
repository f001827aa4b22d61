//! How a frame is cut into RTP payloads: the payload formats of the codecs.

mod h264;
mod vp8;

use std::slice::Chunks;
use std::sync::Arc;
use std::time::Instant;

use crate::media::{Codec, Frame};

/// The largest RTP payload, in bytes. With 12 bytes of RTP header, 16 of extensions, 2 of a resent
/// packet's original number and 16 of SRTP tag it fits, with room, the 1,232 bytes that IPv6's
/// smallest MTU (RFC 8200) leaves to a datagram.
pub const MAX_PAYLOAD_BYTES: usize = 1_150;

/// Parts of even size, each at most `most` bytes: the last packet of a frame is not a lonely short
/// one.
fn even_parts(data: &[u8], most: usize) -> Chunks<'_, u8> {
    let parts = data.len().div_ceil(most).max(1);
    data.chunks(data.len().div_ceil(parts).max(1))
}

/// A frame cut into RTP payloads, once for all viewers.
#[derive(Debug, Clone)]
pub struct Packets {
    /// In sending order; the last one carries the marker.
    pub payloads: Vec<Arc<[u8]>>,
    pub codec: Codec,
    /// Whether a decoder can start here.
    pub keyframe: bool,
    pub captured: Instant,
    /// 90 kHz, before each viewer's own offset.
    pub timestamp: u32,
}

impl Packets {
    /// `timestamp` is the capture time in units of 90 kHz.
    pub fn new(frame: &Frame, timestamp: u32) -> Packets {
        Packets {
            payloads: packetize(frame).into_iter().map(Arc::from).collect(),
            codec: frame.codec(),
            keyframe: frame.is_keyframe(),
            captured: frame.captured,
            timestamp,
        }
    }
}

/// The RTP payloads of a frame in sending order, each at most [`MAX_PAYLOAD_BYTES`]. The last one
/// carries the marker.
pub fn packetize(frame: &Frame) -> Vec<Vec<u8>> {
    match frame.codec() {
        Codec::H264 => h264::packetize(frame.data()),
        Codec::Vp8 => vp8::packetize(frame.data()),
    }
}
