//! A stateful encoder of V4L2 that is open (Documentation/userspace-api/media/v4l/dev-encoder.rst of Linux).

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::EncoderInput;
use super::error::EncoderError;
use super::find::{EncoderDevice, H264, pixel_format};
use super::level::level;
use crate::driver::encode::codec::Quality;
use crate::driver::tokens::ENCODER;
use crate::driver::v4l2::device::Device;
use crate::driver::v4l2::ioctl::Format;
use crate::driver::v4l2::layout::{
    BufferType, FIELD_NONE, PixFormat, PixFormatMplane, PlaneFormat,
};
use crate::driver::v4l2::queue::Queue;
use crate::media::{AccessUnit, Frame, HardwareFault, Layout, Size};
use crate::source::parse::{ParsedItem, Parser};

/// One picture that is encoded, and one that waits.
const PICTURES: u32 = 2;
/// One that is written, and others that this process has not read yet.
const FRAMES: u32 = 4;
/// Of the stream of constant quality, whose quantiser the encoder chooses itself.
const NOMINAL_BITRATE: u32 = 2_000_000;
/// Key frames are made on request only.
const NO_PERIODIC_KEYFRAMES: i64 = 0x7fff_ffff;

// Controls of encoders, linux/v4l2-controls.h.
const CODEC_BASE: u32 = 0x0099_0900;
const B_FRAMES: u32 = CODEC_BASE + 202;
const GOP_SIZE: u32 = CODEC_BASE + 203;
const BITRATE: u32 = CODEC_BASE + 207;
const HEADER_MODE: u32 = CODEC_BASE + 216;
const REPEAT_SEQ_HEADER: u32 = CODEC_BASE + 226;
const FORCE_KEY_FRAME: u32 = CODEC_BASE + 229;
const H264_I_PERIOD: u32 = CODEC_BASE + 358;
const H264_LEVEL: u32 = CODEC_BASE + 359;
const H264_PROFILE: u32 = CODEC_BASE + 363;
/// `V4L2_MPEG_VIDEO_HEADER_MODE_JOINED_WITH_1ST_FRAME`.
const JOINED: i64 = 1;
const CONSTRAINED_BASELINE: i64 = 1;
/// `V4L2_COLORSPACE_SMPTE170M`: BT.601 in limited range.
const BT601: u32 = 1;
/// `V4L2_BUF_FLAG_ERROR`.
const IS_DAMAGED: u32 = 0x40;
/// Before each NAL unit (ITU-T H.264, B.1).
const START_CODE: [u8; 3] = [0, 0, 1];

/// An encoder for pictures of one size and layout.
pub struct M2mEncoder {
    device: Device,
    pictures: Queue,
    frames: Queue,
    size: Size,
    layout: Layout,
    /// From one line of luma to the next, and of the whole picture.
    line_bytes: usize,
    image_bytes: usize,
    /// The buffers for pictures that are not in use.
    free: Vec<u32>,
    /// In bits per second, and the rate at which that was told.
    bitrate: u32,
    frames_per_second: u32,
    /// The pictures whose frames have not come, in order, at most [`PICTURES`].
    pending: VecDeque<PendingPicture>,
    /// When the first picture was captured.
    began: Option<Instant>,
    /// A key frame was asked for: how many other frames may come before it.
    others_before_keyframe: Option<usize>,
    parser: Parser,
    ready: VecDeque<Frame>,
}

struct PendingPicture {
    captured: Instant,
    put_at: Instant,
}

