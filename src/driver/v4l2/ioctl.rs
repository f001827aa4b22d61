//! The system calls of V4L2: ioctls with typed structures, and maps of the kernel's buffers.

#![allow(
    unsafe_code,
    reason = "the kernel reads and writes the structures of an ioctl by address, and maps buffers"
)]

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::layout::*;

/// Calls an ioctl that reads and writes `value`, again if a signal interrupts it.
///
/// # Safety
/// `CODE` reads and writes a `T`, and what `T` points to is valid.
unsafe fn update<const CODE: Opcode, T>(device: BorrowedFd, value: &mut T) -> io::Result<()> {
    // SAFETY: as the caller guarantees.
    Ok(retry_on_intr(|| unsafe { ioctl(device, Updater::<CODE, T>::new(value)) })?)
}

/// VIDIOC_QUERYCAP.
pub fn query_capability(device: BorrowedFd) -> io::Result<Capability> {
    // SAFETY: the kernel fills the structure, for which all values are valid.
    Ok(retry_on_intr(|| unsafe { ioctl(device, Getter::<QUERYCAP, Capability>::new()) })?)
}

/// VIDIOC_ENUM_FMT.
pub fn enum_format(
    device: BorrowedFd,
    kind: BufferType,
    index: u32,
) -> io::Result<FormatDescription> {
    let mut format = FormatDescription {
        index,
        kind: kind as u32,
        flags: 0,
        description: [0; 32],
        pixel_format: 0,
        mbus_code: 0,
        reserved: [0; 3],
    };
    // SAFETY: the structure is that of the ioctl, and has no pointer.
    unsafe { update::<ENUM_FMT, _>(device, &mut format) }?;
    Ok(format)
}

/// VIDIOC_ENUM_FRAMESIZES.
pub fn enum_frame_size(device: BorrowedFd, pixel_format: u32, index: u32) -> io::Result<FrameSize> {
    let mut size = FrameSize { index, pixel_format, kind: 0, numbers: [0; 6], reserved: [0; 2] };
    // SAFETY: the structure is that of the ioctl, and has no pointer.
    unsafe { update::<ENUM_FRAMESIZES, _>(device, &mut size) }?;
    Ok(size)
}

/// VIDIOC_ENUM_FRAMEINTERVALS.
pub fn enum_frame_interval(
    device: BorrowedFd,
    pixel_format: u32,
    [width, height]: [u32; 2],
    index: u32,
) -> io::Result<FrameInterval> {
    let mut interval = FrameInterval {
        index,
        pixel_format,
        width,
        height,
        kind: 0,
        numbers: [0; 6],
        reserved: [0; 2],
    };
    // SAFETY: the structure is that of the ioctl, and has no pointer.
    unsafe { update::<ENUM_FRAMEINTERVALS, _>(device, &mut interval) }?;
    Ok(interval)
}

/// The format of a queue with one plane, or with several.
#[derive(Clone, Copy)]
pub enum Format {
    Single(PixFormat),
    Multi(PixFormatMplane),
}

fn raw_format(kind: BufferType, format: Format) -> RawFormat {
    let mut raw = RawFormat { kind: kind as u32, of_type: FormatOfType { raw: [0; 200] } };
    match format {
        Format::Single(single) => raw.of_type.single = single,
        Format::Multi(multi) => raw.of_type.multi = multi,
    }
    raw
}

fn format_of(kind: BufferType, raw: &RawFormat) -> Format {
    match kind.is_mplane() {
        // SAFETY: all bytes of the union are initialised, and all values are valid.
        true => Format::Multi(unsafe { raw.of_type.multi }),
        // SAFETY: as above.
        false => Format::Single(unsafe { raw.of_type.single }),
    }
}

/// VIDIOC_G_FMT.
pub fn get_format(device: BorrowedFd, kind: BufferType) -> io::Result<Format> {
    let mut raw = RawFormat { kind: kind as u32, of_type: FormatOfType { raw: [0; 200] } };
    // SAFETY: the structure is that of the ioctl; the member with pointers is of another type.
    unsafe { update::<G_FMT, _>(device, &mut raw) }?;
    Ok(format_of(kind, &raw))
}

/// VIDIOC_S_FMT. Returns what the driver has made of the format.
pub fn set_format(device: BorrowedFd, kind: BufferType, format: Format) -> io::Result<Format> {
    let mut raw = raw_format(kind, format);
    // SAFETY: as in `get_format`.
    unsafe { update::<S_FMT, _>(device, &mut raw) }?;
    Ok(format_of(kind, &raw))
}

/// VIDIOC_S_PARM: sets the time from one frame to the next, in seconds. Returns what the driver has made of it.
pub fn set_interval(
    device: BorrowedFd,
    kind: BufferType,
    interval: [u32; 2],
) -> io::Result<[u32; 2]> {
    let mut parameters =
        StreamParameters { kind: kind as u32, capability: 0, mode: 0, interval, rest: [0; 46] };
    // SAFETY: the structure is that of the ioctl, and has no pointer.
    unsafe { update::<S_PARM, _>(device, &mut parameters) }?;
    Ok(parameters.interval)
}

