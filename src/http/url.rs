//! Absolute `http` URLs, and references relative to them, as in `Location`.

use std::fmt;

use super::{Authority, TARGET_MAX_BYTES};

/// The port of a URL without one (RFC 9110 section 4.2.1).
const DEFAULT_PORT: u16 = 80;

/// An absolute `http` URL of at most [`TARGET_MAX_BYTES`] bytes, without user information or fragment.
/// Displays completely, and the displayed text parses to the same URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub authority: Authority,
    /// Path and query as in a request line: visible ASCII that begins with `/`, still percent-encoded.
    pub target: String,
}

/// Why a text is not a [`Url`]. Displays as a clause that follows "the URL".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// The scheme is `https`, which needs TLS.
    Https,
    /// The scheme is missing or another.
    Scheme,
    /// The host is missing or not an [`Authority`], or there is user information (RFC 9110 section 4.2.4).
    Authority,
    /// Not all of it is visible ASCII.
    Characters,
    /// It is longer than [`TARGET_MAX_BYTES`].
    TooLong,
}

impl Url {
    /// Parses an absolute URL. The fragment is removed; path and query are kept verbatim, including dot
    /// segments.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = without_fragment(text)?;
        let rest = match scheme_of(text) {
            Some(scheme) => after_scheme(text, scheme)?,
            None => return Err(UrlError::Scheme),
        };
        let (authority, path, query) = split_authority(rest)?;
        Self::new(authority, path, query)
    }

    /// Resolves `reference`, as of a Location header, against this URL: RFC 3986 section 5.2.2, strict,
    /// without the fragment.
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let reference = without_fragment(reference)?;
        let network_path = match scheme_of(reference) {
            Some(scheme) => Some(after_scheme(reference, scheme)?),
            None => reference.strip_prefix("//"),
        };
        if let Some(rest) = network_path {
            let (authority, path, query) = split_authority(rest)?;
            return Self::new(authority, &without_dot_segments(path), query);
        }
        let (path, query) = split_query(reference);
        let (base_path, base_query) = split_query(&self.target);
        let authority = self.authority.clone();
        if path.is_empty() {
            return Self::new(authority, base_path, query.or(base_query));
        }
        let path = match path.starts_with('/') {
            true => without_dot_segments(path),
            // RFC 3986 section 5.2.3.
            false => {
                let folder = base_path.rfind('/').map_or("/", |slash| &base_path[..=slash]);
                without_dot_segments(&format!("{folder}{path}"))
            }
        };
        Self::new(authority, &path, query)
    }

    /// The TCP port to connect to.
    pub fn port(&self) -> u16 {
        self.authority.port.unwrap_or(DEFAULT_PORT)
    }

    /// Whether both have the same origin, host and port (RFC 6454, section 4). The scheme is `http`.
    pub fn has_origin_of(&self, other: &Url) -> bool {
        (&self.authority.name, self.port()) == (&other.authority.name, other.port())
    }

    fn new(authority: Authority, path: &str, query: Option<&str>) -> Result<Self, UrlError> {
        // RFC 9110 section 4.2.3.
        let mut target = if path.is_empty() { "/" } else { path }.to_owned();
        if let Some(query) = query {
            target = format!("{target}?{query}");
        }
        let url = Self { authority, target };
        match url.to_string().len() <= TARGET_MAX_BYTES {
            true => Ok(url),
            false => Err(UrlError::TooLong),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.target)
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https => f.write_str("begins with https://, but only http:// is supported"),
            Self::Scheme => f.write_str("does not begin with http://"),
            Self::Authority => {
                f.write_str("does not have just a host name or address and a port after http://")
            }
            Self::Characters => f.write_str("has a character that is not visible ASCII"),
            Self::TooLong => write!(f, "is longer than {TARGET_MAX_BYTES} bytes"),
        }
    }
}

impl std::error::Error for UrlError {}

fn without_fragment(text: &str) -> Result<&str, UrlError> {
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.split('#').next().unwrap_or_default()),
        false => Err(UrlError::Characters),
    }
}

/// The scheme of a reference: what precedes the first colon, if that can only be a scheme (RFC 3986
/// section 3.1).
fn scheme_of(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(is_scheme_byte);
    is_scheme.then_some(scheme)
}

/// What follows `http://`.
fn after_scheme<'a>(text: &'a str, scheme: &str) -> Result<&'a str, UrlError> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => text[scheme.len()..].strip_prefix("://").ok_or(UrlError::Scheme),
        "https" => Err(UrlError::Https),
        _ => Err(UrlError::Scheme),
    }
}

fn split_authority(rest: &str) -> Result<(Authority, &str, Option<&str>), UrlError> {
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = Authority::parse(authority).ok_or(UrlError::Authority)?;
    let (path, query) = split_query(rest);
    Ok((authority, path, query))
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// RFC 3986 section 5.2.4, for a path that is empty or begins with `/`.
fn without_dot_segments(path: &str) -> String {
    let Some(path) = path.strip_prefix('/') else {
        return String::new();
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_with_slash = false;
    for segment in path.split('/') {
        ends_with_slash = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    if ends_with_slash {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}
