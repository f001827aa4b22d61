//! A stream of video from outside: its bytes come in, frames and pictures go out, and it is opened,
//! watched over, and begun again when it fails. Pure.
//!
//! A [`Feed`] is told what has happened to the stream ([`Event`]) and that time has passed, and says
//! what it wants ([`Command`]) and what it has ([`Item`]). Descriptors and processes are the
//! driver's, which decides nothing: whether a stream that has ended is opened again, and when a
//! command is killed, is decided here.

/// Where the bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Standard input: it is there from the start, and when it ends, it ends for good.
    Stdin,
    /// A named pipe, which other programs open for writing, one after the other.
    Fifo,
    /// A file, which is played at its frame rate, over and over.
    File,
    /// What a command writes to its standard output.
    Command,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// [`Command::Open`] is done.
    Opened,
    /// The next bytes of the stream, at most 64 KiB.
    Bytes(&'a [u8]),
    /// There are no more bytes. Of a command, this is not its end.
    Ended,
    /// It could not be opened or read, for this reason: a sentence without a full stop.
    Failed(&'a str),
    /// The command's process group is gone: how it ended, and what it wrote to standard error last, in a
    /// sentence without a full stop.
    Exited(&'a str),
}

/// What is to be done to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Open it, or start the command. Answered by [`Event::Opened`] or [`Event::Failed`].
    Open,
    /// Of a file alone: read on. Answered by [`Event::Bytes`] or [`Event::Ended`]. What is no file is
    /// read whenever there is something.
    Read,
    /// Let go of the descriptor.
    Close,
    /// Send this signal to the command's process group.
    Kill(Signal),
    /// There is nothing to be shown any more, ever.
    GiveUp,
}

/// How a command is asked to end, each time more firmly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
    Kill,
}
