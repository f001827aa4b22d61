//! What a camera sends, through the parser, the JPEG decoder, the converter, the scaler, the encoders and
//! the JPEG encoder, as the driver has them: in one [`ContainedEncoder`] source.
//!
//! The first byte of the input says what the rest is:
//!
//! - An even one: a stream of MJPEG, yuv4mpeg2, H.264 or whatever it is, each picture and key frame of
//!   which is encoded in H.264 and in VP8 and made a file of.
//! - An odd one: [`Step`]s, in the encoding of `arbitrary`.
//!
//! Its second bit chooses between constant quality and a bitrate.
//!
//! A panic inside of the containment is a finding, too: under libFuzzer at once, and in the replay as the
//! source has been made anew.

use std::time::{Instant, SystemTime};

use arbitrary::{Arbitrary, Unstructured};
use ballcast::testing::driver::encode::{ContainedEncoder, PictureEncoder, jpeg};
use ballcast::testing::driver::encode::{codec::Quality, encoder};
use ballcast::testing::media::SourcePicture;
use ballcast::testing::media::{
    AccessUnit, Codec, Colour, Frame, Jpeg, Layout, Matrix, Picture, PixelFormat, Samples, Size,
    SnapshotError,
};
use ballcast::testing::source::parse::{ParsedItem, Parser, Sps};

use crate::Outcomes;
use crate::jpeg_model::Model;
use crate::memory::memory_of;

const STEPS: u8 = 1;
const BITRATE: u8 = 2;
const BALL: Size = Size { width: 64, height: 64 };
const MAX_STEPS: usize = 24;
/// Of a key frame.
const MAX_EDITS: usize = 12;
/// Pictures of a stream that are looked at.
const MAX_PICTURES: usize = 16;
/// As the parser has them.
const MAX_SCANS: usize = 20;

/// Decoding, encoding and scaling a picture takes at most this much memory of Rust's, in bytes: some, and
/// so many for each byte and each pixel. A progressive one in 4:4:4 has 6 of coefficients, 3 of samples
/// and 1.5 of the picture for each pixel. Small pictures in 4:1:0 are padded to 32 pixels.
const MEMORY_BASE: usize = 1 << 20;
const MEMORY_PER_BYTE: usize = 4;
const MEMORY_PER_PIXEL: usize = 16;

#[derive(Debug, Arbitrary)]
enum Step {
    /// A JPEG from the camera.
    Jpeg(Model),
    /// A picture without a codec, of this half width and height, with noise.
    Picture(u8, u8, u8),
    Capture,
    Encode(bool),
    Snapshot(Option<u8>),
    ForceKeyframe(bool),
    /// A picture in another layout, of this half width and height, with noise.
    Samples(u8, u8, u8, u8),
    /// A key frame of a picture of this half width and height, with noise, and bytes of it that are others.
    Keyframe(u8, u8, u8, Vec<(u16, u8)>),
}

pub fn run(data: &[u8]) -> Outcomes {
    let Some((&first, rest)) = data.split_first() else { return Outcomes::new() };
    let quality = match first & BITRATE {
        0 => Quality::Constant,
        _ => Quality::Bitrate(500_000),
    };
    let mut camera = Camera {
        source: ContainedEncoder::new(PictureEncoder::new(BALL, 30, quality, false)),
        shown: None,
        outcomes: Outcomes::new(),
    };
    if first & STEPS == 0 {
        camera.play(rest);
    } else {
        let mut bytes = Unstructured::new(rest);
        for _ in 0..MAX_STEPS {
            let Ok(step) = Step::arbitrary(&mut bytes) else { break };
            camera.take(step);
            if bytes.is_empty() {
                break;
            }
        }
    }
    camera.check_goes_on();
    camera.outcomes
}

struct Camera {
    source: ContainedEncoder<PictureEncoder>,
    /// The picture that was shown last.
    shown: Option<Shown>,
    outcomes: Outcomes,
}

struct Shown {
    size: Size,
    /// Of its file.
    bytes: usize,
    /// The file, if the camera has sent one.
    file: Option<Vec<u8>>,
}

impl Camera {
    /// Shows each picture of a stream, in every way there is.
    fn play(&mut self, stream: &[u8]) {
        for item in items(stream).into_iter().take(MAX_PICTURES) {
            match item {
                ParsedItem::Jpeg(jpeg) => self.show_jpeg(jpeg),
                ParsedItem::Picture(picture) => self.show_picture(picture),
                ParsedItem::Samples(samples) => self.show_samples(samples),
                ParsedItem::AccessUnit(unit) if unit.is_keyframe() => self.show_keyframe(unit),
                ParsedItem::AccessUnit(_) => continue,
            }
            let width = self.shown.as_ref().map_or(16, |shown| shown.size.width);
            self.encode(Codec::H264);
            self.snapshot(None);
            self.snapshot(Some(width.div_ceil(4) * 2));
            self.encode(Codec::Vp8);
        }
    }

