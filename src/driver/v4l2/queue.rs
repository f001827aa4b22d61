//! A queue of buffers that the kernel has allocated, and this process has mapped.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::Duration;

use super::device::Device;
use super::ioctl::{self, Dequeued, Map};
use super::layout::BufferType;

/// The buffers of one direction of a device, each with its planes. All belong to this process at first.
#[derive(Debug)]
pub struct Queue {
    kind: BufferType,
    buffers: Vec<Vec<Map>>,
}

impl Queue {
    /// Has so many buffers allocated, or as many as the driver likes, at least one.
    ///
    /// # Errors
    /// The driver refuses, or the kernel has no memory left.
    pub fn allocate(device: &Device, kind: BufferType, count: u32) -> io::Result<Queue> {
        let count = ioctl::request_buffers(device.as_fd(), kind, count)?;
        if count == 0 {
            return Err(ErrorKind::OutOfMemory.into());
        }
        let map = |index| {
            let planes = ioctl::query_buffer(device.as_fd(), kind, index)?;
            let maps = planes.into_iter().map(|(bytes, at)| Map::new(device.as_fd(), bytes, at));
            maps.collect()
        };
        Ok(Queue { kind, buffers: (0..count).map(map).collect::<io::Result<_>>()? })
    }

    pub fn kind(&self) -> BufferType {
        self.kind
    }

    pub fn len(&self) -> u32 {
        self.buffers.len() as u32
    }

    /// Gives an empty buffer to the driver, to fill its planes.
    pub fn give(&self, device: &Device, index: u32, plane_bytes: &[usize]) -> io::Result<()> {
        ioctl::queue_buffer(device.as_fd(), self.kind, index, plane_bytes, Duration::ZERO)
    }

    /// Gives a buffer to the driver that holds so many bytes of a picture, in one plane. The rate control of an
    /// encoder may rely on the time, which is that since any start.
    pub fn give_picture(
        &self,
        device: &Device,
        index: u32,
        bytes: usize,
        at: Duration,
    ) -> io::Result<()> {
        ioctl::queue_buffer(device.as_fd(), self.kind, index, &[bytes], at)
    }

    /// Takes a buffer that the driver is done with. `None` if there is none yet.
    ///
    /// # Errors
    /// Those of VIDIOC_DQBUF, and a buffer that does not exist.
    pub fn take(&self, device: &Device) -> io::Result<Option<Dequeued>> {
        let taken = ioctl::dequeue_buffer(device.as_fd(), self.kind)?;
        match taken {
            Some(taken) if taken.index >= self.len() => Err(ErrorKind::InvalidData.into()),
            taken => Ok(taken),
        }
    }

    /// What the driver has written into the first plane of a buffer that was taken.
    pub fn contents(&self, taken: &Dequeued) -> &[u8] {
        let contents = self.buffers[taken.index as usize].first().map_or(&[][..], Map::contents);
        &contents[..taken.bytes_used.min(contents.len())]
    }

    /// The planes of a buffer that belongs to this process.
    pub fn planes_mut(&mut self, index: u32) -> &mut [Map] {
        &mut self.buffers[index as usize]
    }
}
