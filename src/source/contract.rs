//! The configuration, events, commands and items of a source.

use std::time::{Duration, Instant};

use super::camera::{CameraCommand, CameraConfig, CameraEvent};
use super::cause::{Exit, SourceFailure};
use crate::foreign::Foreign;
use crate::media::{Frame, Jpeg, Picture, PixelFormat, Samples, Size};

/// Where the pictures come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Standard input. It is open from the start, and its end is final.
    Stdin,
    /// A named pipe, which programs open for writing one after the other.
    Fifo,
    /// A file, played in a loop at its frame rate.
    File,
    /// The standard output of a command.
    Command,
    /// A camera of V4L2.
    Camera,
}

/// An event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent<'a> {
    /// [`SourceCommand::Open`] has succeeded.
    Opened,
    /// The next bytes of the stream, at most 64 KiB.
    Bytes(&'a [u8]),
    /// All bytes that are available for now were passed on.
    Paused,
    /// The end of the bytes. A command may still run.
    Ended,
    /// The stream could not be opened or read.
    Failed(SourceFailure),
    /// All processes of the command have exited. With the end of its standard error.
    Exited(Exit, Option<Foreign>),
    /// An event of cameras.
    Camera(CameraEvent<'a>),
}

/// A command to the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceCommand {
    /// Open it, or start the command. Answered by [`SourceEvent::Opened`] or [`SourceEvent::Failed`].
    Open,
    /// Read the next bytes of a file. Answered by [`SourceEvent::Bytes`] or [`SourceEvent::Ended`]. Other
    /// streams are read whenever bytes are available.
    Read,
    /// Close the descriptor.
    Close,
    /// Send this signal to all processes of the command.
    Kill(Signal),
    /// A command about cameras.
    Camera(CameraCommand),
    /// Exit: there will never be another picture.
    GiveUp,
}

impl SourceCommand {
    /// Whether what comes next belongs to nothing that came before.
    pub(crate) fn begins_stream(&self) -> bool {
        let camera = |command: &CameraCommand| {
            matches!(command, CameraCommand::Start(_) | CameraCommand::Run(_))
        };
        match self {
            SourceCommand::Open => true,
            SourceCommand::Camera(command) => camera(command),
            _ => false,
        }
    }
}

/// The signals that end a command, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
    Kill,
}

/// The configuration of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceConfig {
    Stream(StreamConfig),
    Camera(CameraConfig),
}

/// The configuration of a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamConfig {
    /// Anything but [`SourceKind::Camera`].
    pub kind: SourceKind,
    pub raw: Option<RawPictures>,
    /// The longest time between two pictures, for a source that is slower than it declares.
    pub interval: Option<Duration>,
}

impl StreamConfig {
    /// A stream that declares itself what it is.
    #[cfg(feature = "testing")]
    pub fn new(kind: SourceKind) -> StreamConfig {
        StreamConfig { kind, raw: None, interval: None }
    }
}

impl From<StreamConfig> for SourceConfig {
    fn from(stream: StreamConfig) -> SourceConfig {
        SourceConfig::Stream(stream)
    }
}

impl From<CameraConfig> for SourceConfig {
    fn from(camera: CameraConfig) -> SourceConfig {
        SourceConfig::Camera(camera)
    }
}

/// Pictures without headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawPictures {
    pub size: Size,
    pub pixels: PixelFormat,
    /// At least 1.
    pub frames_per_second: u32,
}

/// A frame or picture of the source.
#[derive(Debug)]
pub enum SourceItem {
    /// A picture that is already encoded.
    Frame(Frame),
    /// A picture, and when it was taken.
    Picture(Picture, Instant),
    /// The same, not yet converted.
    Samples(Samples, Instant),
    /// The same, as JPEG.
    Jpeg(Jpeg, Instant),
}