impl M2mEncoder {
    /// # Errors
    /// The encoder does not take these pictures, or is used by others.
    pub fn open(
        found: &EncoderDevice,
        size: Size,
        layout: Layout,
        frames_per_second: u32,
        quality: Quality,
    ) -> Result<M2mEncoder, EncoderError> {
        let device = Device::open(&found.path)?;
        let [pictures, frames] = found.queues();
        let pixel_format =
            pixel_format(layout).ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        device.set_format(frames, format(frames, size, H264))?;
        let agreed = device.set_format(pictures, format(pictures, size, pixel_format))?;
        let [width, height, agreed_format, line_bytes, image_bytes] = dimensions(agreed);
        let is_as_asked = (width, height) == (size.width, size.height);
        if !is_as_asked || agreed_format != pixel_format as usize {
            let detail = format_args!("it takes no pictures of {size}");
            return Err(EncoderError::new(HardwareFault::Refuses, detail));
        }
        // A driver without rates keeps its own.
        let _ = device.set_interval(pictures, [1, frames_per_second]);
        let bitrate = match quality {
            Quality::Constant => NOMINAL_BITRATE,
            Quality::Bitrate(bits_per_second) => bits_per_second,
        };
        set_controls(
            &device,
            &[
                (BITRATE, i64::from(bitrate)),
                (H264_PROFILE, CONSTRAINED_BASELINE),
                (H264_LEVEL, level(size, frames_per_second)),
                (B_FRAMES, 0),
                (HEADER_MODE, JOINED),
                (REPEAT_SEQ_HEADER, 1),
                (GOP_SIZE, NO_PERIODIC_KEYFRAMES),
                (H264_I_PERIOD, NO_PERIODIC_KEYFRAMES),
            ],
        );
        let pictures_queue = Queue::allocate(&device, pictures, PICTURES)?;
        let frames_queue = Queue::allocate(&device, frames, FRAMES)?;
        let planes: &[usize] = if found.is_mplane { &[0] } else { &[] };
        for index in 0..frames_queue.len() {
            frames_queue.give(&device, index, planes)?;
        }
        device.stream_on(pictures)?;
        device.stream_on(frames)?;
        Ok(M2mEncoder {
            device,
            free: (0..pictures_queue.len()).collect(),
            pictures: pictures_queue,
            frames: frames_queue,
            size,
            layout,
            line_bytes,
            image_bytes,
            bitrate,
            frames_per_second,
            pending: VecDeque::new(),
            began: None,
            others_before_keyframe: None,
            parser: Parser::of_h264_buffers(),
            ready: VecDeque::new(),
        })
    }

    /// One event tells of both queues.
    pub fn register(&self, registry: &Registry) -> io::Result<()> {
        let descriptor = self.device.as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), ENCODER, Interest::READABLE)
    }

    pub fn size(&self) -> Size {
        self.size
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Since when the next frame has been at work.
    pub fn waits_since(&self) -> Option<Instant> {
        self.pending.front().map(|pending| pending.put_at)
    }

    /// Whether a key frame that was asked for has not come.
    pub fn ignores_requests(&self) -> bool {
        self.others_before_keyframe == Some(0)
    }

    /// Has a picture encoded, or returns false if the encoder is busy with others. The picture has the size and
    /// layout of the encoder.
    pub fn put(
        &mut self,
        input: EncoderInput,
        captured: Instant,
        now: Instant,
    ) -> Result<bool, EncoderError> {
        self.recycle()?;
        // A driver may have made more buffers than were asked for.
        let is_busy = self.pending.len() >= PICTURES as usize;
        let Some(index) = self.free.pop_if(|_| !is_busy) else { return Ok(false) };
        let maps = self.pictures.planes_mut(index);
        let target = maps.first_mut().map(|map| map.contents_mut()).unwrap_or_default();
        if target.len() < self.image_bytes {
            return Err(EncoderError::new(HardwareFault::Refuses, "its buffers are too small"));
        }
        let lines = Lines { line_bytes: self.line_bytes, height: self.size.height };
        match input {
            EncoderInput::Picture(picture) => {
                let planes = [&picture.y, &picture.u, &picture.v].map(|it| &it.samples[..]);
                lines.write(Layout::I420, planes, self.size.width, target)?;
            }
            EncoderInput::Samples(samples) => {
                let planes = samples.planes.each_ref().map(Vec::as_slice);
                lines.write(self.layout, planes, self.size.width, target)?;
            }
        }
        let at = captured.saturating_duration_since(*self.began.get_or_insert(captured));
        self.pictures.give_picture(&self.device, index, self.image_bytes, at)?;
        self.pending.push_back(PendingPicture { captured, put_at: now });
        Ok(true)
    }

    /// The next frame, if it has come.
    ///
    /// # Errors
    /// The encoder has failed, or has written something else.
    pub fn take(&mut self) -> Result<Option<Frame>, EncoderError> {
        while self.ready.is_empty() {
            let Some(taken) = self.frames.take(&self.device)? else { break };
            if taken.flags & IS_DAMAGED != 0 {
                return Err(EncoderError::new(HardwareFault::Fails, "it reports an error"));
            }
            for unit in access_units(&mut self.parser, self.frames.contents(&taken))? {
                // A frame for each picture, in order: the time stamps of some encoders are those of other pictures.
                let Some(pending) = self.pending.pop_front() else {
                    return Err(junk("it writes more frames than it was given pictures"));
                };
                let frame = Frame::h264(unit, pending.captured);
                self.note_kind(frame.is_keyframe());
                self.ready.push_back(frame);
            }
            let planes: &[usize] = if self.frames.kind().is_mplane() { &[0] } else { &[] };
            self.frames.give(&self.device, taken.index, planes)?;
        }
        self.recycle()?;
        Ok(self.ready.pop_front())
    }

    /// Spreads the bitrate over this many pictures in a second. Drivers such as bcm2835-codec read the rate itself only
    /// when the stream starts, but take another bitrate at work.
    pub fn set_rate(&self, frames_per_second: u32) {
        let bitrate = i64::from(self.bitrate) * i64::from(self.frames_per_second)
            / i64::from(frames_per_second.max(1));
        set_controls(&self.device, &[(BITRATE, bitrate)]);
    }

    /// # Errors
    /// The encoder makes no key frames on request.
    pub fn force_keyframe(&mut self) -> io::Result<()> {
        self.device.set_control(FORCE_KEY_FRAME, 1)?;
        // It may have begun with the pictures that it has, and with as many more when it hears of the request.
        let others = self.pending.len() + PICTURES as usize;
        self.others_before_keyframe.get_or_insert(others);
        Ok(())
    }

    fn note_kind(&mut self, is_keyframe: bool) {
        let others = self.others_before_keyframe.take().filter(|_| !is_keyframe);
        self.others_before_keyframe = others.map(|others| others.saturating_sub(1));
    }

    /// Takes back the buffers of pictures that are encoded.
    fn recycle(&mut self) -> io::Result<()> {
        while let Some(taken) = self.pictures.take(&self.device)? {
            self.free.push(taken.index);
        }
        Ok(())
    }
}

