//! The H.264 encoder of the board, if it has one: a stateful memory-to-memory device of V4L2.
//!
//! It takes a picture now and gives the frame later. Whatever goes wrong with it, openh264 takes over with the next
//! picture; the encoder is tried again after a pause, unless it never gave a frame.

mod find;
mod m2m;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Registry;

use self::find::{EncoderDevice, find};
use self::m2m::M2mEncoder;
use super::codec::Quality;
use crate::backoff::Backoff;
use crate::foreign::Foreign;
use crate::media::{Frame, Layout, Matrix, Picture, Samples, Size};

/// A frame that takes longer does not come.
const STALLS_AFTER: Duration = Duration::from_millis(500);
/// The pauses in seconds after a failure, and after the next ones.
const PAUSES: [u64; 5] = [30, 60, 120, 300, 600];
/// After frames for this long, the pauses start over.
const GOOD_AFTER: Duration = Duration::from_secs(600);

/// Which encoder of H.264 is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EncoderWish {
    /// That of the board, if there is one.
    #[default]
    Auto,
    /// openh264.
    Software,
    /// The device at this path.
    Device(PathBuf),
}

/// A picture, as the encoder may take it.
#[derive(Clone, Copy)]
pub enum EncoderInput<'a> {
    Picture(&'a Picture),
    /// Not converted, in limited-range BT.601.
    Samples(&'a Samples),
}

impl<'a> EncoderInput<'a> {
    /// A picture of a camera that an encoder may take as it is.
    pub fn of_samples(samples: &'a Samples) -> Option<EncoderInput<'a>> {
        let format = samples.format;
        let is_known = matches!(format.layout, Layout::I420 | Layout::Nv12 | Layout::Yuyv);
        let is_plain = format.matrix == Matrix::Bt601 && !format.full_range;
        (is_known && is_plain).then_some(EncoderInput::Samples(samples))
    }

    fn size(&self) -> Size {
        match self {
            EncoderInput::Picture(picture) => picture.size(),
            EncoderInput::Samples(samples) => samples.size,
        }
    }

    pub fn layout(&self) -> Layout {
        match self {
            EncoderInput::Picture(_) => Layout::I420,
            EncoderInput::Samples(samples) => samples.format.layout,
        }
    }
}

/// What has become of a picture.
#[derive(Debug, PartialEq, Eq)]
pub enum Put {
    /// Its frame comes later.
    Taken,
    /// The encoder is still busy with others.
    LeftOut,
    /// The encoder cannot take it.
    Refused,
}

/// A frame, or none yet.
#[derive(Debug)]
pub enum Taken {
    Frame(Frame),
    Nothing,
    /// The encoder has failed, and is closed. What it was given is lost.
    Failed,
}

/// The encoder of the board, for the life of the process.
pub struct HardwareEncoder {
    wish: EncoderWish,
    frames_per_second: u32,
    quality: Quality,
    /// For the frames that come.
    registry: Option<Arc<Registry>>,
    /// `None` until it was looked for.
    device: Option<Option<EncoderDevice>>,
    encoder: Option<M2mEncoder>,
    began: Option<Instant>,
    has_worked: bool,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

impl HardwareEncoder {
    /// An encoder that is looked for when it is first needed.
    pub fn new(wish: EncoderWish, frames_per_second: u32, quality: Quality) -> HardwareEncoder {
        HardwareEncoder {
            wish,
            frames_per_second,
            quality,
            registry: None,
            device: None,
            encoder: None,
            began: None,
            has_worked: false,
            backoff: Backoff::new(&PAUSES, GOOD_AFTER),
            retry_at: None,
        }
    }

    /// The same, closed, after a panic in it.
    pub fn renewed(&self) -> HardwareEncoder {
        let wish = self.wish.clone();
        HardwareEncoder {
            registry: self.registry.clone(),
            // It has not deserved a second chance.
            device: Some(None),
            ..HardwareEncoder::new(wish, self.frames_per_second, self.quality)
        }
    }

    /// Frames that have come make an event in the poll of this registry.
    pub fn set_registry(&mut self, registry: Arc<Registry>) {
        self.registry = Some(registry);
    }

    /// Whether the encoder takes pictures of this layout as they are.
    pub fn takes(&mut self, layout: Layout, now: Instant) -> bool {
        self.device(now).is_some_and(|device| device.layouts.contains(&layout))
    }

    /// Has a picture encoded.
    pub fn put(&mut self, input: EncoderInput, captured: Instant, now: Instant) -> Put {
        if self.encoder.as_ref().is_some_and(|it| it.has_waited_since(now, STALLS_AFTER)) {
            self.fail(now, &io::Error::other("it gives no frame"));
            return Put::Refused;
        }
        let fits = |it: &M2mEncoder| (it.size(), it.layout()) == (input.size(), input.layout());
        if !self.encoder.as_ref().is_some_and(fits) && !self.open(input, now) {
            return Put::Refused;
        }
        let Some(encoder) = &mut self.encoder else { return Put::Refused };
        match encoder.put(input, captured, now) {
            Ok(true) => Put::Taken,
            Ok(false) => Put::LeftOut,
            Err(error) => {
                self.fail(now, &error);
                Put::Refused
            }
        }
    }

    /// The next frame.
    pub fn take(&mut self, now: Instant) -> Taken {
        let Some(encoder) = &mut self.encoder else { return Taken::Nothing };
        match encoder.take() {
            Ok(Some(frame)) => {
                self.has_worked = true;
                Taken::Frame(frame)
            }
            Ok(None) => Taken::Nothing,
            Err(error) => {
                self.fail(now, &error);
                Taken::Failed
            }
        }
    }

    /// The name of the encoder, if it is in use.
    pub fn name(&self) -> Option<Foreign> {
        let device = self.device.as_ref()?.as_ref();
        let name = device.filter(|_| self.encoder.is_some())?.name.clone();
        name.or_else(|| Foreign::new("hardware", usize::MAX))
    }

    /// Makes one of the next frames a key frame.
    pub fn force_keyframe(&mut self) {
        if let Some(encoder) = &mut self.encoder {
            encoder.force_keyframe();
        }
    }

    fn device(&mut self, now: Instant) -> Option<&EncoderDevice> {
        if self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let device = self.device.get_or_insert_with(|| {
            let device = find(&self.wish);
            if let (None, EncoderWish::Device(path)) = (&device, &self.wish) {
                let path = path.display();
                log::warn!("{path} is no encoder that can be used: H.264 is encoded by openh264");
            }
            device
        });
        device.as_ref()
    }

    /// Opens the encoder for pictures such as this one. Returns whether it is open.
    fn open(&mut self, input: EncoderInput, now: Instant) -> bool {
        self.encoder = None;
        let (frames_per_second, quality) = (self.frames_per_second, self.quality);
        let Some(device) = self.device(now).filter(|it| it.layouts.contains(&input.layout()))
        else {
            return false;
        };
        let device = device.clone();
        let opened =
            M2mEncoder::open(&device, input.size(), input.layout(), frames_per_second, quality);
        let opened = opened.and_then(|encoder| {
            if let Some(registry) = &self.registry {
                encoder.register(registry)?;
            }
            Ok(encoder)
        });
        match opened {
            Ok(encoder) => {
                let name = device.name.map_or(String::new(), |name| format!(" {name}"));
                log::info!("H.264 is encoded by the encoder{name} at {}", device.path.display());
                (self.encoder, self.began) = (Some(encoder), Some(now));
                true
            }
            Err(error) => {
                self.fail(now, &error);
                false
            }
        }
    }

    fn fail(&mut self, now: Instant, error: &io::Error) {
        self.encoder = None;
        let good_for = self.began.take().map_or(Duration::ZERO, |began| now - began);
        if !self.has_worked {
            self.device = Some(None);
            log::warn!(
                "the hardware encoder does not work ({error}): H.264 is encoded by openh264"
            );
            return;
        }
        let pause = self.backoff.pause_after(good_for);
        self.retry_at = Some(now + pause);
        log::warn!(
            "the hardware encoder has failed ({error}): H.264 is encoded by openh264 for {} s",
            pause.as_secs()
        );
    }
}
