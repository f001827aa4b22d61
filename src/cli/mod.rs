//! The command line.

mod advice;
mod cameras;
mod flags;
pub mod health;
pub mod log;
mod publish;
pub mod qr;
pub mod run;
mod source;
pub mod texts;
mod unknown;
mod values;

use std::env::split_paths;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use lexopt::{Arg, Parser};

use self::flags::Arguments;
pub use self::source::SourceChoice;
use self::texts::CliText;
use self::values::{shown, token, token_file};
use crate::driver::encode::codec::Quality;
use crate::driver::encode::hardware::EncoderWish;
use crate::driver::source::supervisor;
use crate::http::Authority;
use crate::media::{Appearance, STAMP_WIDTH, Size};
use crate::publish::Target;
use crate::server::limits::admission::Limits;
use crate::web::auth::Token;

/// The default for pictures from outside, in bits per second: the constant quality that suits the ball would
/// take 20 Mbit/s for a camera.
const SOURCE_BITRATE: u32 = 2_500_000;

/// What the program is asked to do.
#[derive(Debug)]
pub enum CliCommand {
    Serve(Box<Flags>),
    /// Ask this server whether it has a picture.
    CheckHealth(Authority),
    /// Print the cameras of this machine.
    ListCameras,
    /// Supervise a command, for another process of this program.
    Supervise,
    Print(CliText),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// 0 picks a free one.
    pub port: u16,
    /// Empty: the host's addresses.
    pub bind: Vec<IpAddr>,
    pub source: SourceChoice,
    /// The source rests while nobody watches.
    pub when_watched: bool,
    /// The longest time from one picture of the source to the next.
    pub source_interval: Option<Duration>,
    /// The ball's.
    pub size: Size,
    /// The ball's.
    pub frames_per_second: u32,
    pub quality: Quality,
    /// The encoder of H.264.
    pub encoder: EncoderWish,
    pub appearance: Appearance,
    pub max_viewers: usize,
    pub max_viewers_per_address: usize,
    pub max_offers_per_second: u32,
    pub allow_hosts: Vec<String>,
    pub allow_origins: Vec<String>,
    pub trusted_proxies: Vec<IpNet>,
    pub announced: Vec<IpAddr>,
    pub token: Option<Token>,
    /// The media servers that are published to.
    pub targets: Vec<Target>,
    /// The directory for what the next process has to know.
    pub state: Option<PathBuf>,
    /// Burn the capture time into the ball's pictures; those of a source have it.
    pub stamp: bool,
    /// The page's.
    pub title: Option<String>,
    /// Print a QR code even if standard output is not a terminal.
    pub qr: bool,
}

