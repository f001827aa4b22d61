//! The header lines of a request or a response, by name.

use httparse::Status;

use super::HEADERS_MAX;

/// Optional white space (RFC 9110 section 5.6.3). Obs-text is read as Latin-1, which has more white space
/// than this.
pub(crate) const WHITE_SPACE: [char; 2] = [' ', '\t'];

/// Header lines in the order of first appearance: one entry per name, names in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Headers(Vec<(String, String)>);

/// Why lines are not headers. The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadersError {
    /// More than [`HEADERS_MAX`].
    TooMany,
    Malformed,
}

impl Headers {
    /// `lines` ends with the empty line that ends the head.
    pub(super) fn parse(lines: &[u8]) -> Result<Self, HeadersError> {
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        match httparse::parse_headers(lines, &mut slots)? {
            Status::Complete((_, parsed)) => Ok(Self::collect(parsed)),
            Status::Partial => Err(HeadersError::Malformed),
        }
    }

    /// Several lines of one name are one list joined by `", "` (RFC 9110 section 5.3).
    pub(super) fn collect(parsed: &[httparse::Header]) -> Self {
        let mut headers: Vec<(String, String)> = Vec::with_capacity(parsed.len());
        for header in parsed {
            let name = header.name.to_ascii_lowercase();
            let value: String = header.value.iter().copied().map(char::from).collect();
            let value = value.trim_matches(WHITE_SPACE);
            match headers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, list)) => *list = format!("{list}, {value}"),
                None => headers.push((name, value.to_owned())),
            }
        }
        Self(headers)
    }

    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn lists(&self, name: &str, member: &str) -> bool {
        let mut members = self.find(name).unwrap_or_default().split(',');
        members.any(|item| item.trim_matches(WHITE_SPACE).eq_ignore_ascii_case(member))
    }

    /// Whether Accept names this media type itself, with a weight above 0 (RFC 9110 section 12.5.1).
    pub(super) fn accept(&self, media_type: &str) -> bool {
        let mut ranges = self.find("accept").unwrap_or_default().split(',');
        ranges.any(|range| {
            let mut parts = range.split(';').map(|part| part.trim_matches(WHITE_SPACE));
            let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
            is_named && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        })
    }

    /// Whether Content-Type names this media type, whatever its parameters.
    pub(super) fn have_media_type(&self, media_type: &str) -> bool {
        let content_type = self.find("content-type").unwrap_or_default();
        let named = content_type.split(';').next().unwrap_or_default();
        named.trim_matches(WHITE_SPACE).eq_ignore_ascii_case(media_type)
    }
}

impl From<httparse::Error> for HeadersError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooMany,
            _ => Self::Malformed,
        }
    }
}

/// Parses the value of Content-Length (RFC 9110 section 8.6): decimal digits only. A number that does not
/// fit a `usize` becomes the largest one.
pub(super) fn parse_length(digits: &str) -> Option<usize> {
    let are_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().unwrap_or(usize::MAX))
}
