//! A video device that is open.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::ioctl::{self, Format};
use super::layout::{BufferType, ControlDescription, FormatDescription, FrameInterval, FrameSize};
use crate::foreign::Foreign;

// Capabilities of a device.
pub const CAPTURES: u32 = 0x1;
pub const M2M_MPLANE: u32 = 0x4000;
pub const M2M: u32 = 0x8000;
pub const STREAMS: u32 = 0x0400_0000;
/// The structure also has those of this node alone, as a device may have several.
const HAS_NODE_CAPABILITIES: u32 = 0x8000_0000;

/// In the id of a control: the one after it, plain or compound.
const NEXT_CONTROL: u32 = 0x8000_0000;
/// More than a driver has. A device may describe whatever it likes.
const FORMATS_MAX: u32 = 64;
const SIZES_MAX: u32 = 256;
const INTERVALS_MAX: u32 = 64;
const CONTROLS_MAX: usize = 512;
const NAME_MAX_CHARS: usize = 32;

/// A device, without blocking.
#[derive(Debug)]
pub struct Device(OwnedFd);

/// What a device says about itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Of the kernel module, such as `uvcvideo`.
    pub driver: String,
    /// Such as `HD Pro Webcam C920`.
    pub name: Option<Foreign>,
    /// Those of this node.
    pub capabilities: u32,
}

impl Device {
    pub fn open(path: &Path) -> io::Result<Device> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = || rustix::fs::open(path, flags, Mode::empty());
        Ok(Device(rustix::io::retry_on_intr(open)?))
    }

    pub fn identity(&self) -> io::Result<Identity> {
        let told = ioctl::query_capability(self.as_fd())?;
        let has_own = told.capabilities & HAS_NODE_CAPABILITIES != 0;
        Ok(Identity {
            driver: text(&told.driver),
            name: Foreign::new(&text(&told.card), NAME_MAX_CHARS),
            capabilities: if has_own { told.device_caps } else { told.capabilities },
        })
    }

    pub fn formats(&self, kind: BufferType) -> impl Iterator<Item = FormatDescription> {
        (0..FORMATS_MAX).map_while(move |index| ioctl::enum_format(self.as_fd(), kind, index).ok())
    }

    pub fn sizes(&self, pixel_format: u32) -> impl Iterator<Item = FrameSize> {
        (0..SIZES_MAX)
            .map_while(move |index| ioctl::enum_frame_size(self.as_fd(), pixel_format, index).ok())
    }

    pub fn intervals(
        &self,
        pixel_format: u32,
        size: [u32; 2],
    ) -> impl Iterator<Item = FrameInterval> {
        (0..INTERVALS_MAX).map_while(move |index| {
            ioctl::enum_frame_interval(self.as_fd(), pixel_format, size, index).ok()
        })
    }

    pub fn controls(&self) -> impl Iterator<Item = ControlDescription> {
        let mut last = 0;
        let next = std::iter::from_fn(move || {
            let control = ioctl::query_control(self.as_fd(), last | NEXT_CONTROL).ok();
            // In the order of ids, so that this ends.
            let control = control.filter(|control| control.id > last)?;
            last = control.id;
            Some(control)
        });
        next.take(CONTROLS_MAX)
    }

    pub fn format(&self, kind: BufferType) -> io::Result<Format> {
        ioctl::get_format(self.as_fd(), kind)
    }

    /// Sets a format, and returns what the driver has made of it.
    pub fn set_format(&self, kind: BufferType, format: Format) -> io::Result<Format> {
        ioctl::set_format(self.as_fd(), kind, format)
    }

    /// Sets the time from one frame to the next, numerator and denominator, in seconds. Returns what the
    /// driver has made of it.
    pub fn set_interval(&self, kind: BufferType, interval: [u32; 2]) -> io::Result<[u32; 2]> {
        ioctl::set_interval(self.as_fd(), kind, interval)
    }

    pub fn set_control(&self, id: u32, value: i64) -> io::Result<()> {
        ioctl::set_control(self.as_fd(), id, value)
    }

    pub fn stream_on(&self, kind: BufferType) -> io::Result<()> {
        ioctl::stream_on(self.as_fd(), kind)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A text that a zero byte ends.
pub fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// The four characters of a format as a number.
pub const fn fourcc(characters: [u8; 4]) -> u32 {
    u32::from_le_bytes(characters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_at_the_first_zero() {
        assert_eq!(text(b"uvcvideo\0\0junk"), "uvcvideo");
        assert_eq!(text(b"full"), "full");
        assert_eq!(text(b""), "");
    }

    #[test]
    fn what_is_no_video_device_has_nothing() {
        let null = Device::open(Path::new("/dev/null")).unwrap();
        assert!(null.identity().is_err());
        assert_eq!(null.formats(BufferType::Capture).count(), 0);
        assert_eq!(null.controls().count(), 0);
        assert!(Device::open(Path::new("/dev/video-missing")).is_err());
    }
}