impl Default for Flags {
    fn default() -> Flags {
        let limits = Limits::default();
        Flags {
            port: 8080,
            bind: Vec::new(),
            source: SourceChoice::Ball,
            when_watched: false,
            source_interval: None,
            size: Size { width: 640, height: 480 },
            frames_per_second: 30,
            quality: Quality::Constant,
            encoder: EncoderWish::Auto,
            appearance: Appearance::default(),
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

/// An option that cannot be used as it is given: a sentence for the person who typed it.
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

/// The environment variables that the program reads.
#[derive(Debug, Default)]
pub struct Environment {
    /// `BALLCAST_TOKEN`.
    pub token: Option<OsString>,
    /// `BALLCAST_PUBLISH_TOKEN`.
    pub publish_token: Option<OsString>,
    /// `CREDENTIALS_DIRECTORY`: the secrets of a systemd unit (systemd.exec(5)).
    pub credentials: Option<PathBuf>,
    /// `STATE_DIRECTORY`: directories that outlive a systemd service, separated by colons (systemd.exec(5)).
    pub state: Option<OsString>,
}

/// The token among the secrets of a systemd unit, used if no other is given.
const CREDENTIAL: &str = "ballcast.token";

/// Reads the arguments, without the program's name, and the environment.
///
/// # Errors
/// An option is unknown, has an invalid value or does not fit the others, or a file that it names cannot be
/// read.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Environment,
) -> Result<CliCommand, UsageError> {
    let mut parser = Parser::from_args(arguments);
    let mut given = Arguments::default();
    while let Some(argument) = parser.next()? {
        match argument {
            // Not in the table: the program gives it to itself.
            Arg::Long(supervisor::FLAG) => return Ok(CliCommand::Supervise),
            Arg::Long(name) => {
                let flag = flags::find(name).ok_or_else(|| unknown::long(name))?;
                if let Some(command) = flag.apply(&mut parser, &mut given)? {
                    return Ok(command);
                }
            }
            Arg::Short(letter) => {
                if let Some(text) = flags::text_of_short(letter) {
                    return Ok(CliCommand::Print(text));
                }
                let rest = parser.optional_value().unwrap_or_default();
                return Err(unknown::short(letter, &rest.to_string_lossy()));
            }
            // As other programs take them.
            Arg::Value(word) if word == "help" && is_missing(&word) => {
                return Ok(CliCommand::Print(CliText::Help));
            }
            Arg::Value(word) if word == "version" && is_missing(&word) => {
                return Ok(CliCommand::Print(CliText::Version));
            }
            Arg::Value(path) => given.sources.add_path(Path::new(&path))?,
        }
    }
    let Arguments { mut flags, mut tokens, sources, media_servers } = given;
    if let Some(variable) = environment.token {
        tokens.push(token("BALLCAST_TOKEN", &variable.to_string_lossy())?);
    }
    let credential = environment.credentials.as_ref().map(|folder| folder.join(CREDENTIAL));
    if let Some(file) = credential.filter(|file| tokens.is_empty() && file.exists()) {
        tokens.push(token_file(&format!("the credential {CREDENTIAL}"), &file)?);
    }
    if tokens.len() > 1 {
        let sentence = "give the token only once: with --token-file, --token or BALLCAST_TOKEN.";
        return Err(UsageError(sentence.into()));
    }
    flags.token = tokens.pop();
    flags.targets = media_servers.choose(environment.publish_token, environment.credentials)?;
    let mut folders = environment.state.iter().flat_map(split_paths);
    flags.state = folders.find(|folder| !folder.as_os_str().is_empty());
    flags.source = sources.choose()?;
    if flags.source_interval.is_some() && !matches!(flags.source, SourceChoice::Stream { .. }) {
        let sentence = "--source-interval needs a stream: a file, a named pipe, - for standard input, or \
                        --exec.";
        return Err(UsageError(sentence.into()));
    }
    if flags.when_watched && !flags.source.can_rest() {
        let sentence =
            "--when-watched needs a camera, or --exec: nothing else can be started and stopped.";
        return Err(UsageError(sentence.into()));
    }
    if flags.source != SourceChoice::Ball && flags.quality == Quality::Constant {
        flags.quality = Quality::Bitrate(SOURCE_BITRATE);
    }
    check_stamp(&flags)?;
    Ok(CliCommand::Serve(Box::new(flags)))
}

/// Whether the page can read the stamp.
fn check_stamp(flags: &Flags) -> Result<(), UsageError> {
    let orientation = flags.appearance.orientation;
    let sentence = match flags.source {
        _ if !flags.stamp => return Ok(()),
        SourceChoice::Ball if orientation.size(flags.size).width >= STAMP_WIDTH => return Ok(()),
        SourceChoice::Ball => format!(
            "--stamp needs a picture at least {STAMP_WIDTH} pixels wide, but --size is {}.",
            flags.size
        ),
        _ if orientation.is_upright() => return Ok(()),
        SourceChoice::Stream { .. } | SourceChoice::Camera(_) => {
            "--stamp cannot be used with --rotate or --mirror for a source, as its stamp would be turned, too."
                .into()
        }
    };
    Err(UsageError(sentence))
}

fn is_missing(path: &OsString) -> bool {
    !Path::new(path).exists()
}

#[cfg(test)]
mod tests;
