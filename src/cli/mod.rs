//! The command line.

mod advice;
pub mod health;
mod help;
pub mod log;
mod publish;
pub mod qr;
mod source;
mod unknown;
mod values;

use std::env::split_paths;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::{Arg, Parser};

pub use self::help::HELP;
use self::publish::Publishing;
pub use self::source::Source;
use self::source::Sources;
use self::values::{
    address, health_url, host_name, network, number, origin, shown, size, title, token, token_file,
    token_file_flag, value,
};
use crate::driver::feed::supervisor;
use crate::http::Authority;
use crate::media::{STAMP_WIDTH, Size};
use crate::publish::Target;
use crate::server::admission::Limits;
use crate::source::encode::Quality;
use crate::web::auth::Token;
use crate::web::proxies::Network;

/// What pictures from outside are encoded to when nothing else is asked for, in bits per second: a
/// constant quality that suits the ball would take 20 Mbit/s for a camera.
const SOURCE_BITRATE: u32 = 2_500_000;

/// What is asked of the program.
#[derive(Debug)]
pub enum Command {
    Serve(Box<Flags>),
    /// Ask the server there whether it has a picture.
    CheckHealth(Authority),
    /// Supervise a command, for another process of this program.
    Supervise,
    Help,
    Version,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// 0 picks a free one.
    pub port: u16,
    /// Empty: the host's addresses.
    pub bind: Vec<IpAddr>,
    pub source: Source,
    /// The longest time from one picture of the source to the next.
    pub source_interval: Option<Duration>,
    /// Of the ball.
    pub size: Size,
    /// Of the ball.
    pub frames_per_second: u32,
    pub quality: Quality,
    pub max_viewers: usize,
    pub max_viewers_per_address: usize,
    pub max_offers_per_second: u32,
    pub allow_hosts: Vec<String>,
    pub allow_origins: Vec<String>,
    pub trusted_proxies: Vec<Network>,
    pub announced: Vec<IpAddr>,
    pub token: Option<Token>,
    /// The media servers that are published to.
    pub targets: Vec<Target>,
    /// Where is kept what the next process has to know.
    pub state: Option<PathBuf>,
    /// The ball's pictures are given their capture time, and those of a source have it.
    pub stamp: bool,
    /// Of the page.
    pub title: Option<String>,
    /// Print a QR code also where standard output is no terminal.
    pub qr: bool,
}

