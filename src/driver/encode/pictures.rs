//! Carries out the core's requests for pictures, and reports the results one at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use std::vec;

use mio::Registry;

use super::awaited::{Awaited, AwaitedPicture};
use super::{ContainedEncoder, EncodePictures, Encoded, PictureError};
use crate::driver::errors::Warnings;
use crate::media::{Codec, Damage, EncoderName, Frame, SnapshotError, SourcePicture};
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
    /// Of H.264.
    awaited: Awaited<Report>,
}

/// What is left of a request for frames.
struct Encoding {
    /// Start of the request; its first frame accounts for everything since.
    begun: Option<Instant>,
    codecs: vec::IntoIter<Codec>,
    captured: Instant,
    report: Report,
    /// A frame comes later, or does not come.
    is_incomplete: bool,
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
            awaited: Awaited::new(),
        }
    }

    /// Captures a picture, to be encoded with each of these codecs.
    pub fn capture(&mut self, codecs: Vec<Codec>) {
        let begun = Instant::now();
        let report = Report::Capture { any_frame: false };
        match self.encoder.capture(begun, SystemTime::now()) {
            Ok(()) => self.encode(begun, begun, codecs, report),
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
            Ok(()) => self.encode(begun, captured, codecs, Report::Source { is_reported }),
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

    /// When to take frames at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.encoder.due()
    }

    /// Takes the frames that have come, and reports what has become of their pictures.
    pub fn take_frames(&mut self) {
        let mut begun = Instant::now();
        while let Some(taken) = self.encoder.take() {
            match taken {
                Ok(frame) => self.frame_has_come(frame, begun.elapsed()),
                Err(error) => match self.awaited.settle_all().map(|picture| picture.request) {
                    Some(report) => self.encode_failed(error, report),
                    None => self.damaged(error, false),
                },
            }
            begun = Instant::now();
        }
        self.name_encoder();
    }

    fn frame_has_come(&mut self, mut frame: Frame, cost: Duration) {
        let picture = self.awaited.settle(frame.captured);
        frame.cost = cost + picture.as_ref().map_or(Duration::ZERO, |picture| picture.spent);
        self.facts.push_back(Input::Frame(frame));
        let is_shown =
            picture.is_some_and(|it| matches!(it.request, Report::Source { is_reported: true }));
        self.facts.extend(is_shown.then_some(Input::PictureShown));
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
            let is_shown = matches!(encoding.report, Report::Source { is_reported: true })
                && !encoding.is_incomplete;
            self.encoding = None;
            self.facts.extend(is_shown.then_some(Input::PictureShown));
            self.name_encoder();
            return self.facts.pop_front();
        };
        let begun = encoding.begun.take().unwrap_or_else(Instant::now);
        match self.encoder.encode(codec) {
            Ok(encoded) => {
                let before = encoding.report;
                if let Report::Capture { any_frame } = &mut encoding.report {
                    *any_frame = true;
                }
                return match encoded {
                    Encoded::Frame(mut frame) => {
                        frame.cost = begun.elapsed();
                        if codec == Codec::H264 {
                            // Those before it are lost.
                            self.awaited.settle_all();
                        }
                        Some(Input::Frame(frame))
                    }
                    Encoded::Later => {
                        encoding.is_incomplete = true;
                        let (captured, spent) = (encoding.captured, begun.elapsed());
                        self.awaited.push(AwaitedPicture { captured, spent, request: before });
                        self.next_fact()
                    }
                    Encoded::LeftOut => {
                        encoding.is_incomplete = true;
                        Some(Input::PictureLeftOut)
                    }
                };
            }
            Err(error) => {
                let report = self.encoding.take()?.report;
                self.encode_failed(error, report);
            }
        }
        self.facts.pop_front()
    }

    fn encode(&mut self, begun: Instant, captured: Instant, codecs: Vec<Codec>, report: Report) {
        let codecs = codecs.into_iter();
        let is_incomplete = false;
        self.encoding =
            Some(Encoding { begun: Some(begun), codecs, captured, report, is_incomplete });
    }

    fn encode_failed(&mut self, error: PictureError, report: Report) {
        match report {
            Report::Capture { any_frame } => {
                self.capture_failed(&io::Error::other(error), any_frame);
            }
            Report::Source { is_reported } => self.damaged(error, is_reported),
        }
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
    use crate::media::{AccessUnit, Colour, Jpeg, Picture, Size};

    const SIZE: Size = Size { width: 64, height: 48 };
    const BOTH: [Codec; 2] = [Codec::H264, Codec::Vp8];

    fn pictures(size: Size) -> Pictures<PictureEncoder> {
        Pictures::new(PictureEncoder::new(size, 30, Quality::Constant, false))
    }

    /// The names of all results.
    fn facts<S: EncodePictures>(pictures: &mut Pictures<S>) -> Vec<String> {
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
        assert_eq!(facts(&mut good), ["H264", "Vp8", "EncoderChanged(OpenH264(None))"]);
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

    /// What becomes of the pictures of a hardware encoder, in order.
    #[derive(Default)]
    struct Scripted {
        puts: VecDeque<Result<Encoded, PictureError>>,
        taken: VecDeque<Result<Instant, PictureError>>,
    }

    fn frame(captured: Instant) -> Frame {
        Frame::h264(AccessUnit::parse(&[0, 0, 0, 1, 0x65]), captured)
    }

    fn failure() -> PictureError {
        PictureError::new(Damage::Encode(Codec::H264), "scripted")
    }

    impl EncodePictures for Scripted {
        fn renewed(&self) -> Scripted {
            Scripted::default()
        }

        fn capture(&mut self, _: Instant, _: SystemTime) -> io::Result<()> {
            Ok(())
        }

        fn show(&mut self, _: SourcePicture, _: Instant) {
            std::thread::sleep(COST);
        }

        fn encode(&mut self, codec: Codec) -> Result<Encoded, PictureError> {
            match codec {
                Codec::H264 => self.puts.pop_front().expect("it is scripted"),
                Codec::Vp8 => Ok(Encoded::Frame(Frame::vp8(vec![0], Instant::now()))),
            }
        }

        fn take(&mut self) -> Option<Result<Frame, PictureError>> {
            Some(self.taken.pop_front()?.map(frame))
        }

        fn snapshot(&mut self, _: Option<usize>) -> Result<bytes::Bytes, SnapshotError> {
            Err(SnapshotError::NoPicture)
        }

        fn force_keyframe(&mut self, _: Codec) {}
    }

    const COST: Duration = Duration::from_millis(2);

    /// Shows a picture for each outcome. Returns when they were captured, and all results.
    fn put(
        pictures: &mut Pictures<Scripted>,
        puts: Vec<Result<Encoded, PictureError>>,
        codecs: &[Codec],
    ) -> (Vec<Instant>, Vec<String>) {
        let (mut captured, mut told) = (Vec::new(), Vec::new());
        for put in puts {
            pictures.encoder.inner_mut().puts.push_back(put);
            let now = Instant::now();
            let picture = SourcePicture::Picture(Picture::filled(SIZE, Colour::GREEN));
            pictures.show(picture, now, codecs.to_vec(), true);
            told.extend(facts(pictures));
            captured.push(now);
        }
        (captured, told)
    }

    fn take(
        pictures: &mut Pictures<Scripted>,
        taken: Vec<Result<Instant, PictureError>>,
    ) -> Vec<String> {
        pictures.encoder.inner_mut().taken.extend(taken);
        pictures.take_frames();
        facts(pictures)
    }

    #[test]
    fn a_picture_is_shown_when_its_last_frame_has_come_and_not_if_that_is_lost() {
        let mut pictures = Pictures::new(Scripted::default());
        let later = || Ok(Encoded::Later);
        let (captured, told) = put(&mut pictures, vec![later(), later()], &BOTH);
        assert_eq!(told, ["Vp8", "Vp8"]);
        assert_eq!(take(&mut pictures, vec![Ok(captured[0])]), ["H264", "PictureShown"]);
        assert_eq!(take(&mut pictures, vec![]), [""; 0]);
        assert_eq!(take(&mut pictures, vec![Ok(captured[1])]), ["H264", "PictureShown"]);
        // The encoder is busy.
        let (_, told) = put(&mut pictures, vec![Ok(Encoded::LeftOut)], &BOTH);
        assert_eq!(told, ["PictureLeftOut", "Vp8"]);
        // The first one is lost.
        let (captured, _) = put(&mut pictures, vec![later(), later()], &BOTH[..1]);
        assert_eq!(take(&mut pictures, vec![Ok(captured[1])]), ["H264", "PictureShown"]);
        // Both are lost, and the newest cannot be encoded.
        put(&mut pictures, vec![later(), later()], &BOTH[..1]);
        assert_eq!(take(&mut pictures, vec![Err(failure())]), ["PictureDamaged(Encode(H264))"]);
        // Another encoder goes on.
        let frame = Ok(Encoded::Frame(frame(Instant::now())));
        let (captured, told) = put(&mut pictures, vec![later(), frame], &BOTH[..1]);
        assert_eq!(told, ["H264", "PictureShown"]);
        assert_eq!(take(&mut pictures, vec![Ok(captured[0])]), ["H264"]);
    }

    #[test]
    fn a_capture_has_failed_if_its_only_frame_was_to_come_later_and_does_not() {
        let mut pictures = Pictures::new(Scripted::default());
        for (codecs, expected) in
            [(&BOTH[..1], &["CaptureFailed"][..]), (&[Codec::Vp8, Codec::H264], &[])]
        {
            pictures.encoder.inner_mut().puts.push_back(Ok(Encoded::Later));
            pictures.capture(codecs.to_vec());
            facts(&mut pictures);
            assert_eq!(take(&mut pictures, vec![Err(failure())]), expected);
        }
    }

    #[test]
    fn the_cost_of_a_frame_that_comes_later_is_that_of_its_picture_without_the_wait() {
        let mut pictures = Pictures::new(Scripted::default());
        let (captured, _) = put(&mut pictures, vec![Ok(Encoded::Later)], &BOTH[..1]);
        pictures.encoder.inner_mut().taken.push_back(Ok(captured[0]));
        std::thread::sleep(Duration::from_millis(50));
        let waited = captured[0].elapsed();
        pictures.take_frames();
        let Some(Input::Frame(frame)) = pictures.next_fact() else { panic!("no frame") };
        assert!(frame.cost >= COST && frame.cost < waited, "{:?} of {waited:?}", frame.cost);
    }
}