    fn take(&mut self, step: Step) {
        let codec = |is_vp8| if is_vp8 { Codec::Vp8 } else { Codec::H264 };
        match step {
            Step::Jpeg(model) => {
                for item in items(&model.file()) {
                    if let ParsedItem::Jpeg(jpeg) = item {
                        self.show_jpeg(jpeg);
                    }
                }
            }
            Step::Picture(width, height, noise) => {
                let mut picture = Picture::filled(size_of(width, height), Colour::GREEN);
                let mut random = fastrand::Rng::with_seed(u64::from(noise));
                for plane in [&mut picture.y, &mut picture.u, &mut picture.v] {
                    plane.samples.iter_mut().for_each(|sample| *sample ^= random.u8(..=noise));
                }
                self.show_picture(picture);
            }
            Step::Keyframe(width, height, noise, edits) => {
                let mut picture = Picture::filled(size_of(width, height.max(7)), Colour::GREEN);
                let mut random = fastrand::Rng::with_seed(u64::from(noise));
                picture.y.samples.iter_mut().for_each(|sample| *sample ^= random.u8(..=noise));
                let encoder = encoder(Codec::H264, 30, Quality::Constant);
                let frame = encoder.and_then(|mut it| it.encode(&picture, Instant::now()));
                let Ok(frame) = frame else { return };
                let mut bytes = frame.data().to_vec();
                for (position, byte) in edits.into_iter().take(MAX_EDITS) {
                    let position = usize::from(position) % bytes.len();
                    bytes[position] = byte;
                }
                for item in items(&bytes) {
                    if let ParsedItem::AccessUnit(unit) = item
                        && unit.is_keyframe()
                    {
                        self.show_keyframe(unit);
                    }
                }
            }
            Step::Samples(format, width, height, noise) => {
                let layout = Layout::ALL[usize::from(format) % Layout::ALL.len()];
                let matrix = if format & 0x80 == 0 { Matrix::Bt601 } else { Matrix::Bt709 };
                let full_range = format & 0x40 != 0;
                let size = size_of(width, height);
                let mut random = fastrand::Rng::with_seed(u64::from(noise));
                let planes = layout.plane_bytes(size);
                let planes = planes.map(|bytes| (0..bytes).map(|_| random.u8(..)).collect());
                let format = PixelFormat { layout, matrix, full_range };
                self.show_samples(Samples { size, format, planes });
            }
            Step::Capture => {
                let captured = self.source.capture(Instant::now(), SystemTime::now());
                captured.expect("the ball is always there");
                self.shown = Some(Shown { size: BALL, bytes: 0, file: None });
                self.note("captured");
            }
            Step::Encode(is_vp8) => self.encode(codec(is_vp8)),
            Step::Snapshot(half) => self.snapshot(half.map(|half| 2 * (1 + usize::from(half)))),
            Step::ForceKeyframe(is_vp8) => self.source.force_keyframe(codec(is_vp8)),
        }
        self.check_no_panic();
    }

    fn show_jpeg(&mut self, jpeg: Jpeg) {
        assert!(scans(&jpeg.data) <= MAX_SCANS, "more scans than there may be");
        let Jpeg { data, size } = jpeg;
        self.shown = Some(Shown { size, bytes: data.len(), file: Some(data.clone()) });
        self.source
            .show(SourcePicture::Jpeg(Jpeg { data, size }), Instant::now())
            .expect("no panic");
        self.note("JPEG");
    }

    fn show_picture(&mut self, picture: Picture) {
        self.shown = Some(Shown { size: picture.size(), bytes: 0, file: None });
        self.source.show(SourcePicture::Picture(picture), Instant::now()).expect("no panic");
        self.note("picture");
    }

    fn show_samples(&mut self, samples: Samples) {
        let bytes = samples.planes.iter().map(Vec::len).sum();
        self.shown = Some(Shown { size: samples.size, bytes, file: None });
        self.source.show(SourcePicture::Samples(samples), Instant::now()).expect("no panic");
        self.note("samples");
    }

    fn show_keyframe(&mut self, keyframe: AccessUnit) {
        let sps = keyframe.nal_units().find(|unit| unit[0] & 0x1f == 7).and_then(Sps::parse);
        let size = sps.expect("parameter sets").check().expect("a size that is shown");
        self.shown = Some(Shown { size, bytes: keyframe.data().len(), file: None });
        let frame = SourcePicture::Keyframe(Frame::h264(keyframe, Instant::now()));
        self.source.show(frame, Instant::now()).expect("no panic");
        self.note("key frame to decode");
    }

