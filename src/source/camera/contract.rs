//! What the driver tells about cameras, and what it is told.
//!
//! The driver looks for cameras, starts one, reads it and stops it. It decides nothing: which camera, in which
//! mode, when again, and what is said about it, is decided here.
//!
//! 1. [`CameraCommand::Scan`] is answered by [`CameraEvent::Scanned`].
//! 2. [`CameraCommand::Start`] opens a camera, sets its mode, starts its stream and then sets its controls. It is
//!    answered by [`CameraEvent::Started`] or [`CameraEvent::Failed`].
//! 3. [`CameraEvent::Pictures`] brings all buffers that the camera has filled. They are given back to it when the
//!    event has been handled.
//! 4. [`CameraCommand::Stop`] closes it, and is answered by [`CameraEvent::Stopped`]. After
//!    [`CameraEvent::Failed`], it is closed already.
//!
//! The first, the second and the last may take seconds, as USB cameras answer slowly or not at all. At most one
//! of them is under way.

use std::path::PathBuf;
use std::time::Instant;

use crate::foreign::Foreign;
use crate::media::{Matrix, Size};
use crate::os_error::OsError;
use crate::source::parse::FrameRate;

/// A command about cameras to the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraCommand {
    /// Describe this device, or all video devices. Of devices with sizes in steps,
    /// [`sizes_in_steps`](super::sizes_in_steps) are described, and this one.
    Scan {
        path: Option<PathBuf>,
        size: Option<Size>,
        /// Describe the controls, too: a USB camera is asked for each of them.
        with_controls: bool,
    },
    Start(CameraStart),
    /// Run this shell command, whose standard output is the stream of a camera. What follows are the events of a
    /// command: [`SourceEvent::Opened`](crate::source::SourceEvent::Opened) and so on.
    Run(String),
    Stop,
}

/// Which camera to start, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraStart {
    pub path: PathBuf,
    pub mode: CameraMode,
    /// The id and value of each control, in order.
    pub controls: Vec<(u32, i64)>,
}

/// An event of cameras.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraEvent<'a> {
    Scanned(CameraScan),
    Started(CameraStarted),
    /// At least one, in order.
    Pictures(&'a [CameraBuffer<'a>]),
    /// A step has failed, and the camera is closed.
    Failed(CameraStep, OsError),
    Stopped,
    /// A video device has appeared or gone, or its permissions have changed.
    DevicesChanged,
}

/// What [`CameraCommand::Scan`] has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CameraScan {
    /// The device that was asked for, or all video devices, in the order of their numbers. None if the device is
    /// missing.
    pub nodes: Vec<CameraNode>,
    /// The program for the camera of a Raspberry Pi, if it is installed: `rpicam-vid`, or `libcamera-vid` of older
    /// systems.
    pub pi_program: Option<&'static str>,
    /// The board has the hardware encoder of a Raspberry Pi up to 4.
    pub has_pi_encoder: bool,
}

/// A video device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraNode {
    /// Such as `/dev/video0`, or the link that was asked for.
    pub path: PathBuf,
    /// The names of links to it, such as those in `/dev/v4l/by-id`.
    pub links: Vec<String>,
    /// Or why it cannot be opened or described.
    pub device: Result<CameraDevice, OsError>,
}

/// What a video device says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraDevice {
    /// As its driver reports it.
    pub name: Option<Foreign>,
    /// It captures video in a single plane, and streams it. Decoders, encoders and the second node of USB cameras
    /// do not.
    pub captures: bool,
    /// The modes in formats that are known here, at most [`MODES_MAX`].
    pub modes: Vec<CameraMode>,
    /// At most [`CONTROLS_MAX`].
    pub controls: Vec<CameraControl>,
}

/// The most modes of a device.
pub const MODES_MAX: usize = 1_024;
/// The most controls of a device.
pub const CONTROLS_MAX: usize = 256;

/// A format, size and rate that a camera offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CameraMode {
    pub format: CameraFormat,
    /// As the camera has it: either side may be odd.
    pub size: Size,
    /// `None` if the camera does not tell.
    pub rate: Option<FrameRate>,
}

/// The formats that are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CameraFormat {
    H264,
    I420,
    Nv12,
    Yuyv,
    Mjpeg,
}

/// A control of a camera, such as its brightness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraControl {
    pub id: u32,
    /// As `v4l2-ctl` prints it: letters, digits and `_`.
    pub name: String,
    pub least: i64,
    pub most: i64,
    pub step: u64,
    pub default: i64,
    /// `None` if it cannot be read.
    pub value: Option<i64>,
    /// The names of the values of a menu, and the values.
    pub menu: Vec<(i64, Foreign)>,
}

/// What a camera has agreed to. It may differ from what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraStarted {
    pub mode: CameraMode,
    /// The bytes from one line of a raw picture to the next.
    pub line_bytes: usize,
    pub matrix: Matrix,
    pub is_full_range: bool,
    /// The ids of the controls that could not be set.
    pub refused: Vec<(u32, OsError)>,
}

/// A buffer that a camera has filled: one JPEG, one access unit of H.264, or one raw picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CameraBuffer<'a> {
    pub data: &'a [u8],
    /// By the kernel's clock.
    pub captured: Instant,
    /// Counts pictures, also those that the camera has dropped.
    pub sequence: u32,
    /// The kernel marks the data as damaged.
    pub is_damaged: bool,
}

/// A step of [`CameraCommand::Start`], or of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraStep {
    Open,
    /// VIDIOC_S_FMT.
    SetFormat,
    /// VIDIOC_REQBUFS, VIDIOC_QUERYBUF, mmap or VIDIOC_QBUF.
    AllocateBuffers,
    /// VIDIOC_STREAMON.
    StartStream,
    /// Waiting for it, VIDIOC_DQBUF or VIDIOC_QBUF.
    Read,
}
