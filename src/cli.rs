//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use lexopt::{Arg, Parser};

use crate::http::Authority;
use crate::media::{STAMP_WIDTH, Size};
use crate::server::admission::Limits;
use crate::source::encode::Quality;
use crate::web::auth::Token;

/// What is asked of the program.
#[derive(Debug)]
pub enum Command {
    Serve(Flags),
    Help,
    Version,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// 0 picks a free one.
    pub port: u16,
    /// Empty: the host's addresses.
    pub bind: Vec<IpAddr>,
    pub size: Size,
    pub frames_per_second: u32,
    pub quality: Quality,
    pub max_viewers: usize,
    pub max_viewers_per_address: usize,
    pub max_offers_per_second: u32,
    pub allow_hosts: Vec<String>,
    pub allow_origins: Vec<String>,
    pub token: Option<Token>,
    pub stamp: bool,
}

impl Default for Flags {
    fn default() -> Flags {
        let limits = Limits::default();
        Flags {
            port: 8080,
            bind: Vec::new(),
            size: Size { width: 640, height: 480 },
            frames_per_second: 30,
            quality: Quality::Constant,
            max_viewers: limits.viewers,
            max_viewers_per_address: limits.viewers_per_address,
            max_offers_per_second: limits.offers_per_second,
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            token: None,
            stamp: false,
        }
    }
}

impl Flags {
    pub fn limits(&self) -> Limits {
        Limits {
            viewers_per_address: self.max_viewers_per_address,
            offers_per_second: self.max_offers_per_second,
            ..Limits::for_viewers(self.max_viewers)
        }
    }
}

pub const HELP: &str = "\
Ballcast shows live video from this device in any browser on the local network.
Start it, then open one of the URLs that it prints. The picture is a bouncing ball.
Without WebRTC: /snapshot.jpg is one picture, /stream.mjpg one after the other.

Usage: ballcast [FLAGS]

Network
  --port N        TCP and UDP port, 0 for any free one [8080]
  --bind ADDR     Serve on this IP address only; may be repeated, 0.0.0.0 and ::
                  stand for all of IPv4 and IPv6 [all but containers' and bridges']
  --allow-host NAME
                  A further name that this server may be opened by; may be repeated
                  [its addresses, its host name, that name with .local, localhost]
  --allow-origin ORIGIN
                  Another site whose pages may play over WHEP, such as
                  https://home.example:8123; may be repeated. With one, pages of
                  all sites may show /snapshot.jpg and /stream.mjpg [none]
  --token-file FILE
                  Show the picture to those only who know the token in this file: to
                  the page as http://device:8080/#token=TOKEN, and to players that
                  send Authorization: Bearer TOKEN [everybody]
  --token TOKEN   The same, but everybody on this device sees it in the list of
                  processes; the variable BALLCAST_TOKEN is a third way

Picture
  --size WxH      Width and height in pixels, even, 64x64 to 3840x2160 [640x480]
  --fps N         Frames a second, 1 to 120 [30]
  --bitrate KBIT  Hold this many kbit/s, 50 to 50000 [constant quality instead]
  --stamp         Burn the capture time into the picture; the page then shows the
                  time from capture to screen

Limits
  --max-viewers N              Viewers at once, 1 to 10000 [50]
  --max-viewers-per-address N  Viewers from one IP address, 1 to 10000 [10]
  --max-offers-per-second N    Offers a second from one IP address, 1 to 10000 [10]

  --help, -h      This text
  --version, -V   The version

The log goes to standard error; RUST_LOG chooses what is in it (error, warn, info,
debug, trace) [info]. Ctrl-C says goodbye to all viewers and ends.
";

/// A flag that cannot be obeyed, for the person who typed it.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> UsageError {
        UsageError(format!("{error}. See ballcast --help."))
    }
}

/// Reads the arguments, the program's name not among them, and the variable `BALLCAST_TOKEN`.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: Option<OsString>,
) -> Result<Command, UsageError> {
    let mut parser = Parser::from_args(arguments);
    let mut flags = Flags::default();
    let mut tokens = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("version") | Arg::Short('V') => return Ok(Command::Version),
            Arg::Long("stamp") => flags.stamp = true,
            Arg::Long("port") => flags.port = number(&mut parser, "--port", 0..=65_535)?,
            Arg::Long("bind") => flags.bind.push(address(&mut parser)?),
            Arg::Long("size") => flags.size = size(&mut parser)?,
            Arg::Long("fps") => flags.frames_per_second = number(&mut parser, "--fps", 1..=120)?,
            Arg::Long("bitrate") => {
                let kbit: u32 = number(&mut parser, "--bitrate", 50..=50_000)?;
                flags.quality = Quality::Bitrate(kbit * 1_000);
            }
            Arg::Long("max-viewers") => {
                flags.max_viewers = number(&mut parser, "--max-viewers", 1..=10_000)?;
            }
            Arg::Long("max-viewers-per-address") => {
                let flag = "--max-viewers-per-address";
                flags.max_viewers_per_address = number(&mut parser, flag, 1..=10_000)?;
            }
            Arg::Long("max-offers-per-second") => {
                let flag = "--max-offers-per-second";
                flags.max_offers_per_second = number(&mut parser, flag, 1..=10_000)?;
            }
            Arg::Long("allow-host") => flags.allow_hosts.push(host_name(&mut parser)?),
            Arg::Long("allow-origin") => flags.allow_origins.push(origin(&mut parser)?),
            Arg::Long("token") => tokens.push(token("--token", &value(&mut parser)?)?),
            Arg::Long("token-file") => tokens.push(token_file(Path::new(&parser.value()?))?),
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(variable) = variable {
        tokens.push(token("BALLCAST_TOKEN", &variable.to_string_lossy())?);
    }
    if tokens.len() > 1 {
        let sentence = "Give the token once: as --token-file, as --token or as BALLCAST_TOKEN.";
        return Err(UsageError(sentence.into()));
    }
    flags.token = tokens.pop();
    if flags.stamp && flags.size.width < STAMP_WIDTH {
        return Err(UsageError(format!(
            "--stamp needs a picture at least {STAMP_WIDTH} pixels wide, and --size is {}.",
            flags.size
        )));
    }
    Ok(Command::Serve(flags))
}

