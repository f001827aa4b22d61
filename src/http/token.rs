//! The characters of a bearer token.

/// Whether a text is a b64token (RFC 6750, section 2.1), in which the characters of `more` are allowed,
/// too. A `=` is at the end only.
pub(crate) fn is_b64token(text: &str, more: &[u8]) -> bool {
    let is_character = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte) || more.contains(&byte)
    };
    let characters = text.trim_end_matches('=');
    !characters.is_empty() && characters.bytes().all(is_character)
}