fn junk(detail: &str) -> EncoderError {
    EncoderError::new(HardwareFault::Junk, detail)
}

/// The access units in a buffer of an encoder: one, or none if it holds parameter sets alone.
///
/// # Errors
/// It holds something else, a picture that refers to none before it, or nothing.
fn access_units(parser: &mut Parser, buffer: &[u8]) -> Result<Vec<AccessUnit>, EncoderError> {
    if !buffer.windows(START_CODE.len()).any(|bytes| bytes == START_CODE) {
        return Err(junk("it writes a buffer without a NAL unit"));
    }
    let pushed = parser.push_buffer(buffer);
    pushed.map_err(|error| junk(&format!("its H.264 cannot be used: {error}")))?;
    let counters = parser.counters();
    if counters.damaged + counters.skipped + counters.oversized + counters.stray_bytes > 0 {
        return Err(junk("what it writes is not H.264"));
    }
    let units = std::iter::from_fn(|| match parser.poll()? {
        ParsedItem::AccessUnit(unit) => Some(unit),
        _ => None,
    });
    Ok(units.collect())
}

fn format(kind: BufferType, size: Size, pixel_format: u32) -> Format {
    let (width, height) = (size.width as u32, size.height as u32);
    match kind.is_mplane() {
        true => Format::Multi(PixFormatMplane {
            width,
            height,
            pixel_format,
            field: FIELD_NONE,
            colorspace: BT601,
            plane_count: 1,
            ..PixFormatMplane::default()
        }),
        false => Format::Single(PixFormat {
            width,
            height,
            pixel_format,
            field: FIELD_NONE,
            colorspace: BT601,
            ..PixFormat::default()
        }),
    }
}

/// Width, height, pixel format, and the bytes of a line and of the picture.
fn dimensions(format: Format) -> [usize; 5] {
    let dimensions = match format {
        Format::Single(it) => [it.width, it.height, it.pixel_format, it.line_bytes, it.image_bytes],
        Format::Multi(it) => {
            let PlaneFormat { image_bytes, line_bytes, .. } = it.planes[0];
            [it.width, it.height, it.pixel_format, line_bytes, image_bytes]
        }
    };
    dimensions.map(|number| number as usize)
}

/// A control that an encoder lacks keeps what it has: the parser tells whether the stream can be used.
fn set_controls(device: &Device, controls: &[(u32, i64)]) {
    for &(control, value) in controls {
        if let Err(error) = device.set_control(control, value) {
            log::debug!("the encoder does not set control {control:x} to {value}: {error}");
        }
    }
}

/// A picture in one buffer, whose lines are `line_bytes` apart; those of chroma planes of I420 half of it.
struct Lines {
    line_bytes: usize,
    height: usize,
}

