//! Parameters in the query of a target.

use percent_encoding::percent_decode_str;

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

/// Invalid escapes are kept verbatim, and invalid UTF-8 is replaced: neither is a value that is looked for.
fn decode(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
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
