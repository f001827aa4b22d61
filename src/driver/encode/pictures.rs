//! Carries out the core's requests for pictures, and reports the results one at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use std::vec;

use mio::Registry;

use super::{ContainedEncoder, EncodePictures, Encoded, PictureError};
use crate::driver::errors::Warnings;
use crate::media::{Codec, Damage, EncoderName, SnapshotError, SourcePicture};
use crate::server::Input;

/// The log line of a picture that cannot be decoded or encoded.
const SKIPPED: &str = "skipping a picture";

/// The encoder, and the request that it works on.
///
/// After each request, the caller takes [facts](Pictures::next_fact) until there is none. The next frame is
/// encoded only then, so the caller sends each frame before the next one is encoded.
pub struct Pictures<S> {
    encoder: ContainedEncoder<S>,
    warnings: Warnings,
    facts: VecDeque<Input<'static>>,
    /// The encoder of H.264 that the core was told of.
    encoder_name: Option<EncoderName>,
    encoding: Option<Encoding>,
}

/// What is left of a request for frames.
struct Encoding {
    /// Start of the request; its first frame accounts for everything since.
    begun: Option<Instant>,
    codecs: vec::IntoIter<Codec>,
    report: Report,
}

/// Which outcomes of a request are reported.
#[derive(Clone, Copy)]
enum Report {
    /// Of a capture: a failure before the first frame.
    Capture { any_frame: bool },
    /// Of a picture of the source: success and failure, if the core wants them.
    Source { is_reported: bool },
}

impl<S: EncodePictures> Pictures<S> {
    pub fn new(encoder: S) -> Pictures<S> {
        Pictures {
            encoder: ContainedEncoder::new(encoder),
            warnings: Warnings::default(),
            facts: VecDeque::new(),
            encoder_name: None,
            encoding: None,
        }
    }

    /// Captures a picture, to be encoded with each of these codecs.
    pub fn capture(&mut self, codecs: Vec<Codec>) {
        let begun = Instant::now();
        let report = Report::Capture { any_frame: false };
        match self.encoder.capture(begun, SystemTime::now()) {
            Ok(()) => self.encode(begun, codecs, report),
            Err(error) => self.capture_failed(&error, false),
        }
    }

    /// Takes a picture of the source, to be encoded with each of these codecs. A damaged one is dropped.
    pub fn show(
        &mut self,
        picture: SourcePicture,
        captured: Instant,
        codecs: Vec<Codec>,
        is_reported: bool,
    ) {
        let begun = Instant::now();
        match self.encoder.show(picture, captured) {
            Ok(()) if codecs.is_empty() => {}
            Ok(()) => self.encode(begun, codecs, Report::Source { is_reported }),
            Err(error) => self.damaged(error, is_reported),
        }
    }

    /// Makes a JPEG file of the newest picture. If that one is damaged, reports it, and uses the one before.
    pub fn snapshot(&mut self, width: Option<usize>) {
        let begun = Instant::now();
        let mut made = self.encoder.snapshot(width);
        if let Err(SnapshotError::Damaged(damage)) = made {
            self.damaged(PictureError::new(damage, damage), true);
            made = self.encoder.snapshot(width);
        }
        self.facts.push_back(Input::Snapshot { width, made, cost: begun.elapsed() });
    }

    /// Frames that come later make an event in the poll of this registry.
    pub fn set_registry(&mut self, registry: Arc<Registry>) {
        self.encoder.set_registry(registry);
    }

    /// Takes the frames that have come.
    pub fn take_frames(&mut self) {
        while let Some(frame) = self.encoder.take() {
            self.facts.push_back(Input::Frame(frame));
        }
        self.name_encoder();
    }

    /// Tells of another encoder of H.264.
    fn name_encoder(&mut self) {
        let name = self.encoder.encoder_name();
        if name.is_some() && name != self.encoder_name {
            self.encoder_name.clone_from(&name);
            self.facts.extend(name.map(Input::EncoderChanged));
        }
    }

    pub fn force_keyframe(&mut self, codec: Codec) {
        self.encoder.force_keyframe(codec);
    }

