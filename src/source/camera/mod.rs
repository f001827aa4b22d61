//! Cameras of V4L2 (Video for Linux): which one is shown, in which mode, and what is done when it fails. Pure.
//!
//! The driver decides nothing: [`contract`] lists what it tells, and what it is told.

mod contract;
mod modes;

pub use self::contract::{
    CONTROLS_MAX, CameraBuffer, CameraCommand, CameraControl, CameraDevice, CameraEvent,
    CameraFormat, CameraMode, CameraNode, CameraScan, CameraStart, CameraStarted, CameraStep,
    MODES_MAX,
};
pub use self::modes::sizes_in_steps;
