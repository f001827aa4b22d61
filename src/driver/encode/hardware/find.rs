//! Finds the encoder of the board.

use std::fs::read_dir;
use std::path::{Path, PathBuf};

use super::EncoderWish;
use crate::driver::v4l2::device::{Device, M2M, M2M_MPLANE, STREAMS, fourcc};
use crate::driver::v4l2::layout::BufferType;
use crate::foreign::Foreign;
use crate::media::Layout;

pub const H264: u32 = fourcc(*b"H264");
/// The driver of a Raspberry Pi up to 4, which is known to behave.
const PREFERRED_DRIVER: &str = "bcm2835-codec";
/// Cameras, which may have to be woken up to be asked.
const NO_ENCODERS: &str = "uvcvideo";
const CLASS: &str = "/sys/class/video4linux";

/// An encoder of H.264, and what it takes.
#[derive(Debug, Clone)]
pub struct EncoderDevice {
    pub path: PathBuf,
    pub name: Option<Foreign>,
    driver: String,
    /// Its formats have several planes, in the sense of V4L2.
    pub is_mplane: bool,
    pub layouts: Vec<Layout>,
}

impl EncoderDevice {
    /// The type of its queue of pictures, and of its queue of frames.
    pub fn queues(&self) -> [BufferType; 2] {
        match self.is_mplane {
            true => [BufferType::OutputMplane, BufferType::CaptureMplane],
            false => [BufferType::Output, BufferType::Capture],
        }
    }
}

/// The encoder that is wanted, if there is one.
pub fn find(wish: &EncoderWish) -> Option<EncoderDevice> {
    match wish {
        EncoderWish::Software => None,
        EncoderWish::Device(path) => describe(path),
        EncoderWish::Auto => best(candidates().iter().filter_map(|path| describe(path))),
    }
}

fn best(found: impl Iterator<Item = EncoderDevice>) -> Option<EncoderDevice> {
    found.min_by_key(|it| (it.driver != PREFERRED_DRIVER, it.path.clone()))
}

fn candidates() -> Vec<PathBuf> {
    let entries = read_dir(CLASS).into_iter().flatten().flatten();
    let may_encode = |folder: &Path| {
        let driver = folder.join("device/driver").read_link().unwrap_or_default();
        !driver.ends_with(NO_ENCODERS)
    };
    let entries = entries.filter(|entry| may_encode(&entry.path()));
    entries.map(|entry| Path::new("/dev").join(entry.file_name())).collect()
}

/// `V4L2_PIX_FMT_…` of a layout that encoders take.
pub fn pixel_format(layout: Layout) -> Option<u32> {
    Some(fourcc(match layout {
        Layout::I420 => *b"YU12",
        Layout::Nv12 => *b"NV12",
        Layout::Yuyv => *b"YUYV",
        Layout::Bgr24 | Layout::Rgb24 | Layout::Gray8 => return None,
    }))
}

fn describe(path: &Path) -> Option<EncoderDevice> {
    let device = Device::open(path).ok()?;
    let identity = device.identity().ok()?;
    let has = |capability: u32| identity.capabilities & capability != 0;
    let is_mplane = has(M2M_MPLANE);
    if !has(STREAMS) || !is_mplane && !has(M2M) {
        return None;
    }
    let mut found = EncoderDevice {
        path: path.into(),
        name: identity.name,
        driver: identity.driver,
        is_mplane,
        layouts: Vec::new(),
    };
    let [pictures, frames] = found.queues();
    if !device.formats(frames).any(|format| format.pixel_format == H264) {
        return None;
    }
    let taken: Vec<u32> = device.formats(pictures).map(|format| format.pixel_format).collect();
    let takes = |layout: &Layout| pixel_format(*layout).is_some_and(|it| taken.contains(&it));
    found.layouts = Layout::ALL.into_iter().filter(takes).collect();
    // Pictures that were converted here are I420.
    found.layouts.contains(&Layout::I420).then_some(found)
}

/// An encoder at this path.
#[cfg(test)]
pub fn device_at(path: &str) -> EncoderDevice {
    EncoderDevice {
        path: path.into(),
        name: None,
        driver: String::new(),
        is_mplane: true,
        layouts: vec![Layout::I420],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_that_is_known_comes_first_then_the_first_device() {
        let path = |found: &[(&str, &str)]| {
            let found = found.iter().map(|(path, driver)| EncoderDevice {
                driver: (*driver).into(),
                ..device_at(path)
            });
            best(found).map(|it| it.path)
        };
        assert_eq!(path(&[]), None);
        let others = [("/dev/video2", "other"), ("/dev/video1", "another")];
        assert_eq!(path(&others), Some("/dev/video1".into()));
        let all = [others[0], others[1], ("/dev/video31", PREFERRED_DRIVER)];
        assert_eq!(path(&all), Some("/dev/video31".into()));
    }

    #[test]
    fn what_is_no_encoder_is_not_found() {
        assert!(find(&EncoderWish::Software).is_none());
        assert!(find(&EncoderWish::Device("/dev/null".into())).is_none());
        assert!(find(&EncoderWish::Device("/dev/missing".into())).is_none());
    }
}
