//! The values of options, read and checked. An error names the option, the value and what is expected.

use std::borrow::Cow;
use std::ffi::OsString;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use ipnet::IpNet;

use super::UsageError;
use super::health::USUAL;
use crate::driver::encode::hardware::EncoderWish;
use crate::foreign::Foreign;
use crate::http::Authority;
use crate::media::{Rotation, Size};
use crate::web::auth::Token;

/// The most of a value that is repeated in a sentence.
const SHOWN_MAX_CHARS: usize = 200;

/// The longest title of the page: tabs show less.
const TITLE_MAX_CHARS: usize = 100;

pub(super) const SIZES: &str = "both even, from 64x64 to 3840x2160 or 2160x3840";

/// The value of an option.
pub(super) struct FlagValue {
    /// The option, without the dashes.
    pub flag: &'static str,
    pub text: OsString,
}

impl FlagValue {
    pub fn text(&self) -> Cow<'_, str> {
        self.text.to_string_lossy()
    }

    pub fn path(&self) -> &Path {
        Path::new(&self.text)
    }

    pub fn invalid(&self, expected: &str) -> UsageError {
        let (flag, value) = (self.flag, shown(&self.text()));
        UsageError(format!("invalid value '{value}' for --{flag}: expected {expected}."))
    }

    pub fn number<T: TryFrom<u32>>(&self, allowed: RangeInclusive<u32>) -> Result<T, UsageError> {
        let number = self.text().parse().ok().filter(|number| allowed.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let (least, most) = (allowed.start(), allowed.end());
            self.invalid(&format!("a whole number from {least} to {most}"))
        })
    }

    pub fn address(&self) -> Result<IpAddr, UsageError> {
        let text = self.text();
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let expected = "an IPv4 or IPv6 address such as 192.168.1.20 or fd00::20, without a port";
        bare.unwrap_or(&text).parse().map_err(|_| self.invalid(expected))
    }

    /// An address is a network of its own.
    pub fn network(&self) -> Result<IpNet, UsageError> {
        let text = self.text();
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let expected = "an address such as 127.0.0.1, or a network such as 172.17.0.0/16";
        address.or_else(|_| text.parse()).map_err(|_| self.invalid(expected))
    }

    pub fn size(&self) -> Result<Size, UsageError> {
        parse_size(&self.text()).ok_or_else(|| self.invalid(&format!("WxH, {SIZES}")))
    }

    pub fn rotation(&self) -> Result<Rotation, UsageError> {
        let degrees = self.text().parse().unwrap_or(0);
        let mut turns = Rotation::ALL.into_iter().filter(|rotation| *rotation != Rotation::Deg0);
        let rotation = turns.find(|rotation| rotation.degrees() == degrees);
        rotation.ok_or_else(|| self.invalid("90, 180 or 270 degrees clockwise"))
    }

    pub fn encoder(&self) -> Result<EncoderWish, UsageError> {
        match &*self.text() {
            "auto" => Ok(EncoderWish::Auto),
            "software" => Ok(EncoderWish::Software),
            path if path.starts_with('/') => Ok(EncoderWish::Device(path.into())),
            _ => Err(self.invalid("auto, software, or a device such as /dev/video11")),
        }
    }

    /// The title of the page.
    pub fn title(&self) -> Result<String, UsageError> {
        let title = self.text();
        let length = title.chars().count();
        if !(1..=TITLE_MAX_CHARS).contains(&length) || title.contains(char::is_control) {
            return Err(self.invalid(&format!("1 to {TITLE_MAX_CHARS} characters on one line")));
        }
        Ok(title.into_owned())
    }

    pub fn host_name(&self) -> Result<String, UsageError> {
        let name = self.text();
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(legal) {
            return Err(self.invalid("a host name such as camera.example, without scheme or port"));
        }
        Ok(name.to_lowercase())
    }

    /// As browsers write it: scheme, host in lower case, and a port if it is not the scheme's own.
    pub fn origin(&self) -> Result<String, UsageError> {
        let text = self.text().to_lowercase();
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let authority = Authority::parse(rest.trim_end_matches('/'));
        let authority = authority.filter(|_| matches!(scheme, "http" | "https"));
        let expected = "an origin such as https://home.example:8123, without a path";
        let authority = authority.ok_or_else(|| self.invalid(expected))?;
        Ok(format!("{scheme}://{authority}"))
    }

    /// The server of a URL `http://host[:port]`, with any path.
    pub fn server(&self) -> Result<Authority, UsageError> {
        let text = self.text();
        let rest = text.strip_prefix("http://");
        let authority = rest.map(|rest| rest.split('/').next().unwrap_or_default());
        let expected = format!("a URL such as {USUAL}");
        authority.and_then(Authority::parse).ok_or_else(|| self.invalid(&expected))
    }

    pub fn token(&self) -> Result<Token, UsageError> {
        token(&format!("--{}", self.flag), &self.text())
    }

    pub fn token_from_file(&self) -> Result<Token, UsageError> {
        token_file(&self.as_file(), self.path())
    }

    /// The option and the file that it names, in a sentence.
    pub fn as_file(&self) -> String {
        format!("--{} {}", self.flag, self.path().display())
    }
}

/// A value as it is repeated in a sentence, which may end up in the log of a service: a URL that was
/// meant for another option is cut.
pub(super) fn shown(value: &str) -> String {
    Foreign::new(value, SHOWN_MAX_CHARS).map(|value| value.to_string()).unwrap_or_default()
}

/// The encoder's limits: 3840×2160 either way round. The ball needs 64×64.
pub(super) fn parse_size(text: &str) -> Option<Size> {
    let (width, height) = text.split_once(['x', 'X'])?;
    let (width, height): (usize, usize) = (width.parse().ok()?, height.parse().ok()?);
    let (small, large) = (width.min(height), width.max(height));
    let fits = (64..=2160).contains(&small) && large <= 3840;
    let even = width.is_multiple_of(2) && height.is_multiple_of(2);
    (fits && even).then_some(Size { width, height })
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
    expected: &str,
) -> Result<T, UsageError> {
    let unreadable = |error| UsageError(format!("cannot read {source}: {error}."));
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    secret(source, text.trim(), parse, expected)
}

/// The sentence does not repeat the text, which may be a secret with a typing error.
pub(super) fn secret<T>(
    source: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    expected: &str,
) -> Result<T, UsageError> {
    parse(text).ok_or_else(|| {
        let what = if text.is_empty() { "no token" } else { "invalid token" };
        UsageError(format!("{what} in {source}: expected {expected}."))
    })
}