impl Lines {
    /// Writes planes without padding.
    ///
    /// # Errors
    /// The buffer, or a line in it, is too short.
    fn write(
        &self,
        layout: Layout,
        planes: [&[u8]; 3],
        width: usize,
        mut target: &mut [u8],
    ) -> io::Result<()> {
        let (line_bytes, height) = (self.line_bytes, self.height);
        // The bytes of a line, their distance, and how many there are.
        let shapes = match layout {
            Layout::I420 => [
                (width, line_bytes, height),
                (width / 2, line_bytes / 2, height / 2),
                (width / 2, line_bytes / 2, height / 2),
            ],
            Layout::Nv12 => {
                [(width, line_bytes, height), (width, line_bytes, height / 2), (0, 1, 0)]
            }
            _ => [(2 * width, line_bytes, height), (0, 1, 0), (0, 1, 0)],
        };
        for (plane, (bytes, distance, count)) in planes.into_iter().zip(shapes) {
            let plane_bytes = distance * count;
            if distance < bytes || target.len() < plane_bytes || plane.len() < bytes * count {
                return Err(io::Error::other("its lines are too short"));
            }
            let (lines, rest) = target.split_at_mut(plane_bytes);
            if bytes == distance {
                lines.copy_from_slice(&plane[..plane_bytes]);
            } else if bytes > 0 {
                for (to, from) in lines.chunks_exact_mut(distance).zip(plane.chunks_exact(bytes)) {
                    to[..bytes].copy_from_slice(from);
                }
            }
            target = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::encode::encoder;
    use crate::driver::encode::hardware::find::device_at;
    use crate::media::{Codec, Colour, Picture};

    #[test]
    fn lines_are_written_as_far_apart_as_the_encoder_wants_them() {
        let lines = Lines { line_bytes: 8, height: 2 };
        let mut target = [0; 24];
        let planes = [&[1, 2, 3, 4, 5, 6, 7, 8][..], &[9, 10], &[11, 12]];
        lines.write(Layout::I420, planes, 4, &mut target).unwrap();
        let expected = [1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0, 9, 10, 0, 0, 11, 12, 0, 0];
        assert_eq!(target, expected);
        let mut target = [0; 24];
        let planes = [&[1, 2, 3, 4, 5, 6, 7, 8][..], &[9, 10, 11, 12], &[]];
        lines.write(Layout::Nv12, planes, 4, &mut target).unwrap();
        assert_eq!(target[16..], [9, 10, 11, 12, 0, 0, 0, 0]);
        let yuyv: Vec<u8> = (0..16).collect();
        let mut target = [0; 16];
        lines.write(Layout::Yuyv, [&yuyv, &[], &[]], 4, &mut target).unwrap();
        assert_eq!(target[..], yuyv);
        let short = Lines { line_bytes: 6, height: 2 };
        assert!(short.write(Layout::Yuyv, [&yuyv, &[], &[]], 4, &mut target).is_err());
        assert!(lines.write(Layout::Yuyv, [&yuyv, &[], &[]], 4, &mut [0; 15]).is_err());
    }

    #[test]
    fn a_buffer_holds_a_picture_or_parameter_sets_and_nothing_else() {
        let picture = Picture::filled(Size { width: 64, height: 64 }, Colour::GREEN);
        let mut openh264 = encoder(Codec::H264, 30, Quality::Constant).unwrap();
        let [keyframe, other] =
            [(); 2].map(|()| openh264.encode(&picture, Instant::now()).unwrap().data().to_vec());
        let slice = keyframe.windows(5).position(|it| it[..4] == [0, 0, 0, 1] && it[4] & 31 == 5);
        let (sets, slice) = keyframe.split_at(slice.unwrap());
        let noise = vec![0xa5; 1_000];
        let take = |buffers: &[&[u8]]| {
            let mut parser = Parser::of_h264_buffers();
            let taken = buffers.iter().map(|buffer| access_units(&mut parser, buffer));
            taken.map(|units| units.ok().map(|units| units.len())).collect::<Vec<_>>()
        };
        assert_eq!(take(&[&keyframe, &other]), [Some(1), Some(1)]);
        assert_eq!(take(&[sets, slice, &other]), [Some(0), Some(1), Some(1)]);
        for junk in [&[][..], &[0; 100], &noise, slice, &other] {
            assert_eq!(take(&[junk]), [None], "at first: {:?}", &junk[..junk.len().min(8)]);
        }
        for junk in [&[][..], &noise, &other[..5]] {
            assert_eq!(
                take(&[&keyframe, junk]),
                [Some(1), None],
                "{:?}",
                &junk[..junk.len().min(8)]
            );
        }
    }

    #[test]
    fn what_is_no_encoder_cannot_be_opened() {
        let found = device_at("/dev/null");
        let size = Size { width: 64, height: 64 };
        assert!(M2mEncoder::open(&found, size, Layout::I420, 30, Quality::Constant).is_err());
    }
}
