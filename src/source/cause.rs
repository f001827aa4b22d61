//! Why there is nothing to show, in our own words.

use std::fmt;

use super::SourceKind;
use super::camera::CameraCause;
use crate::media::Damage;
use crate::os_error::OsError;
use crate::source::parse::StreamError;

/// The operation on the stream that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFailure {
    Open(OsError),
    /// Starting a command.
    Start(OsError),
    /// Starting a command while the previous process still runs.
    StartAgain,
    /// Waiting for bytes.
    Wait(OsError),
    Read(OsError),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Status(i32),
    /// A signal: its number, and its name if known.
    Signal(i32, Option<&'static str>),
    /// Its shell could not be started.
    NotStarted(OsError),
    Unknown,
}

/// Why there is nothing to show. Displays as a sentence that everybody may read: it contains only our own
/// words and numbers, no output of a command and no file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceCause {
    /// The stream cannot be shown.
    Stream(StreamError),
    Failed(SourceKind, SourceFailure),
    /// The command has ended.
    Exited(Exit),
    /// The command runs, but there are no pictures.
    Hangs,
    /// Standard input has ended.
    StdinEnded,
    /// Bytes come, but no complete picture.
    Fruitless,
    /// Pictures come, but nearly all of them are dropped.
    LeftOut(LeftOut),
    /// Pictures come, but cannot be decoded or encoded.
    Damaged(Damage),
    /// More than this many pictures come in a second.
    TooMany(u32),
    Camera(CameraCause),
}

/// Why pictures are dropped before they are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// Pictures of H.264 that refer to dropped pictures.
    Skipped,
    Damaged,
    Oversized,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The exit status of a shell (POSIX, Shell Command Language, 2.8.2).
            Exit::Status(126) => {
                f.write_str("exited with status 126: a program in it cannot be run")
            }
            Exit::Status(127) => {
                f.write_str("exited with status 127: a program in it was not found")
            }
            Exit::Status(status) => write!(f, "exited with status {status}"),
            Exit::Signal(_, Some(name)) => write!(f, "was killed by signal {name}"),
            Exit::Signal(number, None) => write!(f, "was killed by signal {number}"),
            Exit::NotStarted(error) => {
                write!(f, "did not start, because its shell cannot be started: {error}")
            }
            Exit::Unknown => f.write_str("ended: its supervisor is gone"),
        }
    }
}

impl fmt::Display for SourceCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceCause::Stream(error) => error.fmt(f),
            SourceCause::Failed(kind, failure) => {
                let (what, error) = match failure {
                    SourceFailure::StartAgain => {
                        return f.write_str("The command is still running.");
                    }
                    SourceFailure::Open(error) => ("opened", error),
                    SourceFailure::Start(error) => ("started", error),
                    SourceFailure::Wait(error) => ("waited for", error),
                    SourceFailure::Read(error) => ("read", error),
                };
                write!(f, "{} cannot be {what}: {error}.", kind.name())
            }
            SourceCause::Exited(exit) => write!(f, "The command {exit}."),
            SourceCause::Hangs => {
                f.write_str("The command runs but shows no picture, and is being stopped.")
            }
            SourceCause::StdinEnded => f.write_str("Standard input has ended."),
            SourceCause::Fruitless => f.write_str(
                "The stream has bytes, but no whole picture. Run the command that makes it on its \
                 own, and see what it writes.",
            ),
            SourceCause::LeftOut(left_out) => left_out.fmt(f),
            SourceCause::Damaged(damage) => write_damaged(f, *damage),
            SourceCause::Camera(cause) => cause.fmt(f),
            SourceCause::TooMany(most) => write!(
                f,
                "The stream has more than {most} pictures a second, which is too many. Play a recorded \
                 video at its own pace: ffmpeg -re -i …; limit a camera: ffmpeg -r 30, or rpicam-vid \
                 --framerate 30."
            ),
        }
    }
}

impl SourceCause {
    /// The same about a camera, which is no stream that somebody else makes.
    pub(crate) fn of_camera(&self) -> String {
        match self {
            SourceCause::LeftOut(_)
            | SourceCause::Fruitless
            | SourceCause::Stream(StreamError::Lacks(_))
            | SourceCause::Damaged(Damage::Decode | Damage::DecodeKeyframe) => {
                "The pictures of the camera are damaged: use another cable or USB port, a smaller \
                 --camera-size, or another --camera-format."
                    .into()
            }
            SourceCause::Damaged(Damage::Encode(_) | Damage::EncodeJpeg) => {
                "The pictures of the camera cannot be encoded on this device: use another --camera-size."
                    .into()
            }
            SourceCause::Stream(_) => {
                "The pictures of the camera cannot be shown: use another --camera-size or --camera-format."
                    .into()
            }
            SourceCause::TooMany(most) => format!(
                "The camera sends more than {most} pictures a second, which is too many: use another \
                 --camera-size."
            ),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeftOut::Skipped => {
                "Nearly all pictures of the H.264 are skipped, because they refer to pictures that are \
                 damaged or missing. Make sure that nothing else writes to the stream, and make more \
                 key frames: ffmpeg -g 30, or rpicam-vid --intra 30."
            }
            LeftOut::Damaged => {
                "Nearly all pictures of the stream are damaged, and are skipped. Make sure that nothing \
                 else writes to it and that nothing is lost on the way: use a pipe or TCP, not UDP."
            }
            LeftOut::Oversized => {
                "Nearly all pictures of the stream are larger than 4 MiB, and are skipped. Lower the \
                 quality: ffmpeg -b:v 2M, or -q:v 5 for MJPEG; rpicam-vid -b 2500000."
            }
        })
    }
}

fn write_damaged(f: &mut fmt::Formatter<'_>, damage: Damage) -> fmt::Result {
    match damage {
        Damage::Decode => f.write_str(
            "The pictures of the stream cannot be decoded: their JPEG data is damaged. If other \
             programs show them, let ffmpeg decode them: ffmpeg … -pix_fmt yuv420p -f yuv4mpegpipe -.",
        ),
        Damage::DecodeKeyframe => f.write_str(
            "The key frames of the stream cannot be decoded on this device. Let ffmpeg encode them \
             again: ffmpeg … -c:v libx264 -profile:v baseline -pix_fmt yuv420p -f h264 -.",
        ),
        Damage::Encode(_) | Damage::EncodeJpeg => f.write_str(
            "The pictures of the stream cannot be encoded on this device. Try another size: ffmpeg -vf \
             scale=1280:-2.",
        ),
        Damage::Panic => f.write_str(
            "Ballcast failed to convert the pictures of the stream, which is a bug: please report it \
             with the command that makes the stream.",
        ),
    }
}

impl SourceKind {
    /// The subject of a sentence.
    fn name(self) -> &'static str {
        match self {
            SourceKind::Stdin => "Standard input",
            SourceKind::Fifo => "The named pipe",
            SourceKind::File => "The file",
            SourceKind::Command => "The command",
            SourceKind::Camera => "The camera",
        }
    }
}