impl Default for Flags {
    fn default() -> Flags {
        let limits = Limits::default();
        Flags {
            port: 8080,
            bind: Vec::new(),
            source: Source::Ball,
            source_interval: None,
            size: Size { width: 640, height: 480 },
            frames_per_second: 30,
            quality: Quality::Constant,
            max_viewers: limits.viewers,
            max_viewers_per_address: limits.viewers_per_address,
            max_offers_per_second: limits.offers_per_second,
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            announced: Vec::new(),
            token: None,
            targets: Vec::new(),
            state: None,
            stamp: false,
            title: None,
            qr: false,
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
        UsageError(format!("{}. See ballcast --help.", shown(&error.to_string())))
    }
}

/// What the environment says.
#[derive(Debug, Default)]
pub struct Environment {
    /// `BALLCAST_TOKEN`.
    pub token: Option<OsString>,
    /// `BALLCAST_PUBLISH_TOKEN`.
    pub publish_token: Option<OsString>,
    /// `CREDENTIALS_DIRECTORY`: where a unit of systemd finds its secrets (systemd.exec(5)).
    pub credentials: Option<PathBuf>,
    /// `STATE_DIRECTORY`: folders that outlive a service of systemd, with colons between (systemd.exec(5)).
    pub state: Option<OsString>,
}

/// The token among the secrets of a unit: it counts where no other is given.
const CREDENTIAL: &str = "ballcast.token";

/// Reads the arguments, the program's name not among them, and the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Environment,
) -> Result<Command, UsageError> {
    let mut parser = Parser::from_args(arguments);
    let mut flags = Flags::default();
    let mut tokens = Vec::new();
    let mut sources = Sources::default();
    let mut publishing = Publishing::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("version") | Arg::Short('V') => return Ok(Command::Version),
            Arg::Long("check-health") => return Ok(Command::CheckHealth(health_url(&mut parser)?)),
            // Not in the help: the program gives it to itself.
            Arg::Long(supervisor::FLAG) => return Ok(Command::Supervise),
            Arg::Long("qr") => flags.qr = true,
            Arg::Long("title") => flags.title = Some(title(&mut parser)?),
            Arg::Long("stamp") => flags.stamp = true,
            Arg::Long("port") => flags.port = number(&mut parser, "--port", 0..=65_535)?,
            Arg::Long("bind") => flags.bind.push(address(&mut parser, "--bind")?),
            Arg::Long("size") => {
                flags.size = size(&mut parser)?;
                sources.add_ball_flag("--size");
            }
            Arg::Long("fps") => {
                flags.frames_per_second = number(&mut parser, "--fps", 1..=120)?;
                sources.add_ball_flag("--fps");
            }
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
            Arg::Long("trusted-proxy") => flags.trusted_proxies.push(network(&mut parser)?),
            Arg::Long("announce") => flags.announced.push(address(&mut parser, "--announce")?),
            Arg::Long("token") => tokens.push(token("--token", &value(&mut parser)?)?),
            Arg::Long("token-file") => tokens.push(token_file_flag(&mut parser)?),
            Arg::Long("publish") => publishing.add_url(&value(&mut parser)?)?,
            Arg::Long("publish-token-file") => {
                publishing.add_token_file(Path::new(&parser.value()?))?;
            }
            Arg::Long("exec") => sources.add_command(value(&mut parser)?)?,
            Arg::Long("source-interval") => {
                let seconds: u32 = number(&mut parser, "--source-interval", 1..=3_600)?;
                flags.source_interval = Some(Duration::from_secs(seconds.into()));
            }
            Arg::Long("raw") => sources.set_raw(&value(&mut parser)?)?,
            // Words that other programs have for the same.
            Arg::Value(word) if word == "help" && is_missing(&word) => return Ok(Command::Help),
            Arg::Value(word) if word == "version" && is_missing(&word) => {
                return Ok(Command::Version);
            }
            Arg::Value(path) => sources.add_path(Path::new(&path))?,
            Arg::Long(name) => return Err(unknown::long(name)),
            Arg::Short(letter) => {
                let rest = parser.optional_value().unwrap_or_default();
                return Err(unknown::short(letter, &rest.to_string_lossy()));
            }
        }
    }
    if let Some(variable) = environment.token {
        tokens.push(token("BALLCAST_TOKEN", &variable.to_string_lossy())?);
    }
    let credential = environment.credentials.as_ref().map(|folder| folder.join(CREDENTIAL));
    if let Some(file) = credential.filter(|file| tokens.is_empty() && file.exists()) {
        tokens.push(token_file(&format!("The credential {CREDENTIAL}"), &file)?);
    }
    if tokens.len() > 1 {
        let sentence = "Give the token once: as --token-file, as --token or as BALLCAST_TOKEN.";
        return Err(UsageError(sentence.into()));
    }
    flags.token = tokens.pop();
    flags.targets = publishing.choose(environment.publish_token, environment.credentials)?;
    let mut folders = environment.state.iter().flat_map(split_paths);
    flags.state = folders.find(|folder| !folder.as_os_str().is_empty());
    flags.source = sources.choose()?;
    if flags.source_interval.is_some() && flags.source == Source::Ball {
        let sentence = "--source-interval says how slow a source is, and there is none: name a file or \
                        a pipe, - for standard input, or --exec.";
        return Err(UsageError(sentence.into()));
    }
    if flags.source != Source::Ball && flags.quality == Quality::Constant {
        flags.quality = Quality::Bitrate(SOURCE_BITRATE);
    }
    if flags.stamp && flags.source == Source::Ball && flags.size.width < STAMP_WIDTH {
        return Err(UsageError(format!(
            "--stamp needs a picture at least {STAMP_WIDTH} pixels wide, and --size is {}.",
            flags.size
        )));
    }
    Ok(Command::Serve(Box::new(flags)))
}

fn is_missing(path: &OsString) -> bool {
    !Path::new(path).exists()
}

#[cfg(test)]
mod tests;
