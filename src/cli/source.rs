//! The source of the pictures, and the options that go with it.

use std::fs::{File, FileType, Metadata};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::values::{FlagValue, SIZES, parse_size, shown};
use super::{UsageError, advice};
use crate::driver::SourceOrigin;
use crate::driver::source::STDIN_PATH;
use crate::media::{Layout, Matrix, PixelFormat, Size};
use crate::source::camera::{CameraConfig, CameraFormat, CameraWish, ModeWish};
use crate::source::{RawPictures, SourceConfig, StreamConfig};

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
    Camera(CameraConfig),
}

impl SourceChoice {
    /// The same for the core.
    pub fn source(&self, interval: Option<Duration>) -> Option<SourceConfig> {
        match self {
            SourceChoice::Ball => None,
            SourceChoice::Stream { origin, raw } => {
                Some(StreamConfig { kind: origin.kind(), raw: *raw, interval }.into())
            }
            SourceChoice::Camera(camera) => Some(camera.clone().into()),
        }
    }

    /// Whether it can be stopped, and started again.
    pub fn can_rest(&self) -> bool {
        match self {
            SourceChoice::Ball => false,
            SourceChoice::Stream { origin, .. } => matches!(origin, SourceOrigin::Command(_)),
            SourceChoice::Camera(_) => true,
        }
    }

    /// The same for the driver.
    pub fn origin(&self) -> Option<SourceOrigin> {
        match self {
            SourceChoice::Ball => None,
            SourceChoice::Stream { origin, .. } => Some(origin.clone()),
            SourceChoice::Camera(_) => Some(SourceOrigin::Camera),
        }
    }
}

/// What the arguments name as the source.
#[derive(Debug)]
enum NamedSource {
    Stream(SourceOrigin),
    Camera(CameraWish),
}

/// What the arguments say about the source.
#[derive(Debug, Default)]
pub(super) struct Sources {
    named: Vec<NamedSource>,
    raw: Option<RawPictures>,
    mode: ModeWish,
    controls: Vec<(String, i64)>,
    /// An option of cameras, without dashes.
    camera_flag: Option<&'static str>,
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
        self.named.push(NamedSource::Stream(SourceOrigin::Command(command.into_owned())));
        Ok(())
    }

    pub fn add_camera(&mut self, name: Option<&FlagValue>) -> Result<(), UsageError> {
        let wish = match name.map(FlagValue::text) {
            None => CameraWish::First,
            Some(name) if name.starts_with('/') => CameraWish::At(name.into_owned().into()),
            Some(name) if name.trim().is_empty() => CameraWish::First,
            Some(name) => CameraWish::Named(name.into_owned()),
        };
        self.named.push(NamedSource::Camera(wish));
        Ok(())
    }

    pub fn set_camera_size(&mut self, value: &FlagValue) -> Result<(), UsageError> {
        let expected = "WxH or WxH@FPS such as 1280x720@30, as --list-cameras prints them";
        let parsed = parse_camera_size(&value.text()).ok_or_else(|| value.invalid(expected))?;
        (self.mode.size, self.mode.frames_per_second) = parsed;
        self.camera_flag.get_or_insert(value.flag);
        Ok(())
    }

    pub fn set_camera_format(&mut self, value: &FlagValue) -> Result<(), UsageError> {
        let text = value.text();
        let format = CameraFormat::ALL.into_iter().find(|format| format.flag_name() == text);
        let expected =
            || format!("one of {}", CameraFormat::ALL.map(CameraFormat::flag_name).join(", "));
        self.mode.format = Some(format.ok_or_else(|| value.invalid(&expected()))?);
        self.camera_flag.get_or_insert(value.flag);
        Ok(())
    }

    pub fn add_control(&mut self, value: &FlagValue) -> Result<(), UsageError> {
        let expected = "NAME=VALUE such as brightness=128, as --list-cameras prints them";
        let text = value.text();
        let parsed = text.split_once('=').and_then(|(name, number)| {
            let is_name =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            Some((name.to_owned(), number.parse().ok()?)).filter(|_| is_name)
        });
        self.controls.push(parsed.ok_or_else(|| value.invalid(expected))?);
        self.camera_flag.get_or_insert(value.flag);
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
        self.named.push(if path == Path::new("-") {
            NamedSource::Stream(stdin_origin()?)
        } else if is_camera(path) {
            NamedSource::Camera(CameraWish::At(path.into()))
        } else {
            NamedSource::Stream(path_origin(path)?)
        });
        Ok(())
    }

    pub fn choose(mut self) -> Result<SourceChoice, UsageError> {
        let named = self.named.pop();
        if !self.named.is_empty() {
            return Err(UsageError("give only one source: -, PATH, --camera or --exec.".into()));
        }
        let is_camera = matches!(named, Some(NamedSource::Camera(_)));
        let is_stream = matches!(named, Some(NamedSource::Stream(_)));
        if self.raw.is_some() && !is_stream {
            let sentence =
                "--raw needs a stream: a file, a named pipe, - for standard input, or --exec.";
            return Err(UsageError(sentence.into()));
        }
        if let (Some(flag), false) = (self.camera_flag, is_camera) {
            let sentence = "needs a camera: --camera, or a device such as /dev/video0.";
            return Err(UsageError(format!("--{flag} {sentence}")));
        }
        if let (Some(flag), true) = (self.ball_flag, is_camera || is_stream) {
            let sentence = "applies to the ball only: the stream of a source has its own, raw pictures get it \
                            from --raw, and cameras from --camera-size.";
            return Err(UsageError(format!("--{flag} {sentence}")));
        }
        match named {
            None => Ok(SourceChoice::Ball),
            Some(NamedSource::Camera(wish)) => {
                let Sources { mode, controls, .. } = self;
                Ok(SourceChoice::Camera(CameraConfig { wish, mode, controls }))
            }
            Some(NamedSource::Stream(origin)) => {
                if let (SourceOrigin::File(path), None) = (&origin, self.raw)
                    && let Some(advice) = advice::for_film(&named_file(path))
                {
                    return Err(advice);
                }
                Ok(SourceChoice::Stream { origin, raw: self.raw })
            }
        }
    }
}

/// `WxH`, then perhaps `@FPS`.
fn parse_camera_size(text: &str) -> Option<(Option<Size>, Option<u32>)> {
    let (size, rate) = match text.split_once('@') {
        Some((size, rate)) => (size, Some(rate.parse().ok().filter(|it| (1..=240).contains(it))?)),
        None => (text, None),
    };
    let (width, height) = size.split_once(['x', 'X'])?;
    let size = Size { width: width.parse().ok()?, height: height.parse().ok()? };
    let fits = |side: usize| (16..=3_840).contains(&side);
    (fits(size.width) && fits(size.height)).then_some((Some(size), rate))
}

/// Whether this is a device of V4L2, or one that is not plugged in.
fn is_camera(path: &Path) -> bool {
    match path.metadata() {
        Ok(metadata) => {
            metadata.file_type().is_char_device() && libc::major(metadata.rdev()) == VIDEO4LINUX
        }
        Err(_) => {
            let text = path.to_string_lossy();
            text.starts_with("/dev/video") || text.starts_with("/dev/v4l/")
        }
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
fn named_file(path: &Path) -> PathBuf {
    let link = path.read_link().ok().filter(|_| path == Path::new(STDIN_PATH));
    link.unwrap_or_else(|| path.into())
}

fn stdin_metadata() -> io::Result<Metadata> {
    File::from(io::stdin().as_fd().try_clone_to_owned()?).metadata()
}

fn is_device(kind: FileType) -> bool {
    kind.is_char_device() || kind.is_block_device()
}
