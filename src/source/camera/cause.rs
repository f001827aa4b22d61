//! Why there is no picture of a camera, in our own words.

use std::fmt;

use super::CameraStep;
use crate::os_error::OsError;

/// Why there is no picture of a camera. Displays as a sentence that everybody may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraCause {
    /// There is no camera, and was none before.
    Missing,
    /// There is none of the wanted name.
    NotOfThatName,
    /// It is gone.
    Unplugged,
    /// The device is no camera.
    NoCapture,
    /// It has no mode that can be shown here, or none of those that are wanted.
    NoMode,
    /// EACCES, EPERM.
    NoPermission,
    /// EBUSY.
    Busy,
    /// ENOSPC: the kernel reserves a share of the USB bus for each stream.
    NoBandwidth,
    /// ENOMEM: the kernel has no contiguous memory left.
    NoMemory,
    /// A command is not answered: it hangs in the kernel.
    NoAnswer,
    /// Anything else.
    Failed(CameraStep, OsError),
}

// Of Linux, the same on all of its architectures that are supported.
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENXIO: i32 = 6;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const ENOSPC: i32 = 28;

impl CameraCause {
    /// What an error means in this step.
    pub(super) fn at(step: CameraStep, error: OsError) -> CameraCause {
        let OsError::Number(number) = error else { return CameraCause::Failed(step, error) };
        match number {
            ENOENT | ENXIO | ENODEV if step == CameraStep::Open => CameraCause::Missing,
            ENODEV => CameraCause::Unplugged,
            EPERM | EACCES => CameraCause::NoPermission,
            EBUSY => CameraCause::Busy,
            ENOSPC => CameraCause::NoBandwidth,
            ENOMEM => CameraCause::NoMemory,
            _ => CameraCause::Failed(step, error),
        }
    }

    /// What an error of opening or describing a device means.
    pub fn of_opening(error: OsError) -> CameraCause {
        CameraCause::at(CameraStep::Open, error)
    }

    /// Whether nothing but another device helps.
    pub(super) fn waits_for_devices(&self) -> bool {
        matches!(
            self,
            CameraCause::Missing
                | CameraCause::NotOfThatName
                | CameraCause::Unplugged
                | CameraCause::NoCapture
                | CameraCause::NoMode
        )
    }

    /// Whether it may be over as soon as udev is done with a new device.
    pub(super) fn may_settle(&self) -> bool {
        matches!(
            self,
            CameraCause::Missing
                | CameraCause::Unplugged
                | CameraCause::NotOfThatName
                | CameraCause::NoPermission
        )
    }
}

impl fmt::Display for CameraCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, error) = match self {
            CameraCause::Missing => return f.write_str("No camera found: plug one in."),
            CameraCause::NotOfThatName => {
                return f.write_str(
                    "No camera of that name found: plug it in, or see ballcast --list-cameras.",
                );
            }
            CameraCause::Unplugged => {
                return f
                    .write_str("The camera is unplugged: waiting for it to be plugged in again.");
            }
            CameraCause::NoCapture => {
                return f.write_str(
                    "The device is no camera: it captures no video. See ballcast --list-cameras.",
                );
            }
            CameraCause::NoMode => {
                return f.write_str(
                    "The camera does not offer the size and format that it is asked for: see ballcast \
                     --list-cameras.",
                );
            }
            CameraCause::NoPermission => {
                return f.write_str(
                    "No permission to open the camera: add the user that runs Ballcast to the group video.",
                );
            }
            CameraCause::Busy => return f.write_str("Another program uses the camera: end it."),
            CameraCause::NoBandwidth => {
                return f.write_str(
                    "The USB bus has no bandwidth left for the camera: use a smaller --camera-size, \
                     --camera-format mjpeg, or another USB port.",
                );
            }
            CameraCause::NoMemory => {
                return f.write_str(
                    "The kernel has no memory left for the pictures of the camera: use a \
                                    smaller --camera-size.",
                );
            }
            CameraCause::NoAnswer => {
                return f.write_str("The camera does not answer: unplug it, and plug it in again.");
            }
            CameraCause::Failed(step, error) => {
                let what = match step {
                    CameraStep::Open => "be opened",
                    CameraStep::SetFormat => "be set to its size and format",
                    CameraStep::AllocateBuffers => "be given memory for its pictures",
                    CameraStep::StartStream => "start its stream",
                    CameraStep::Read => "be read",
                };
                (what, error)
            }
        };
        write!(f, "The camera cannot {what}: {error}.")
    }
}
