//! ICE's credentials in SDP.

use std::ops::RangeInclusive;

/// How long ICE's user fragments and passwords are (RFC 8839, section 5.4), but that no fragment may be
/// longer than what str0m can write into a check: 128 bytes for both of them, ours of 8, and a colon.
/// Those of browsers have 4 to 16.
pub const UFRAG_BYTES: RangeInclusive<usize> = 4..=119;
pub const PASSWORD_BYTES: RangeInclusive<usize> = 22..=256;

/// Whether a text is as long as it may be, and of ICE's characters only.
pub fn is_ice_text(text: &str, lengths: RangeInclusive<usize>) -> bool {
    let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    lengths.contains(&text.len()) && text.bytes().all(is_ice_char)
}
