//! Parameters in the query of a target.

use crate::http::Head;

/// The percent-decoded value of the first parameter of this name; empty if it has none. A `+` is a plus.
pub fn parameter(head: &Head, name: &str) -> Option<String> {
    let mut pairs = head.query.as_deref()?.split('&');
    let value = pairs.find_map(|pair| match pair.split_once('=') {
        Some((known, value)) => (known == name).then_some(value),
        None => (pair == name).then_some(""),
    })?;
    Some(decode(value))
}

/// What is no escape is left as it is, and what is no UTF-8 is replaced: neither is a value that is
/// looked for.
fn decode(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let escaped = escaped.and_then(|digits| str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_everything_else_stays() {
        for (value, decoded) in [
            ("", ""),
            ("a+b/c~-._", "a+b/c~-._"),
            ("%41%2b%2F%3d", "A+/="),
            ("%", "%"),
            ("%4", "%4"),
            ("%+1%zz", "%+1%zz"),
            ("%c3%a9", "é"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decode(value), decoded, "{value}");
        }
    }
}
