//! ICE's credentials in SDP.

use std::ops::RangeInclusive;

/// How long ICE's user fragments and passwords are (RFC 8839, section 5.4). Fragments of browsers have 4
/// to 16 bytes.
pub const UFRAG_BYTES: RangeInclusive<usize> = 4..=256;
pub const PASSWORD_BYTES: RangeInclusive<usize> = 22..=256;
/// The longest fragment of a peer that we can send checks to: str0m writes 128 bytes for both fragments,
/// ours of 8, and a colon. To one with a longer fragment we are an ICE-lite agent, which sends none (RFC
/// 8445, section 2.5).
pub const CHECKED_UFRAG_BYTES: usize = 119;

/// Whether a text is as long as it may be, and of ICE's characters only.
pub fn is_ice_text(text: &str, lengths: RangeInclusive<usize>) -> bool {
    let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    lengths.contains(&text.len()) && text.bytes().all(is_ice_char)
}