    fn encode(&mut self, codec: Codec) {
        let encoded = self.within_limits(|source| source.encode(codec));
        match encoded {
            Ok(encoded) => {
                let frame = encoded.frame().expect("it is encoded by software");
                assert!(!frame.is_empty() && frame.codec() == codec);
                self.note(&format!("encoded {codec:?}"));
                if frame.is_keyframe() {
                    self.note("key frame");
                }
            }
            Err(error) => {
                let text = error.to_string();
                assert!(!text.starts_with("panic"), "{text}");
                self.note(if text.starts_with("JPEG") { "not decoded" } else { "not encoded" });
            }
        }
    }

    fn snapshot(&mut self, width: Option<usize>) {
        let made = self.within_limits(|source| source.snapshot(width));
        match made {
            Ok(file) => {
                let own = self.shown.as_ref().and_then(|shown| shown.file.as_ref());
                if own.is_some_and(|own| own[..] == file[..]) {
                    return self.note("file of the camera");
                }
                let picture = jpeg::decode(&file).expect("a file of our own");
                let size = self.shown.as_ref().map_or(BALL, |shown| shown.size);
                assert_eq!(picture.size().width, width.unwrap_or(size.width).min(size.width));
                self.note("file");
            }
            Err(error) => {
                let name = match error {
                    SnapshotError::TooWide { .. } => "file too wide",
                    SnapshotError::Damaged(_) => "no file of a damaged picture",
                    SnapshotError::NoPicture => "no picture",
                    SnapshotError::NoPictures => panic!("there are pictures"),
                };
                self.note(name);
            }
        }
    }

    /// Does something with the picture, in the memory that it may take.
    fn within_limits<T>(
        &mut self,
        act: impl FnOnce(&mut ContainedEncoder<PictureEncoder>) -> T,
    ) -> T {
        let (memory, result) = memory_of(|| act(&mut self.source));
        let (pixels, bytes) = self
            .shown
            .as_ref()
            .map_or((0, 0), |shown| (shown.size.width * shown.size.height, shown.bytes));
        let limit = MEMORY_BASE + MEMORY_PER_BYTE * bytes + MEMORY_PER_PIXEL * pixels;
        assert!(memory.peak <= limit as isize, "{memory:?} for {bytes} bytes, {pixels} pixels");
        assert!(
            memory.taken <= 4 * limit as isize,
            "{memory:?} for {bytes} bytes, {pixels} pixels"
        );
        self.check_no_panic();
        result
    }

    /// After whatever has come, a good picture is a key frame, and a file.
    fn check_goes_on(&mut self) {
        let size = Size { width: 64, height: 48 };
        for colour in [Colour::BLACK, Colour::GREEN] {
            for codec in Codec::ALL {
                let picture = SourcePicture::Picture(Picture::filled(size, colour));
                self.source.show(picture, Instant::now()).expect("no panic");
                self.source.force_keyframe(codec);
                let encoded = self.source.encode(codec).expect("a good picture");
                assert!(encoded.frame().expect("it is encoded by software").is_keyframe());
            }
        }
        self.source.snapshot(Some(32)).expect("a good picture");
        self.check_no_panic();
    }

    fn check_no_panic(&self) {
        assert_eq!(self.source.renewals(), 0, "a panic in the containment");
    }

    fn note(&mut self, outcome: &str) {
        self.outcomes.insert(outcome.to_owned());
    }
}

/// Of at most 128 pixels a side.
fn size_of(half_width: u8, half_height: u8) -> Size {
    let side = |half: u8| 2 * (1 + usize::from(half) % 64);
    Size { width: side(half_width), height: side(half_height) }
}

/// The pictures of a stream, as far as it can be read.
fn items(stream: &[u8]) -> Vec<ParsedItem> {
    let mut parser = Parser::new();
    let pushed = parser.push(stream);
    let _ = pushed.and_then(|()| parser.finish());
    std::iter::from_fn(|| parser.poll()).collect()
}

/// The scans of a JPEG, from SOI to EOI, of whole segments.
fn scans(file: &[u8]) -> usize {
    let mut scans = 0;
    let mut rest = &file[2..];
    while let [0xff, code, high, low, ..] = *rest
        && code != 0xd9
    {
        scans += usize::from(code == 0xda);
        rest = &rest[2 + usize::from(u16::from_be_bytes([high, low]))..];
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7);
        rest = &rest[rest.windows(2).position(is_marker).unwrap_or(rest.len())..];
    }
    scans
}
