//! A camera that is open and streams.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{ClockId, clock_gettime};

use super::scan::{format_of, pixel_format};
use crate::driver::v4l2::device::Device;
use crate::driver::v4l2::ioctl::{Dequeued, Format};
use crate::driver::v4l2::layout::{BufferType, FIELD_NONE, PixFormat};
use crate::driver::v4l2::queue::Queue;
use crate::media::{Matrix, Size};
use crate::os_error::OsError;
use crate::source::camera::{CameraBuffer, CameraMode, CameraStart, CameraStarted, CameraStep};
use crate::source::parse::FrameRate;

/// One that is shown, one that is filled, and two for a turn of the loop that takes long.
const BUFFERS: u32 = 4;
const CAPTURE: BufferType = BufferType::Capture;
/// Of what comes before the time stamp of an older picture, the loop knows nothing.
const OLDEST: Duration = Duration::from_secs(1);

// Flags of a buffer.
const IS_DAMAGED: u32 = 0x40;
const TIMESTAMP_MASK: u32 = 0xe000;
const TIMESTAMP_MONOTONIC: u32 = 0x2000;

// `enum v4l2_colorspace`, `enum v4l2_ycbcr_encoding` and `enum v4l2_quantization`.
const COLORSPACE_REC709: u32 = 3;
const COLORSPACE_JPEG: u32 = 7;
const COLORSPACE_DCI_P3: u32 = 12;
const ENCODING_DEFAULT: u32 = 0;
const ENCODING_709: u32 = 2;
const ENCODING_XV709: u32 = 4;
const QUANTIZATION_DEFAULT: u32 = 0;
const QUANTIZATION_FULL: u32 = 1;

/// A failed step, and the error of the kernel.
pub type Failure = (CameraStep, OsError);

#[derive(Debug)]
pub struct CameraStream {
    device: Device,
    queue: Queue,
    /// Buffers that the camera has filled, and that it was not given back.
    filled: Vec<Dequeued>,
}

impl CameraStream {
    /// Opens a camera, sets its mode, starts its stream, and sets its controls. May take seconds.
    ///
    /// # Errors
    /// A step fails. The camera is closed then.
    pub fn start(start: &CameraStart) -> Result<(CameraStream, CameraStarted), Failure> {
        let at = |step| move |error: io::Error| (step, OsError::from(&error));
        let device = Device::open(&start.path).map_err(at(CameraStep::Open))?;
        let CameraMode { format, size, rate } = start.mode;
        let wanted = Format::Single(PixFormat {
            width: size.width as u32,
            height: size.height as u32,
            pixel_format: pixel_format(format),
            field: FIELD_NONE,
            ..PixFormat::default()
        });
        let set = device.set_format(CAPTURE, wanted).map_err(at(CameraStep::SetFormat))?;
        let agreed = agreed(set).map_err(at(CameraStep::SetFormat))?;
        // Setting the format resets the rate. A driver without rates has the one that it has.
        let interval = rate.map(|rate| [rate.denominator, rate.numerator]);
        let set = interval.and_then(|interval| device.set_interval(CAPTURE, interval).ok());
        let set = set.and_then(|[n, d]| FrameRate::new(d.into(), n.into()));
        let queue = Queue::allocate(&device, CAPTURE, BUFFERS)
            .and_then(|queue| {
                (0..queue.len()).try_for_each(|index| queue.give(&device, index, &[]))?;
                Ok(queue)
            })
            .map_err(at(CameraStep::AllocateBuffers))?;
        device.stream_on(CAPTURE).map_err(at(CameraStep::StartStream))?;
        // Some cameras reset them when the stream starts.
        let controls = start.controls.iter();
        let refused = controls.filter_map(|(id, value)| {
            let error = device.set_control(*id, *value).err()?;
            Some((*id, OsError::from(&error)))
        });
        let started = CameraStarted {
            mode: CameraMode { rate: set.or(rate), ..agreed.mode },
            refused: refused.collect(),
            ..agreed
        };
        Ok((CameraStream { device, queue, filled: Vec::new() }, started))
    }

    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.device.as_raw_fd()), token, Interest::READABLE)
    }

    /// Takes all buffers that are filled. Returns whether there are any.
    ///
    /// # Errors
    /// The camera is gone, or has failed.
    pub fn fill(&mut self) -> io::Result<bool> {
        while let Some(filled) = self.queue.take(&self.device)? {
            self.filled.push(filled);
        }
        Ok(!self.filled.is_empty())
    }

    /// The buffers that were taken.
    pub fn pictures(&self) -> Vec<CameraBuffer<'_>> {
        let (now, uptime) = (Instant::now(), monotonic());
        let picture = |filled: &Dequeued| CameraBuffer {
            data: self.queue.contents(filled),
            captured: captured(filled, now, uptime),
            sequence: filled.sequence,
            is_damaged: filled.flags & IS_DAMAGED != 0,
        };
        self.filled.iter().map(picture).collect()
    }

    /// Gives the buffers back to the camera.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub fn give_back(&mut self) -> io::Result<()> {
        let CameraStream { device, queue, filled } = self;
        filled.drain(..).try_for_each(|filled| queue.give(device, filled.index, &[]))
    }
}

