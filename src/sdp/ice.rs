//! ICE credentials in SDP.

use std::ops::RangeInclusive;

/// The lengths of ICE user fragments and passwords (RFC 8839, section 5.4). Browsers use fragments of 4 to 16
/// bytes.
pub const UFRAG_BYTES: RangeInclusive<usize> = 4..=256;
pub const PASSWORD_BYTES: RangeInclusive<usize> = 22..=256;
/// The longest fragment of a peer that we can send checks to: str0m has room for 128 bytes, for both
/// fragments, of which ours has 8, and a colon. To a peer with a longer fragment we are an ICE-lite agent,
/// which sends no checks (RFC 8445, section 2.5).
pub const CHECKED_UFRAG_BYTES: usize = 119;

/// Whether a text has a permitted length and only ice-chars (RFC 8839, section 5.1).
pub fn is_ice_text(text: &str, lengths: RangeInclusive<usize>) -> bool {
    let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    lengths.contains(&text.len()) && text.bytes().all(is_ice_char)
}
