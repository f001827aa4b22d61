//! Reads the datagrams on the wire: the null cryptography leaves them in plain text.

use ballcast::testing::media::Codec;

/// A datagram, with the fields that the rules need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    Stun {
        request: bool,
    },
    /// The type of a handshake message, or `None` for a close_notify alert.
    Dtls {
        handshake: Option<u8>,
    },
    Rtp {
        /// `None` for retransmissions (RTX).
        codec: Option<Codec>,
        sequence: u16,
        timestamp: u32,
        ssrc: u32,
        /// The number that the source wrote into the frame, in the first packet of a slice. A packet
        /// of parameter sets of a stream from outside has none.
        frame: Option<u64>,
    },
    Rtcp {
        pli: Option<u32>,
        ssrc: u32,
        index: u32,
    },
    Other,
}

/// The authentication tag of SRTP (RFC 7714) and, for SRTCP, the index after it (RFC 3711, section
/// 3.4).
const TAG_BYTES: usize = 16;
const INDEX_BYTES: usize = 4;
/// Without the E flag, which says that the packet is encrypted.
const INDEX_MASK: u32 = 0x7fff_ffff;
const PAYLOAD_FEEDBACK: u8 = 206;
const PLI: u8 = 1;

/// A datagram to a viewer, or from anybody.
pub fn read(bytes: &[u8]) -> Wire {
    read_with(bytes, codec)
}

/// A datagram to somebody to whom payload types mean these codecs.
pub fn read_with(bytes: &[u8], codec: impl Fn(u8) -> Option<Codec>) -> Wire {
    match bytes {
        // RFC 7983, section 7.
        [0..=3, kind, ..] => Wire::Stun { request: bytes[0] == 0 && *kind == 1 },
        [20..=63, kind, ..] => Wire::Dtls { handshake: (bytes[0] == 22).then_some(*kind) },
        // RFC 5761, section 4.
        [128..=191, 192..=223, ..] => Wire::Rtcp {
            pli: pli(bytes),
            ssrc: word(bytes.get(4..8)),
            index: word(bytes.last_chunk::<INDEX_BYTES>().map(|index| &index[..])) & INDEX_MASK,
        },
        [128..=191, second, ..] if bytes.len() >= 12 + TAG_BYTES => Wire::Rtp {
            codec: codec(second & 0x7f),
            frame: codec(second & 0x7f).and_then(|codec| frame_number(bytes, codec)),
            sequence: u16::from_be_bytes([bytes[2], bytes[3]]),
            timestamp: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            ssrc: u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
        },
        _ => Wire::Other,
    }
}

/// The payload types in the offers of str0m's client. The others are RTX.
fn codec(payload_type: u8) -> Option<Codec> {
    match payload_type {
        108 => Some(Codec::H264),
        96 => Some(Codec::Vp8),
        _ => None,
    }
}

/// A frame's number as it is written after the header of a slice, after that of a parameter set or
/// after the header of a VP8 key frame: seven bits per byte, no byte zero.
pub fn number_bytes(number: u64) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| 0x80 | (number >> shift & 0x7f) as u8)
}

/// The number that is written at the beginning of these bytes, if there is one.
pub fn digits(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.get(..4)?;
    let is_number = digits.iter().all(|byte| byte & 0x80 != 0);
    is_number.then(|| digits.iter().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f)))
}

/// The number of a frame that has arrived.
pub fn number_of_frame(codec: Codec, data: &[u8]) -> Option<u64> {
    match codec {
        Codec::H264 => {
            let slice = |at: &[u8]| at[..3] == [0, 0, 1] && is_slice(at[3]);
            let at = data.windows(4).position(slice)?;
            digits(data.get(at + 4 + SLICE_HEADER_BYTES..)?)
        }
        Codec::Vp8 => digits(data.get(VP8_HEADER.len()..)?),
    }
}

/// Of the slices of all frames.
pub const SLICE_HEADER_BYTES: usize = 2;

/// By the header of a NAL unit.
fn is_slice(header: u8) -> bool {
    matches!(header & 0x1f, 1 | 5)
}

fn frame_number(bytes: &[u8], codec: Codec) -> Option<u64> {
    let extension_words = if bytes[0] & 0x10 == 0 {
        0
    } else {
        1 + usize::from(u16::from_be_bytes([*bytes.get(14)?, *bytes.get(15)?]))
    };
    let payload = bytes.get(12 + 4 * extension_words..bytes.len() - TAG_BYTES)?;
    match codec {
        Codec::H264 => digits(after_headers(payload)?),
        // RFC 7741: the first packet of a frame has the S bit set.
        Codec::Vp8 if payload.first()? & 0x10 != 0 => digits(payload.get(1 + VP8_HEADER.len()..)?),
        Codec::Vp8 => None,
    }
}

/// Frame tag, start code and size of a key frame (RFC 6386, section 9.1).
pub const VP8_HEADER: [u8; 10] = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01];

fn after_headers(mut unit: &[u8]) -> Option<&[u8]> {
    // RFC 6184: a STAP-A has the slices after the parameter sets; an FU-A has a second header.
    if unit.first()? & 0x1f == 24 {
        unit = &unit[1..];
        while let [high, low, rest @ ..] = unit {
            let (first, after) =
                rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
            if after.is_empty() || is_slice(*first.first()?) {
                unit = first;
                break;
            }
            unit = after;
        }
    }
    match unit {
        [first, flags, slice @ ..] if first & 0x1f == 28 => {
            (flags & 0x80 != 0).then(|| slice.get(SLICE_HEADER_BYTES..))?
        }
        [first, slice @ ..] if is_slice(*first) => slice.get(SLICE_HEADER_BYTES..),
        [_, number @ ..] => Some(number),
        [] => None,
    }
}

fn word(bytes: Option<&[u8]>) -> u32 {
    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// The media SSRC of a PLI. str0m's client sends no FIR by itself.
fn pli(bytes: &[u8]) -> Option<u32> {
    let mut rest = &bytes[..bytes.len().saturating_sub(TAG_BYTES + INDEX_BYTES)];
    while let [first, kind, high, low, ..] = rest {
        if *kind == PAYLOAD_FEEDBACK && first & 0x1f == PLI {
            return Some(word(rest.get(8..12)));
        }
        let packet_bytes = 4 * (usize::from(u16::from_be_bytes([*high, *low])) + 1);
        rest = rest.get(packet_bytes..).unwrap_or_default();
    }
    None
}
