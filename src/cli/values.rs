//! The values of flags, read and checked. An error names the flag, the value and what is allowed.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser};

use super::UsageError;
use super::health::USUAL;
use crate::foreign::Foreign;
use crate::http::Authority;
use crate::media::Size;
use crate::web::auth::Token;
use crate::web::proxies::Network;

/// The most of a value that is repeated in a sentence.
const SHOWN_MAX_CHARS: usize = 200;

/// The longest title of the page: tabs show less.
const TITLE_MAX_CHARS: usize = 100;

pub(super) fn wrong(flag: &str, value: &str, allowed: &str) -> UsageError {
    UsageError(format!("{flag} cannot be '{}': it takes {allowed}.", shown(value)))
}

/// A value as it is repeated in a sentence, which may end up in the log of a service: a URL that was
/// meant for another flag is cut.
pub(super) fn shown(value: &str) -> String {
    Foreign::new(value, SHOWN_MAX_CHARS).map(|value| value.to_string()).unwrap_or_default()
}

pub(super) fn value(parser: &mut Parser) -> Result<String, UsageError> {
    Ok(parser.value()?.to_string_lossy().into_owned())
}

pub(super) fn number<T: TryFrom<u32>>(
    parser: &mut Parser,
    flag: &str,
    allowed: RangeInclusive<u32>,
) -> Result<T, UsageError> {
    let value = value(parser)?;
    let number = value.parse().ok().filter(|number| allowed.contains(number));
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        let (least, most) = (allowed.start(), allowed.end());
        wrong(flag, &value, &format!("a whole number from {least} to {most}"))
    })
}

pub(super) fn address(parser: &mut Parser, flag: &str) -> Result<IpAddr, UsageError> {
    let value = value(parser)?;
    let bare = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
    let allowed = "an IPv4 or IPv6 address such as 192.168.1.20 or fd00::20, without a port";
    bare.unwrap_or(&value).parse().map_err(|_| wrong(flag, &value, allowed))
}

pub(super) fn network(parser: &mut Parser) -> Result<Network, UsageError> {
    let value = value(parser)?;
    let allowed = "an address such as 127.0.0.1, or a network such as 172.17.0.0/16";
    Network::parse(&value).ok_or_else(|| wrong("--trusted-proxy", &value, allowed))
}

pub(super) fn size(parser: &mut Parser) -> Result<Size, UsageError> {
    let value = value(parser)?;
    let allowed = format!("WxH, {SIZES}");
    parse_size(&value).ok_or_else(|| wrong("--size", &value, &allowed))
}

pub(super) const SIZES: &str = "both even, from 64x64 to 3840x2160 or 2160x3840";

/// The encoder's limits: 3840×2160 either way round. The ball needs 64×64.
pub(super) fn parse_size(text: &str) -> Option<Size> {
    let (width, height) = text.split_once(['x', 'X'])?;
    let (width, height): (usize, usize) = (width.parse().ok()?, height.parse().ok()?);
    let (small, large) = (width.min(height), width.max(height));
    let fits = (64..=2160).contains(&small) && large <= 3840;
    let even = width.is_multiple_of(2) && height.is_multiple_of(2);
    (fits && even).then_some(Size { width, height })
}

/// The title of the page.
pub(super) fn title(parser: &mut Parser) -> Result<String, UsageError> {
    let value = value(parser)?;
    let is_title =
        (1..=TITLE_MAX_CHARS).contains(&value.chars().count()) && !value.contains(char::is_control);
    let allowed = format!("1 to {TITLE_MAX_CHARS} characters on one line");
    is_title.then_some(value.clone()).ok_or_else(|| wrong("--title", &value, &allowed))
}

pub(super) fn host_name(parser: &mut Parser) -> Result<String, UsageError> {
    let value = value(parser)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_';
    if value.is_empty() || !value.chars().all(legal) {
        let allowed = "a host name such as camera.example, without scheme or port";
        return Err(wrong("--allow-host", &value, allowed));
    }
    Ok(value.to_lowercase())
}

/// As browsers write it: scheme, host in lower case, and a port if it is not the scheme's own.
pub(super) fn origin(parser: &mut Parser) -> Result<String, UsageError> {
    let value = value(parser)?.to_lowercase();
    let authority = value.strip_prefix("https://").or(value.strip_prefix("http://"));
    let parsed = authority.and_then(|authority| Authority::parse(authority.trim_end_matches('/')));
    let scheme = value.split_once("://").map_or("", |(scheme, _)| scheme);
    let allowed = "an origin such as https://home.example:8123, without a path";
    let parsed = parsed.ok_or_else(|| wrong("--allow-origin", &value, allowed))?;
    Ok(format!("{scheme}://{parsed}"))
}

/// The server that `--check-health` asks: `http://host[:port]`, with any path.
pub(super) fn health_url(parser: &mut Parser) -> Result<Authority, UsageError> {
    let value = match parser.next()? {
        None => USUAL.to_owned(),
        Some(Arg::Value(value)) => value.to_string_lossy().into_owned(),
        Some(other) => return Err(other.unexpected().into()),
    };
    let rest = value.strip_prefix("http://");
    let authority = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    let allowed = format!("a URL such as {USUAL}");
    authority.and_then(Authority::parse).ok_or_else(|| wrong("--check-health", &value, &allowed))
}

pub(super) fn token_file_flag(parser: &mut Parser) -> Result<Token, UsageError> {
    let file = PathBuf::from(parser.value()?);
    token_file(&format!("--token-file {}", file.display()), &file)
}

pub(super) fn token_file(source: &str, file: &Path) -> Result<Token, UsageError> {
    secret_file(source, file, Token::parse, Token::ALLOWED)
}

pub(super) fn token(source: &str, text: &str) -> Result<Token, UsageError> {
    secret(source, text, Token::parse, Token::ALLOWED)
}

/// A token of one kind or another in a file, where white space around it does not matter.
pub(super) fn secret_file<T>(
    source: &str,
    file: &Path,
    parse: impl FnOnce(&str) -> Option<T>,
    allowed: &str,
) -> Result<T, UsageError> {
    let unreadable = |error| UsageError(format!("{source} cannot be read: {error}."));
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    secret(source, text.trim(), parse, allowed)
}

/// The sentence leaves out what was given: it may be a secret but for a slip.
pub(super) fn secret<T>(
    source: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    allowed: &str,
) -> Result<T, UsageError> {
    parse(text).ok_or_else(|| {
        let given = if text.is_empty() { "nothing" } else { "something else" };
        UsageError(format!("{source} has {given} where a token takes {allowed}."))
    })
}