/// VIDIOC_REQBUFS for buffers that the kernel allocates; 0 frees them. Returns how many there are.
pub fn request_buffers(device: BorrowedFd, kind: BufferType, count: u32) -> io::Result<u32> {
    let mut request = RequestBuffers {
        count,
        kind: kind as u32,
        memory: MEMORY_MMAP,
        capabilities: 0,
        flags: 0,
        reserved: [0; 3],
    };
    // SAFETY: the structure is that of the ioctl, and has no pointer.
    unsafe { update::<REQBUFS, _>(device, &mut request) }?;
    Ok(request.count)
}

/// A buffer with the planes that it may have. The kernel is given the address of the planes.
struct BufferWithPlanes {
    buffer: Buffer,
    planes: [Plane; PLANES_MAX],
}

impl BufferWithPlanes {
    fn new(kind: BufferType, index: u32) -> BufferWithPlanes {
        let buffer = Buffer { index, kind: kind as u32, memory: MEMORY_MMAP, ..Buffer::default() };
        BufferWithPlanes { buffer, planes: Default::default() }
    }

    /// Calls an ioctl for it.
    ///
    /// # Safety
    /// `CODE` reads and writes a `struct v4l2_buffer`.
    unsafe fn update<const CODE: Opcode>(
        &mut self,
        device: BorrowedFd,
        kind: BufferType,
    ) -> io::Result<()> {
        if kind.is_mplane() {
            self.buffer.place = self.planes.as_mut_ptr().expose_provenance();
            self.buffer.length = PLANES_MAX as u32;
        }
        // SAFETY: the caller guarantees the ioctl, and `place` holds the address of `length` planes, or an
        // offset.
        unsafe { update::<CODE, _>(device, &mut self.buffer) }
    }
}

/// VIDIOC_QUERYBUF: the lengths of a buffer's planes, and their offsets for [`Map::new`].
pub fn query_buffer(
    device: BorrowedFd,
    kind: BufferType,
    index: u32,
) -> io::Result<Vec<(usize, u64)>> {
    let mut queried = BufferWithPlanes::new(kind, index);
    // SAFETY: it is the ioctl of the structure.
    unsafe { queried.update::<QUERYBUF>(device, kind) }?;
    let BufferWithPlanes { buffer, planes } = queried;
    // The kernel's offset has 32 bits, the member of the union may have 64.
    let offset = |place: usize| u64::from(place as u32);
    if !kind.is_mplane() {
        return Ok(vec![(buffer.length as usize, offset(buffer.place))]);
    }
    let count = (buffer.length as usize).min(PLANES_MAX);
    Ok(planes[..count].iter().map(|it| (it.length as usize, offset(it.offset))).collect())
}

/// VIDIOC_QBUF: gives a buffer to the driver, with so many bytes in each plane, of a picture of this time.
pub fn queue_buffer(
    device: BorrowedFd,
    kind: BufferType,
    index: u32,
    plane_bytes: &[usize],
    at: Duration,
) -> io::Result<()> {
    let mut queued = BufferWithPlanes::new(kind, index);
    queued.buffer.field = FIELD_NONE;
    queued.buffer.seconds = at.as_secs() as i64;
    queued.buffer.microseconds = i64::from(at.subsec_micros());
    queued.buffer.bytes_used = plane_bytes.first().copied().unwrap_or_default() as u32;
    for (plane, bytes) in queued.planes.iter_mut().zip(plane_bytes) {
        plane.bytes_used = *bytes as u32;
        plane.length = *bytes as u32;
    }
    // SAFETY: it is the ioctl of the structure.
    unsafe { queued.update::<QBUF>(device, kind) }
}

/// A buffer that the driver has given back.
#[derive(Debug, Clone, Copy)]
pub struct Dequeued {
    pub index: u32,
    /// Of the first plane.
    pub bytes_used: usize,
    pub flags: u32,
    pub seconds: i64,
    pub microseconds: i64,
    pub sequence: u32,
}

/// VIDIOC_DQBUF: takes a buffer that the driver is done with. `None` if there is none yet.
pub fn dequeue_buffer(device: BorrowedFd, kind: BufferType) -> io::Result<Option<Dequeued>> {
    let mut dequeued = BufferWithPlanes::new(kind, 0);
    // SAFETY: it is the ioctl of the structure.
    match unsafe { dequeued.update::<DQBUF>(device, kind) } {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        result => result?,
    }
    let BufferWithPlanes { buffer, planes } = dequeued;
    let bytes_used = if kind.is_mplane() { planes[0].bytes_used } else { buffer.bytes_used };
    Ok(Some(Dequeued {
        index: buffer.index,
        bytes_used: bytes_used as usize,
        flags: buffer.flags,
        seconds: buffer.seconds,
        microseconds: buffer.microseconds,
        sequence: buffer.sequence,
    }))
}