    /// The next result of the request, if there is any.
    pub fn next_fact(&mut self) -> Option<Input<'static>> {
        if let Some(fact) = self.facts.pop_front() {
            return Some(fact);
        }
        let encoding = self.encoding.as_mut()?;
        let Some(codec) = encoding.codecs.next() else {
            let is_shown = matches!(encoding.report, Report::Source { is_reported: true });
            self.encoding = None;
            self.facts.extend(is_shown.then_some(Input::PictureShown));
            self.name_encoder();
            return self.facts.pop_front();
        };
        let begun = encoding.begun.take().unwrap_or_else(Instant::now);
        match self.encoder.encode(codec) {
            Ok(encoded) => {
                if let Report::Capture { any_frame } = &mut encoding.report {
                    *any_frame = true;
                }
                return match encoded {
                    Encoded::Frame(mut frame) => {
                        frame.cost = begun.elapsed();
                        Some(Input::Frame(frame))
                    }
                    Encoded::Later => self.next_fact(),
                    Encoded::LeftOut => Some(Input::PictureLeftOut),
                };
            }
            Err(error) => match self.encoding.take()?.report {
                Report::Capture { any_frame } => {
                    self.capture_failed(&io::Error::other(error), any_frame);
                }
                Report::Source { is_reported } => self.damaged(error, is_reported),
            },
        }
        self.facts.pop_front()
    }

    fn encode(&mut self, begun: Instant, codecs: Vec<Codec>, report: Report) {
        let codecs = codecs.into_iter();
        self.encoding = Some(Encoding { begun: Some(begun), codecs, report });
    }

    fn capture_failed(&mut self, error: &io::Error, any_frame: bool) {
        self.warnings.warn(error, "capture failed");
        if !any_frame {
            self.facts.push_back(Input::CaptureFailed);
        }
    }

    fn damaged(&mut self, error: PictureError, is_reported: bool) {
        let damage: Damage = error.damage;
        self.warnings.warn(&io::Error::other(error), SKIPPED);
        if is_reported {
            self.facts.push_back(Input::PictureDamaged(damage));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::encode::codec::Quality;
    use crate::driver::encode::{PictureEncoder, snapshot};
    use crate::media::{Colour, Jpeg, Picture, Size};

    const SIZE: Size = Size { width: 64, height: 48 };
    const BOTH: [Codec; 2] = [Codec::H264, Codec::Vp8];

    fn pictures(size: Size) -> Pictures<PictureEncoder> {
        Pictures::new(PictureEncoder::new(size, 30, Quality::Constant, false))
    }

    /// The names of all results.
    fn facts(pictures: &mut Pictures<PictureEncoder>) -> Vec<String> {
        let facts = std::iter::from_fn(|| pictures.next_fact());
        let name = |fact: Input| match fact {
            Input::Frame(frame) => format!("{:?}", frame.codec()),
            Input::Snapshot { made, .. } => format!("Snapshot({})", made.is_ok()),
            other => format!("{other:?}"),
        };
        facts.map(name).collect()
    }

    fn jpeg(is_damaged: bool) -> SourcePicture {
        let file = snapshot(Some(&Picture::filled(SIZE, Colour::GREEN)), None).unwrap();
        let data = match is_damaged {
            // Truncated, with an EOI marker.
            true => [&file[..file.len() - 20], &[0xff, 0xd9]].concat(),
            false => file.to_vec(),
        };
        SourcePicture::Jpeg(Jpeg { data, size: SIZE })
    }

    #[test]
    fn a_capture_reports_a_frame_for_each_codec_and_a_failure_if_there_is_none() {
        let mut good = pictures(SIZE);
        good.capture(BOTH.to_vec());
        assert_eq!(facts(&mut good), ["H264", "Vp8", "EncoderChanged(OpenH264)"]);
        good.capture(BOTH.to_vec());
        assert_eq!(facts(&mut good), ["H264", "Vp8"]);
        good.capture(vec![]);
        assert_eq!(facts(&mut good), [""; 0]);
        // Smaller than openh264 encodes.
        let mut small = pictures(Size { width: 14, height: 16 });
        small.capture(BOTH.to_vec());
        assert_eq!(facts(&mut small), ["CaptureFailed"]);
        small.capture(vec![Codec::Vp8, Codec::H264]);
        assert_eq!(facts(&mut small), ["Vp8"]);
    }

    #[test]
    fn the_outcome_of_a_picture_of_the_source_is_reported_if_the_core_wants_it() {
        let mut pictures = pictures(SIZE);
        let mut show = |picture, codecs: &[Codec], is_reported| {
            pictures.show(picture, Instant::now(), codecs.to_vec(), is_reported);
            facts(&mut pictures)
        };
        show(jpeg(false), &BOTH, true);
        assert_eq!(show(jpeg(false), &BOTH, true), ["H264", "Vp8", "PictureShown"]);
        assert_eq!(show(jpeg(false), &BOTH, false), ["H264", "Vp8"]);
        assert_eq!(show(jpeg(false), &[], true), [""; 0]);
        assert_eq!(show(jpeg(true), &BOTH, true), ["PictureDamaged(Decode)"]);
        assert_eq!(show(jpeg(true), &BOTH, false), [""; 0]);
        assert_eq!(show(jpeg(false), &BOTH[..1], true), ["H264", "PictureShown"]);
    }

    #[test]
    fn a_snapshot_of_a_damaged_picture_reports_it_and_shows_the_one_before() {
        let mut pictures = pictures(SIZE);
        pictures.snapshot(None);
        assert_eq!(facts(&mut pictures), ["Snapshot(false)"]);
        for is_damaged in [false, true] {
            pictures.show(jpeg(is_damaged), Instant::now(), vec![], true);
        }
        pictures.snapshot(None);
        assert_eq!(facts(&mut pictures), ["PictureDamaged(Decode)", "Snapshot(true)"]);
    }
}
