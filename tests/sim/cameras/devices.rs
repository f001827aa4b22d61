//! The video devices that a scan finds.

use std::path::{Path, PathBuf};

use ballcast::testing::foreign::Foreign;
use ballcast::testing::os_error::OsError;
use ballcast::testing::source::camera::{
    CameraControl, CameraDevice, CameraMode, CameraNode, CameraScan,
};

use super::kernel::Plugged;

/// The link of the camera.
pub const LINK: &str = "/dev/v4l/by-id/usb-Test_camera-index0";
/// A camera of another name.
pub const OTHER: &str = "/dev/video9";
pub const EACCES: i32 = 13;

/// What is found at this path, or everywhere. `has_other` tells that there is another camera.
pub fn scan(
    path: Option<&Path>,
    plugged: Option<&Plugged>,
    is_permitted: bool,
    has_other: bool,
) -> CameraScan {
    let own = plugged.map(|it| PathBuf::from(format!("/dev/video{}", it.number)));
    let node = |path: PathBuf, captures| CameraNode {
        path,
        links: if is_permitted { vec!["usb-Test_camera-index0".to_owned()] } else { vec![] },
        device: match is_permitted {
            true => Ok(device("A test camera", captures, plugged)),
            false => Err(OsError::Number(EACCES)),
        },
    };
    let nodes = match path {
        // The link is made when the permissions are set.
        Some(path) if path == Path::new(LINK) && is_permitted => vec![node(path.into(), true)],
        Some(path) if own.as_deref() == Some(path) => vec![node(path.into(), true)],
        Some(_) => vec![],
        None => {
            let other = CameraNode {
                path: OTHER.into(),
                links: vec!["usb-Another-index0".to_owned()],
                device: Ok(device("Another camera", true, plugged)),
            };
            // Every camera of UVC has a second node, for metadata.
            let metadata = plugged.map(|it| format!("/dev/video{}", it.number + 1).into());
            let metadata = metadata.map(|path| node(path, false));
            let own = own.map(|path| node(path, true));
            let other = has_other.then_some(other);
            other.into_iter().chain(metadata).chain(own).collect()
        }
    };
    CameraScan { nodes, ..CameraScan::default() }
}

fn device(name: &str, captures: bool, plugged: Option<&Plugged>) -> CameraDevice {
    let modes = plugged.filter(|_| captures).map(|it| it.modes.clone());
    let modes: Vec<CameraMode> = modes.unwrap_or_default();
    CameraDevice { name: Foreign::new(name, 32), captures, modes, controls: vec![brightness()] }
}

fn brightness() -> CameraControl {
    CameraControl {
        id: 7,
        name: "brightness".into(),
        least: 0,
        most: 255,
        step: 1,
        default: 0,
        value: None,
        menu: vec![],
    }
}