/// VIDIOC_STREAMON.
pub fn stream_on(device: BorrowedFd, kind: BufferType) -> io::Result<()> {
    // SAFETY: the ioctl reads one int.
    Ok(retry_on_intr(|| unsafe { ioctl(device, Setter::<STREAMON, u32>::new(kind as u32)) })?)
}

/// VIDIOC_QUERY_EXT_CTRL, of a control, or with a flag in the id of the one after it.
pub fn query_control(device: BorrowedFd, id: u32) -> io::Result<ControlDescription> {
    let mut control = ControlDescription {
        id,
        kind: 0,
        name: [0; 32],
        least: 0,
        most: 0,
        step: 0,
        default: 0,
        flags: 0,
        element_bytes: 0,
        elements: 0,
        dimensions: 0,
        dims: [0; 4],
        reserved: [0; 32],
    };
    // SAFETY: the structure is that of the ioctl, and has no pointer.
    unsafe { update::<QUERY_EXT_CTRL, _>(device, &mut control) }?;
    Ok(control)
}

/// VIDIOC_QUERYMENU: the name, or the value of an integer menu as 8 bytes.
pub fn query_menu(device: BorrowedFd, id: u32, index: u32) -> io::Result<[u8; 32]> {
    let mut menu = Menu { id, index, name: [0; 32], reserved: 0 };
    // SAFETY: the structure is that of the ioctl, and has no pointer.
    unsafe { update::<QUERYMENU, _>(device, &mut menu) }?;
    Ok(menu.name)
}

fn with_controls<const CODE: Opcode>(
    device: BorrowedFd,
    control: &mut ExtControl,
) -> io::Result<()> {
    let mut controls = ExtControls {
        which: 0,
        count: 1,
        error_index: 0,
        request: 0,
        reserved: 0,
        controls: control,
    };
    // SAFETY: both ioctls of controls read and write this structure, and `count` controls at the address.
    unsafe { update::<CODE, _>(device, &mut controls) }
}

/// VIDIOC_G_EXT_CTRLS of one control, whose value has 64 bits or 32.
pub fn get_control(device: BorrowedFd, id: u32, has_64_bits: bool) -> io::Result<i64> {
    let mut control = ExtControl { id, size: 0, reserved: 0, value: 0 };
    with_controls::<G_EXT_CTRLS>(device, &mut control)?;
    let value = control.value;
    Ok(if has_64_bits { value } else { i64::from(low(value)) })
}

/// VIDIOC_S_EXT_CTRLS of one control.
pub fn set_control(device: BorrowedFd, id: u32, value: i64) -> io::Result<()> {
    let mut control = ExtControl { id, size: 0, reserved: 0, value };
    with_controls::<S_EXT_CTRLS>(device, &mut control)
}

/// The member `value` of the union, at the address of `value64`.
fn low(value: i64) -> i32 {
    let [a, b, c, d, ..] = value.to_ne_bytes();
    i32::from_ne_bytes([a, b, c, d])
}

/// A buffer of the kernel, mapped into this process.
#[derive(Debug)]
pub struct Map {
    address: *mut u8,
    bytes: usize,
}

// SAFETY: the map belongs to its owner alone, and is no different in another thread.
unsafe impl Send for Map {}

impl Map {
    /// Maps a plane that [`query_buffer`] has described.
    pub fn new(device: BorrowedFd, bytes: usize, offset: u64) -> io::Result<Map> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so that nothing is mapped over.
        let address = unsafe {
            mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, device, offset)
        }?;
        Ok(Map { address: address.cast(), bytes })
    }

    /// The contents. The driver writes none of it while the buffer is not queued.
    pub fn contents(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped as long as `self` lives. A device that writes to a buffer that it has
        // given back changes bytes that nobody relies on.
        unsafe { std::slice::from_raw_parts(self.address, self.bytes) }
    }

    pub fn contents_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; and nothing else of this process has the map.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.bytes) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: it is mapped, and what borrows it is gone.
        let unmapped = unsafe { munmap(self.address.cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "it was mapped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_video_device_is_an_error() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let device = std::os::fd::AsFd::as_fd(&null);
        let error = query_capability(device).err().unwrap();
        // ENOTTY; an emulator of user space that does not know the call says ENOSYS.
        assert!(matches!(error.raw_os_error(), Some(25 | 38)), "{error}");
        assert!(request_buffers(device, BufferType::Capture, 4).is_err());
        assert!(dequeue_buffer(device, BufferType::OutputMplane).is_err());
        assert!(get_control(device, 1, false).is_err());
        assert!(Map::new(device, 4_096, 0).is_err());
    }
}