/// The time since some start, which the time stamps of buffers count from, too.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// When a picture was taken, by its time stamp if that is believable.
fn captured(filled: &Dequeued, now: Instant, uptime: Duration) -> Instant {
    let seconds = u64::try_from(filled.seconds).ok();
    let nanoseconds = u32::try_from(filled.microseconds.saturating_mul(1_000)).ok();
    let stamp = seconds.zip(nanoseconds.filter(|it| *it < 1_000_000_000));
    let age = stamp.and_then(|(s, ns)| uptime.checked_sub(Duration::new(s, ns)));
    let is_monotonic = filled.flags & TIMESTAMP_MASK == TIMESTAMP_MONOTONIC;
    let age = age.filter(|age| is_monotonic && *age <= OLDEST).unwrap_or_default();
    now.checked_sub(age).unwrap_or(now)
}

/// What the driver has made of a format. Its rate is not known yet.
fn agreed(set: Format) -> io::Result<CameraStarted> {
    let unknown = || io::Error::from_raw_os_error(libc::EINVAL);
    let Format::Single(set) = set else { return Err(unknown()) };
    let format = format_of(set.pixel_format).ok_or_else(unknown)?;
    let size = Size { width: set.width as usize, height: set.height as usize };
    Ok(CameraStarted {
        mode: CameraMode { format, size, rate: None },
        line_bytes: set.line_bytes as usize,
        matrix: matrix(&set),
        is_full_range: is_full_range(&set),
        refused: Vec::new(),
    })
}

/// As V4L2_MAP_YCBCR_ENC_DEFAULT does, of the encodings that are known here.
fn matrix(set: &PixFormat) -> Matrix {
    match (set.ycbcr_encoding, set.colorspace) {
        (ENCODING_709 | ENCODING_XV709, _) => Matrix::Bt709,
        (ENCODING_DEFAULT, COLORSPACE_REC709 | COLORSPACE_DCI_P3) => Matrix::Bt709,
        _ => Matrix::Bt601,
    }
}

/// As V4L2_MAP_QUANTIZATION_DEFAULT does for luma and chroma.
fn is_full_range(set: &PixFormat) -> bool {
    match set.quantization {
        QUANTIZATION_DEFAULT => set.colorspace == COLORSPACE_JPEG,
        quantization => quantization == QUANTIZATION_FULL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::camera::CameraFormat;

    fn filled(flags: u32, at: Duration) -> Dequeued {
        Dequeued {
            index: 0,
            bytes_used: 0,
            flags,
            seconds: at.as_secs() as i64,
            microseconds: i64::from(at.subsec_micros()),
            sequence: 0,
        }
    }

    #[test]
    fn a_time_stamp_is_believed_if_it_is_monotonic_and_of_the_last_second() {
        let (now, uptime) = (Instant::now(), Duration::from_secs(100));
        let age = |flags, at| now - captured(&filled(flags, at), now, uptime);
        let recent = uptime - Duration::from_millis(30);
        assert_eq!(age(TIMESTAMP_MONOTONIC, recent), Duration::from_millis(30));
        assert_eq!(age(0x4000, recent), Duration::ZERO);
        assert_eq!(age(TIMESTAMP_MONOTONIC, uptime + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(age(TIMESTAMP_MONOTONIC, Duration::ZERO), Duration::ZERO);
        let hostile = Dequeued {
            seconds: i64::MIN,
            microseconds: i64::MAX,
            ..filled(TIMESTAMP_MONOTONIC, recent)
        };
        assert_eq!(captured(&hostile, now, uptime), now);
    }

    #[test]
    fn colours_are_as_the_driver_says_or_as_the_colour_space_implies() {
        let set = |colorspace, ycbcr_encoding, quantization| PixFormat {
            colorspace,
            ycbcr_encoding,
            quantization,
            ..PixFormat::default()
        };
        assert_eq!(matrix(&set(COLORSPACE_REC709, 0, 0)), Matrix::Bt709);
        assert_eq!(matrix(&set(COLORSPACE_REC709, 1, 0)), Matrix::Bt601);
        assert_eq!(matrix(&set(COLORSPACE_DCI_P3, 0, 0)), Matrix::Bt709);
        assert_eq!(matrix(&set(8, ENCODING_709, 0)), Matrix::Bt709);
        assert_eq!(matrix(&set(8, 0, 0)), Matrix::Bt601, "sRGB");
        assert!(is_full_range(&set(COLORSPACE_JPEG, 0, 0)));
        assert!(!is_full_range(&set(COLORSPACE_JPEG, 0, 2)) && !is_full_range(&set(8, 0, 0)));
        assert!(is_full_range(&set(8, 0, QUANTIZATION_FULL)));
    }

    #[test]
    fn an_unknown_format_is_an_error() {
        let set = |characters: [u8; 4]| {
            agreed(Format::Single(PixFormat {
                pixel_format: u32::from_le_bytes(characters),
                width: 640,
                height: 480,
                line_bytes: 1_280,
                ..PixFormat::default()
            }))
        };
        assert!(set(*b"BA81").is_err());
        let started = set(*b"YUYV").unwrap();
        assert_eq!((started.mode.format, started.line_bytes), (CameraFormat::Yuyv, 1_280));
    }
}
