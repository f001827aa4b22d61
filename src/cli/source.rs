//! The source of the pictures, and the options that go with it.

use std::fs::{File, FileType, Metadata};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::values::{FlagValue, SIZES, parse_size, shown};
use super::{UsageError, advice};
use crate::driver::SourceOrigin;
use crate::driver::source::STDIN_PATH;
use crate::media::{Layout, Matrix, PixelFormat};
use crate::source;
use crate::source::RawPictures;

/// The major number of V4L2's devices (Documentation/admin-guide/devices.txt of Linux).
const VIDEO4LINUX: u32 = 81;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceChoice {
    Ball,
    Stream {
        origin: SourceOrigin,
        /// The pictures have no headers.
        raw: Option<RawPictures>,
    },
}

impl SourceChoice {
    /// The same for the core.
    pub fn source(&self) -> Option<source::SourceConfig> {
        match self {
            SourceChoice::Ball => None,
            SourceChoice::Stream { origin, raw } => {
                Some(source::SourceConfig { kind: origin.kind(), raw: *raw, interval: None })
            }
        }
    }
}

/// What the arguments say about the source.
#[derive(Debug, Default)]
pub(super) struct Sources {
    origins: Vec<SourceOrigin>,
    raw: Option<RawPictures>,
    /// An option of the ball, without dashes.
    ball_flag: Option<&'static str>,
}

impl Sources {
    pub fn add_ball_flag(&mut self, flag: &'static str) {
        self.ball_flag.get_or_insert(flag);
    }

    pub fn add_command(&mut self, value: &FlagValue) -> Result<(), UsageError> {
        let command = value.text();
        if command.trim().is_empty() {
            return Err(value.invalid("a shell command, in quotes"));
        }
        self.origins.push(SourceOrigin::Command(command.into_owned()));
        Ok(())
    }

    pub fn set_raw(&mut self, value: &FlagValue) -> Result<(), UsageError> {
        let expected = format!(
            "WxH@FPS[:FORMAT][,bt709], width and height {SIZES}, 1 to 120 frames per second, FORMAT \
             one of {}, and bt709 with i420, nv12 and yuyv only",
            Layout::ALL.map(Layout::name).join(", ")
        );
        self.raw = Some(parse_raw(&value.text()).ok_or_else(|| value.invalid(&expected))?);
        Ok(())
    }

    pub fn add_path(&mut self, path: &Path) -> Result<(), UsageError> {
        let origin = if path == Path::new("-") { stdin_origin() } else { path_origin(path) };
        self.origins.push(origin?);
        Ok(())
    }

    pub fn choose(self) -> Result<SourceChoice, UsageError> {
        let mut origins = self.origins.into_iter();
        let sentence = match (origins.next(), origins.next(), self.ball_flag) {
            (None, ..) if self.raw.is_some() => {
                "--raw needs a source: a file, a named pipe, - for standard input, or --exec."
            }
            (None, ..) => return Ok(SourceChoice::Ball),
            (Some(_), Some(_), _) => "give only one source: -, PATH or --exec.",
            (Some(_), None, Some(flag)) => {
                let sentence = "applies to the ball only: the stream of a source has its own, and raw pictures \
                                get it from --raw.";
                return Err(UsageError(format!("--{flag} {sentence}")));
            }
            (Some(origin), None, None) => {
                if let (SourceOrigin::File(path), None) = (&origin, self.raw)
                    && let Some(advice) = advice::for_film(&named(path))
                {
                    return Err(advice);
                }
                return Ok(SourceChoice::Stream { origin, raw: self.raw });
            }
        };
        Err(UsageError(sentence.into()))
    }
}

/// `WxH@FPS`, then `:FORMAT` if it is not I420, then `,bt709` if it is not BT.601.
fn parse_raw(text: &str) -> Option<RawPictures> {
    let (text, matrix) = match text.strip_suffix(",bt709") {
        Some(text) => (text, Matrix::Bt709),
        None => (text, Matrix::Bt601),
    };
    let (text, layout) = match text.split_once(':') {
        Some((text, name)) => (text, Layout::ALL.into_iter().find(|it| it.name() == name)?),
        None => (text, Layout::I420),
    };
    let (size, rate) = text.split_once('@')?;
    let frames_per_second = rate.parse().ok().filter(|rate| (1..=120).contains(rate))?;
    let is_clear = layout.has_chroma() || matrix == Matrix::Bt601;
    let pixels = PixelFormat { matrix, ..PixelFormat::usual(layout) };
    is_clear.then_some(RawPictures { size: parse_size(size)?, pixels, frames_per_second })
}

fn path_origin(path: &Path) -> Result<SourceOrigin, UsageError> {
    let name = shown(&path.to_string_lossy());
    let failed = |error| UsageError(format!("cannot open {name}: {error}."));
    let metadata = path.metadata().map_err(|error| {
        path.to_str().and_then(advice::for_url).unwrap_or_else(|| failed(error))
    })?;
    let kind = metadata.file_type();
    if kind.is_fifo() {
        // Its writers would notice a trial opening.
        return Ok(SourceOrigin::Fifo(path.into()));
    }
    if kind.is_file() {
        File::open(path).map_err(failed)?;
        return Ok(SourceOrigin::File(path.into()));
    }
    if kind.is_char_device() && libc::major(metadata.rdev()) == VIDEO4LINUX {
        return Err(advice::for_camera(path));
    }
    Err(UsageError(if is_device(kind) {
        format!("{name} is a device: use --exec with a command that reads it, see ballcast --help.")
    } else {
        let what = if kind.is_dir() { "directory" } else { "socket" };
        format!("{name} is a {what}: a source must be a file or a named pipe.")
    }))
}

fn stdin_origin() -> Result<SourceOrigin, UsageError> {
    if io::stdin().is_terminal() {
        let sentence = "standard input is a terminal: pipe video into it, as in camera | ballcast -, or \
                        name another source.";
        return Err(UsageError(sentence.into()));
    }
    let kind = stdin_metadata()
        .map_err(|error| UsageError(format!("cannot read standard input: {error}.")))?
        .file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Ok(SourceOrigin::Stdin);
    }
    if kind.is_file() {
        return Ok(SourceOrigin::File(STDIN_PATH.into()));
    }
    Err(UsageError("standard input is neither a pipe nor a file.".into()))
}

/// The name of a file, even if the shell opened it as standard input.
fn named(path: &Path) -> PathBuf {
    let link = path.read_link().ok().filter(|_| path == Path::new(STDIN_PATH));
    link.unwrap_or_else(|| path.into())
}

fn stdin_metadata() -> io::Result<Metadata> {
    File::from(io::stdin().as_fd().try_clone_to_owned()?).metadata()
}

fn is_device(kind: FileType) -> bool {
    kind.is_char_device() || kind.is_block_device()
}
