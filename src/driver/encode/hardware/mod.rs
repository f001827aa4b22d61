//! The H.264 encoder of the board, if it has one: a stateful memory-to-memory device of V4L2.
//!
//! It takes a picture now and gives the frame later. Whatever goes wrong with it, openh264 takes over with the next
//! picture; the encoder is tried again after a pause, unless it never gave a frame.

mod error;
mod find;
mod level;
mod m2m;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Registry;

use self::error::{EncoderError, contained};
use self::find::{EncoderDevice, find};
use self::m2m::M2mEncoder;
use super::codec::Quality;
use crate::backoff::Backoff;
use crate::foreign::Foreign;
use crate::media::{Frame, HardwareFault, Layout, Matrix, Picture, Samples, Size};

/// A frame that takes longer from its picture does not come.
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
    /// Why it is not in use.
    fault: Option<HardwareFault>,
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
            fault: None,
        }
    }

    /// The same, closed, after a panic of a decoder or another encoder: its own panics are contained here.
    pub fn renewed(&self) -> HardwareEncoder {
        HardwareEncoder {
            registry: self.registry.clone(),
            device: self.device.clone(),
            has_worked: self.has_worked,
            backoff: self.backoff.clone(),
            retry_at: self.retry_at,
            fault: self.fault,
            ..HardwareEncoder::new(self.wish.clone(), self.frames_per_second, self.quality)
        }
    }

    /// Frames that have come make an event in the poll of this registry.
    pub fn set_registry(&mut self, registry: Arc<Registry>) {
        self.registry = Some(registry);
    }

    /// Tells how many pictures come in a second.
    pub fn set_rate(&mut self, frames_per_second: u32) {
        self.frames_per_second = frames_per_second;
        if let Some(encoder) = &self.encoder {
            encoder.set_rate(frames_per_second);
        }
    }

    /// Whether the encoder takes pictures of this layout as they are.
    pub fn takes(&mut self, layout: Layout, now: Instant) -> bool {
        self.device(now).is_some_and(|device| device.layouts.contains(&layout))
    }

    /// Has a picture encoded.
    pub fn put(&mut self, input: EncoderInput, captured: Instant, now: Instant) -> Put {
        let fits = |it: &M2mEncoder| (it.size(), it.layout()) == (input.size(), input.layout());
        if !self.encoder.as_ref().is_some_and(fits) && !self.open(input, now) {
            return Put::Refused;
        }
        let Some(encoder) = &mut self.encoder else { return Put::Refused };
        match contained(|| encoder.put(input, captured, now)) {
            Ok(true) => Put::Taken,
            Ok(false) => Put::LeftOut,
            Err(error) => {
                self.fail(now, &error);
                Put::Refused
            }
        }
    }

    /// When the encoder fails unless a frame is taken before.
    pub fn due(&self) -> Option<Instant> {
        Some(self.encoder.as_ref()?.waits_since()? + STALLS_AFTER)
    }

    /// The next frame.
    pub fn take(&mut self, now: Instant) -> Taken {
        let Some(encoder) = &mut self.encoder else { return Taken::Nothing };
        let taken = contained(|| encoder.take());
        let ignores_requests = encoder.ignores_requests();
        match taken {
            Ok(Some(frame)) => {
                (self.has_worked, self.fault) = (true, None);
                if ignores_requests {
                    self.close_for_keyframe();
                }
                Taken::Frame(frame)
            }
            Ok(None) if self.due().is_some_and(|at| at <= now) => {
                self.fail(now, &EncoderError::new(HardwareFault::Stalls, "it gives no frame"));
                Taken::Failed
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

    /// Why the encoder is not in use, if it is wanted.
    pub fn fault(&self) -> Option<HardwareFault> {
        self.fault
    }

    /// Makes one of the next frames a key frame.
    pub fn force_keyframe(&mut self) {
        let Some(encoder) = &mut self.encoder else { return };
        if contained(|| Ok(encoder.force_keyframe()?)).is_err() {
            self.close_for_keyframe();
        }
    }

    /// An encoder that makes no key frame on request begins with one: it is opened again for the next picture.
    fn close_for_keyframe(&mut self) {
        log::debug!("the encoder makes no key frame on request, and is opened again");
        self.encoder = None;
    }

    fn device(&mut self, now: Instant) -> Option<&EncoderDevice> {
        if self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let device = self.device.get_or_insert_with(|| {
            let found = contained(|| Ok(find(&self.wish)));
            let device = found.unwrap_or_default();
            let is_wanted = self.wish != EncoderWish::Software;
            self.fault = (device.is_none() && is_wanted).then_some(HardwareFault::Absent);
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
        let registry = &self.registry;
        let opened = contained(|| {
            let (size, layout) = (input.size(), input.layout());
            let encoder = M2mEncoder::open(&device, size, layout, frames_per_second, quality)?;
            if let Some(registry) = registry {
                encoder.register(registry)?;
            }
            Ok(encoder)
        });
        match opened {
            Ok(encoder) => {
                self.encoder = Some(encoder);
                if self.began.is_none() {
                    self.began = Some(now);
                    let name = device.name.map_or(String::new(), |name| format!(" {name}"));
                    let path = device.path.display();
                    log::info!("H.264 is encoded by the encoder{name} at {path}");
                }
                true
            }
            Err(error) => {
                let fault = match error.fault {
                    HardwareFault::Panic => HardwareFault::Panic,
                    _ => HardwareFault::Refuses,
                };
                self.fail(now, &EncoderError::new(fault, error));
                false
            }
        }
    }

    fn fail(&mut self, now: Instant, error: &EncoderError) {
        (self.encoder, self.fault) = (None, Some(error.fault));
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

#[cfg(test)]
mod tests {
    use super::find::device_at;
    use super::*;
    use crate::media::{Colour, PixelFormat};

    const SIZE: Size = Size { width: 64, height: 64 };

    fn encoder_at(path: &str) -> HardwareEncoder {
        let wish = EncoderWish::Device(path.into());
        let encoder = HardwareEncoder::new(wish, 30, Quality::Constant);
        HardwareEncoder { device: Some(Some(device_at(path))), ..encoder }
    }

    fn put(encoder: &mut HardwareEncoder, now: Instant) -> Put {
        let picture = Picture::filled(SIZE, Colour::GREEN);
        encoder.put(EncoderInput::Picture(&picture), now, now)
    }

    #[test]
    fn the_panic_of_a_decoder_is_no_fault_of_the_encoder() {
        let now = Instant::now();
        let mut encoder = encoder_at("/dev/null").renewed();
        assert!(encoder.takes(Layout::I420, now));
        // And no second chance either.
        encoder.has_worked = true;
        assert_eq!(put(&mut encoder, now), Put::Refused);
        let mut encoder = encoder.renewed();
        assert_eq!(encoder.fault(), Some(HardwareFault::Refuses));
        assert!(!encoder.takes(Layout::I420, now));
        assert!(encoder.takes(Layout::I420, now + Duration::from_secs(30)));
    }

    #[test]
    fn an_encoder_that_fails_is_tried_again_after_pauses_that_grow_if_it_has_worked() {
        let mut now = Instant::now();
        let mut encoder = encoder_at("/dev/null");
        encoder.has_worked = true;
        for seconds in [30, 60, 120, 300, 600, 600] {
            assert_eq!(put(&mut encoder, now), Put::Refused);
            now += Duration::from_secs(seconds) - Duration::from_millis(1);
            assert!(!encoder.takes(Layout::I420, now), "{seconds}");
            now += Duration::from_millis(1);
            assert!(encoder.takes(Layout::I420, now), "{seconds}");
        }
        let mut encoder = encoder_at("/dev/null");
        assert_eq!(put(&mut encoder, now), Put::Refused);
        assert!(!encoder.takes(Layout::I420, now + Duration::from_secs(3_600)));
    }

    #[test]
    fn why_there_is_no_encoder_is_told_if_one_is_wanted() {
        let now = Instant::now();
        for (wish, fault) in [
            (EncoderWish::Software, None),
            (EncoderWish::Device("/dev/null".into()), Some(HardwareFault::Absent)),
        ] {
            let mut encoder = HardwareEncoder::new(wish, 30, Quality::Constant);
            assert!(!encoder.takes(Layout::I420, now));
            assert_eq!(encoder.fault(), fault);
        }
    }

    #[test]
    fn samples_are_put_in_as_they_are_if_no_colour_changes() {
        let plain = PixelFormat { layout: Layout::Yuyv, matrix: Matrix::Bt601, full_range: false };
        let takes = |format| {
            let samples = Samples { size: SIZE, format, planes: Default::default() };
            EncoderInput::of_samples(&samples).is_some()
        };
        assert!(takes(plain));
        assert!(takes(PixelFormat { layout: Layout::Nv12, ..plain }));
        assert!(!takes(PixelFormat { layout: Layout::Rgb24, ..plain }));
        assert!(!takes(PixelFormat { matrix: Matrix::Bt709, ..plain }));
        assert!(!takes(PixelFormat { full_range: true, ..plain }));
    }
}