fn wrong(flag: &str, value: &str, allowed: &str) -> UsageError {
    UsageError(format!("{flag} cannot be '{value}': it takes {allowed}."))
}

fn value(parser: &mut Parser) -> Result<String, UsageError> {
    Ok(parser.value()?.to_string_lossy().into_owned())
}

fn number<T: TryFrom<u32>>(
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

fn address(parser: &mut Parser) -> Result<IpAddr, UsageError> {
    let value = value(parser)?;
    let bare = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
    let allowed = "an IPv4 or IPv6 address such as 192.168.1.20 or fd00::20, without a port";
    bare.unwrap_or(&value).parse().map_err(|_| wrong("--bind", &value, allowed))
}

/// The encoder's limits: 3840×2160 either way round. The ball needs 64×64.
fn size(parser: &mut Parser) -> Result<Size, UsageError> {
    let value = value(parser)?;
    let parsed = value.split_once(['x', 'X']).and_then(|(width, height)| {
        let (width, height): (usize, usize) = (width.parse().ok()?, height.parse().ok()?);
        let (small, large) = (width.min(height), width.max(height));
        let fits = (64..=2160).contains(&small) && large <= 3840;
        let even = width.is_multiple_of(2) && height.is_multiple_of(2);
        (fits && even).then_some(Size { width, height })
    });
    let allowed = "WxH, both even, from 64x64 to 3840x2160 or 2160x3840";
    parsed.ok_or_else(|| wrong("--size", &value, allowed))
}

fn host_name(parser: &mut Parser) -> Result<String, UsageError> {
    let value = value(parser)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_';
    if value.is_empty() || !value.chars().all(legal) {
        let allowed = "a host name such as camera.example, without scheme or port";
        return Err(wrong("--allow-host", &value, allowed));
    }
    Ok(value.to_lowercase())
}

/// As browsers write it: scheme, host in lower case, and a port if it is not the scheme's own.
fn origin(parser: &mut Parser) -> Result<String, UsageError> {
    let value = value(parser)?.to_lowercase();
    let authority = value.strip_prefix("https://").or(value.strip_prefix("http://"));
    let parsed = authority.and_then(|authority| Authority::parse(authority.trim_end_matches('/')));
    let scheme = value.split_once("://").map_or("", |(scheme, _)| scheme);
    let allowed = "an origin such as https://home.example:8123, without a path";
    let parsed = parsed.ok_or_else(|| wrong("--allow-origin", &value, allowed))?;
    Ok(format!("{scheme}://{parsed}"))
}

fn token_file(file: &Path) -> Result<Token, UsageError> {
    let source = format!("--token-file {}", file.display());
    let unreadable = |error| UsageError(format!("{source} cannot be read: {error}."));
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    token(&source, text.trim())
}

/// The sentence leaves out what was given: it may be a secret but for a slip.
fn token(source: &str, text: &str) -> Result<Token, UsageError> {
    Token::parse(text).ok_or_else(|| {
        let given = if text.is_empty() { "nothing" } else { "something else" };
        UsageError(format!("{source} has {given} where a token takes {}.", Token::ALLOWED))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Result<Flags, UsageError> {
        flags_with(line, None)
    }

    fn flags_with(line: &str, variable: Option<&str>) -> Result<Flags, UsageError> {
        let arguments = line.split_whitespace().map(OsString::from);
        match parse(arguments, variable.map(OsString::from))? {
            Command::Serve(flags) => Ok(flags),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_flag_is_understood() {
        let flags = flags(
            "--port 0 --bind 127.0.0.1 --bind=[::1] --size 1280x720 --fps 25 --bitrate 2000 \
             --max-viewers 3 --max-viewers-per-address 2 --max-offers-per-second 1 \
             --allow-host Camera.Example --allow-origin https://Home.Example:8123/ --stamp \
             --token abc-._~+/==",
        );
        let expected = Flags {
            port: 0,
            bind: vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()],
            size: Size { width: 1280, height: 720 },
            frames_per_second: 25,
            quality: Quality::Bitrate(2_000_000),
            max_viewers: 3,
            max_viewers_per_address: 2,
            max_offers_per_second: 1,
            allow_hosts: vec!["camera.example".into()],
            allow_origins: vec!["https://home.example:8123".into()],
            token: Token::parse("abc-._~+/=="),
            stamp: true,
        };
        assert_eq!(flags, Ok(expected));
    }

    #[test]
    fn a_wrong_value_names_the_flag_the_value_and_what_is_allowed() {
        let wrong = [
            ("--port 65536", ["--port", "'65536'", "0 to 65535"]),
            ("--port x", ["--port", "'x'", "0 to 65535"]),
            ("--bind device", ["--bind", "'device'", "192.168.1.20"]),
            ("--size 641x480", ["--size", "'641x480'", "even"]),
            ("--size 640", ["--size", "'640'", "WxH"]),
            ("--size 4096x2160", ["--size", "'4096x2160'", "3840x2160"]),
            ("--fps 0", ["--fps", "'0'", "1 to 120"]),
            ("--bitrate 1", ["--bitrate", "'1'", "50 to 50000"]),
            ("--max-viewers 0", ["--max-viewers", "'0'", "1 to 10000"]),
            ("--allow-host http://x", ["--allow-host", "'http://x'", "host name"]),
            ("--allow-origin x", ["--allow-origin", "'x'", "https://home.example:8123"]),
            ("--allow-origin http://x/y", ["--allow-origin", "'http://x/y'", "without a path"]),
            ("--stamp --size 320x240", ["--stamp", "320x240", "384"]),
        ];
        for (line, expected) in wrong {
            let sentence = flags(line).unwrap_err().to_string();
            for part in expected {
                assert!(sentence.contains(part), "{line}: {sentence}");
            }
        }
    }

    #[test]
    fn a_token_comes_one_way_only_and_no_sentence_repeats_it() {
        assert_eq!(flags("").unwrap().token, None);
        let token = Token::parse("opensesame");
        assert_eq!(flags_with("", Some("opensesame")).unwrap().token, token);
        let directory = std::env::temp_dir().join(format!("ballcast-flags-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            format!("--token-file {}", path.display())
        };
        assert_eq!(flags(&file("right", "opensesame\n")).unwrap().token, token);
        let missing = format!("--token-file {}", directory.join("missing").display());
        let wrong = [
            ("--token secret", None, ["--token", "8 to 256"]),
            ("--token wörtlich-geheim", None, ["--token", "letters"]),
            ("", Some(""), ["BALLCAST_TOKEN", "nothing"]),
            ("", Some("secret secret"), ["BALLCAST_TOKEN", "something else"]),
            (&file("empty", "\n"), None, ["empty has nothing", "8 to 256"]),
            (
                &file("lines", "secretone\nsecrettwo\n"),
                None,
                ["lines has something else", "letters"],
            ),
            (&missing, None, ["missing cannot be read", "No such file"]),
            ("--token secretone --token secretone", None, ["once", "--token-file"]),
            ("--token secretone", Some("secretone"), ["once", "BALLCAST_TOKEN"]),
            (&file("both", "secretone"), Some("secretone"), ["once", "BALLCAST_TOKEN"]),
        ];
        for (line, variable, expected) in wrong {
            let sentence = flags_with(line, variable).unwrap_err().to_string();
            assert!(expected.iter().all(|part| sentence.contains(part)), "{line}: {sentence}");
            assert!(!sentence.contains("secret") && !sentence.contains("geheim"), "{sentence}");
        }
        std::fs::remove_dir_all(directory).unwrap();
        assert!(!format!("{:?}", flags("--token opensesame")).contains("opensesame"));
    }

    #[test]
    fn unknown_flags_and_missing_values_are_errors() {
        assert!(flags("--frobnicate").unwrap_err().to_string().contains("--frobnicate"));
        assert!(flags("--port").unwrap_err().to_string().contains("--port"));
        assert!(flags("somewhere").is_err());
        assert!(flags("--stamp=yes").is_err());
    }

    #[test]
    fn help_names_every_flag_and_every_default() {
        for flag in [
            "--port",
            "--bind",
            "--size",
            "--fps",
            "--bitrate",
            "--max-viewers ",
            "--max-viewers-per-address",
            "--max-offers-per-second",
            "--allow-host",
            "--allow-origin",
            "--token ",
            "--token-file",
            "BALLCAST_TOKEN",
            "--stamp",
            "--help",
            "--version",
            "RUST_LOG",
        ] {
            assert!(HELP.contains(flag), "{flag}");
        }
        let defaults = Flags::default();
        for value in [
            u64::from(defaults.port),
            u64::from(defaults.frames_per_second),
            defaults.max_viewers as u64,
            defaults.max_viewers_per_address as u64,
        ] {
            assert!(HELP.contains(&format!("[{value}]")), "{value}");
        }
        assert!(HELP.contains(&format!("[{}]", defaults.size)));
        assert!(HELP.lines().all(|line| line.chars().count() <= 84));
    }
}
