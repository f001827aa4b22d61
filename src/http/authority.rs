//! The `host[:port]` of a Host header, an absolute target or an origin.

use std::fmt;
use std::net::Ipv6Addr;

/// The longest DNS name (RFC 1035, section 2.3.4), written with dots.
const NAME_MAX_BYTES: usize = 253;

/// A host and its port, if there is one: what a client believes it is talking to (RFC 3986 section 3.2).
/// Displays as in a URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Authority {
    /// A name or an IPv4 address as written but in lower case, or an IPv6 address in canonical form
    /// and without brackets.
    pub name: String,
    /// `None` if absent or empty, which means the scheme's port.
    pub port: Option<u16>,
}

impl Authority {
    /// Parses `name`, `name:port`, `[v6]` or `[v6]:port`; `None` for everything else.
    ///
    /// Narrower than RFC 3986: no user information (RFC 9110 section 4.2.4 forbids it), no
    /// percent-encoding or punctuation beyond `-._~` in names, and no zone in IPv6 literals. No
    /// browser sends them.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                let name = address.parse::<Ipv6Addr>().ok()?.to_string();
                (name, if rest.is_empty() { "" } else { rest.strip_prefix(':')? })
            }
            None => {
                let (name, port) = text.split_once(':').unwrap_or((text, ""));
                let has_length = (1..=NAME_MAX_BYTES).contains(&name.len());
                let is_name = has_length && name.bytes().all(is_name_byte);
                (is_name.then(|| name.to_ascii_lowercase())?, port)
            }
        };
        let port = match port {
            "" => None,
            _ if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            _ => return None,
        };
        Some(Self { name, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]", self.name)?,
            false => f.write_str(&self.name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_at_most_as_long_as_in_dns() {
        assert!(Authority::parse(&"n".repeat(253)).is_some());
        assert_eq!(Authority::parse(&"n".repeat(254)), None);
    }
}
