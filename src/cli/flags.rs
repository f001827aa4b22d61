//! The command-line options: one row of a table each, from which the parser, both helps, the manual page and the
//! suggestions for misspelt options come.

mod table;

use std::ffi::{OsStr, OsString};

use lexopt::{Arg, Parser};

pub(super) use self::table::FLAGS;
use super::publish::MediaServers;
use super::source::Sources;
use super::values::FlagValue;
use super::{CliCommand, Flags, UsageError};
use crate::http::Authority;
use crate::web::auth::Token;

/// One option.
pub(super) struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    pub section: FlagSection,
    pub action: FlagAction,
    /// What applies without the option, if anything is worth saying.
    pub default: Option<&'static str>,
    /// What the option does, in one line without a full stop.
    pub line: &'static str,
    /// Sentences that follow the line where there is room; may be empty.
    pub more: &'static str,
}

/// What follows an option, and what the option does.
pub(super) enum FlagAction {
    /// Nothing follows.
    Switch(fn(&mut Flags)),
    /// The value of this name follows.
    Set(&'static str, fn(&mut Arguments, &FlagValue) -> Result<(), UsageError>),
    /// The value of this name may follow.
    SetOptional(&'static str, fn(&mut Arguments, Option<&FlagValue>) -> Result<(), UsageError>),
    /// A URL may follow, in place of the default. No further argument is read.
    Ask(fn(Authority) -> CliCommand),
    /// Nothing follows, and no further argument is read.
    Command(fn() -> CliCommand),
    /// Nothing follows, and no further argument is read. The letter is the option's short form.
    Print { text: CliText, short: Option<(char, CliText)> },
}

/// What an option prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CliText {
    /// One line for each option.
    Summary,
    Help,
    /// In man(7).
    Manual,
    Version,
}

/// What the arguments say, before it is known whether they fit together.
#[derive(Default)]
pub(super) struct Arguments {
    pub flags: Flags,
    pub tokens: Vec<Token>,
    pub sources: Sources,
    pub media_servers: MediaServers,
}

/// A part of the list of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagSection {
    Source,
    Camera,
    Network,
    Access,
    Publishing,
    Picture,
    Limits,
    Other,
}

impl FlagSection {
    pub const ALL: [FlagSection; 8] = [
        FlagSection::Source,
        FlagSection::Camera,
        FlagSection::Network,
        FlagSection::Access,
        FlagSection::Publishing,
        FlagSection::Picture,
        FlagSection::Limits,
        FlagSection::Other,
    ];

    pub fn title(self) -> &'static str {
        match self {
            FlagSection::Source => "Source",
            FlagSection::Camera => "Camera",
            FlagSection::Network => "Network",
            FlagSection::Access => "Who may watch",
            FlagSection::Publishing => "Media servers",
            FlagSection::Picture => "Picture",
            FlagSection::Limits => "Limits",
            FlagSection::Other => "Other options",
        }
    }

    pub fn flags(self) -> impl Iterator<Item = &'static Flag> {
        FLAGS.iter().filter(move |flag| flag.section == self)
    }
}

impl Flag {
    /// The option as it is typed, such as `--port N` or `-h, --help`.
    pub fn usage(&self) -> String {
        let name = self.name;
        match self.action {
            FlagAction::Switch(_)
            | FlagAction::Command(_)
            | FlagAction::Print { short: None, .. } => format!("--{name}"),
            FlagAction::Set(value, _) => format!("--{name} {value}"),
            FlagAction::SetOptional(value, _) => format!("--{name} [{value}]"),
            FlagAction::Ask(_) => format!("--{name} [URL]"),
            FlagAction::Print { short: Some((short, _)), .. } => format!("-{short}, --{name}"),
        }
    }

    /// Reads what follows the option, and does what it says. Returns the command if no further argument is
    /// to be read.
    pub fn apply(
        &self,
        parser: &mut Parser,
        arguments: &mut Arguments,
    ) -> Result<Option<CliCommand>, UsageError> {
        match &self.action {
            FlagAction::Switch(set) => set(&mut arguments.flags),
            FlagAction::Set(_, set) => {
                let value = FlagValue { flag: self.name, text: parser.value()? };
                set(arguments, &value)?;
            }
            FlagAction::SetOptional(_, set) => {
                let text = match parser.optional_value() {
                    Some(text) => Some(text),
                    None => following_value(parser),
                };
                let value = text.map(|text| FlagValue { flag: self.name, text });
                set(arguments, value.as_ref())?;
            }
            FlagAction::Ask(command) => {
                let text = match parser.next()? {
                    None => self.default.unwrap_or_default().into(),
                    Some(Arg::Value(text)) => text,
                    Some(other) => return Err(other.unexpected().into()),
                };
                let value = FlagValue { flag: self.name, text };
                return Ok(Some(command(value.server()?)));
            }
            FlagAction::Command(command) => return Ok(Some(command())),
            FlagAction::Print { text, .. } => return Ok(Some(CliCommand::Print(*text))),
        }
        Ok(None)
    }
}

/// The next argument, if it is no option.
fn following_value(parser: &mut Parser) -> Option<OsString> {
    let mut rest = parser.try_raw_args()?;
    let is_value = |argument: &OsStr| !argument.as_encoded_bytes().starts_with(b"-");
    rest.peek().is_some_and(is_value).then(|| rest.next())?
}

/// The option `--name`.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// The text that the option of this letter prints.
pub(super) fn text_of_short(letter: char) -> Option<CliText> {
    FLAGS.iter().find_map(|flag| match flag.action {
        FlagAction::Print { short: Some((short, text)), .. } if short == letter => Some(text),
        _ => None,
    })
}
