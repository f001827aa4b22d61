//! Watches for video devices that appear, go, or change their permissions (inotify(7)): that takes no
//! privileges and no udev.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

const FOLDER: &str = "/dev";
/// The events of one read. A name has at most 255 bytes.
const READ_BYTES: usize = 4_096;

pub struct DeviceWatch {
    inotify: OwnedFd,
    buffer: Box<[MaybeUninit<u8>; READ_BYTES]>,
}

impl DeviceWatch {
    pub fn new(registry: &Registry, token: Token) -> io::Result<DeviceWatch> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // udev changes the permissions of a device that has appeared.
        let changes = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM;
        inotify::add_watch(&inotify, FOLDER, changes)?;
        registry.register(&mut SourceFd(&inotify.as_raw_fd()), token, Interest::READABLE)?;
        Ok(DeviceWatch { inotify, buffer: Box::new([MaybeUninit::uninit(); READ_BYTES]) })
    }

    /// Whether a video device, or the folder of their links, has changed since the last call.
    pub fn take_change(&mut self) -> bool {
        let mut reader = Reader::new(&self.inotify, &mut self.buffer[..]);
        let mut has_changed = false;
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_bytes()).unwrap_or_default();
            let has_lost_some = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            has_changed |= name.starts_with(b"video") || name == b"v4l" || has_lost_some;
        }
        has_changed
    }
}
