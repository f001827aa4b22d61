//! Why there is nothing to show, in words of our own.

use std::fmt;

use super::Kind;
use crate::os_error::OsError;
use crate::pipe::StreamError;

/// What could not be done to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Open(OsError),
    /// Of a command: start it.
    Start(OsError),
    /// Of a command: start it, as the former one is still there.
    StartAgain,
    /// Wait for bytes.
    Wait(OsError),
    Read(OsError),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Status(i32),
    /// A signal by its number, and its name if it has one.
    Signal(i32, Option<&'static str>),
    /// Its shell did not begin.
    NotStarted(OsError),
    Unknown,
}

/// Why there is nothing to show. Displays as a sentence that everybody may read: it has our own words and
/// numbers only, no word of a command and no name of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// What comes of it cannot be shown.
    Stream(StreamError),
    Failed(Kind, Failure),
    /// The command is gone.
    Exited(Exit),
    /// The command runs, and nothing comes of it.
    Hangs,
    /// Standard input has ended.
    StdinEnded,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What a shell exits with (POSIX, Shell Command Language, 2.8.2).
            Exit::Status(126) => {
                f.write_str("it ended with status 126: a program in it cannot be run")
            }
            Exit::Status(127) => {
                f.write_str("it ended with status 127: a program in it was not found")
            }
            Exit::Status(status) => write!(f, "it ended with status {status}"),
            Exit::Signal(_, Some(name)) => write!(f, "it was ended by signal {name}"),
            Exit::Signal(number, None) => write!(f, "it was ended by signal {number}"),
            Exit::NotStarted(error) => write!(f, "its shell cannot be started: {error}"),
            Exit::Unknown => f.write_str("its supervisor has ended"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Stream(error) => error.fmt(f),
            Cause::Failed(kind, failure) => {
                let (what, error) = match failure {
                    Failure::StartAgain => return f.write_str("The command is still running."),
                    Failure::Open(error) => ("opened", error),
                    Failure::Start(error) => ("started", error),
                    Failure::Wait(error) => ("waited for", error),
                    Failure::Read(error) => ("read", error),
                };
                write!(f, "{} cannot be {what}: {error}.", kind.name())
            }
            Cause::Exited(exit) => write!(f, "The command is gone: {exit}."),
            Cause::Hangs => f.write_str("The command runs and shows no picture: it is ended."),
            Cause::StdinEnded => f.write_str("The stream on standard input has ended."),
        }
    }
}

impl Kind {
    /// At the beginning of a sentence.
    fn name(self) -> &'static str {
        match self {
            Kind::Stdin => "Standard input",
            Kind::Fifo => "The named pipe",
            Kind::File => "The file",
            Kind::Command => "The command",
        }
    }
}
