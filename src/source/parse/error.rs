//! Why a stream cannot be shown.

use std::fmt;

use super::StreamFormat;
use crate::foreign::Foreign;

/// The most characters that are shown of a stream.
const WORDS_MAX_CHARS: usize = 100;

/// Why a stream cannot be shown. Displays as a sentence for the person who wrote the command that makes the
/// stream, with the option that fixes it. It contains only our own words and numbers, as everybody may read
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamError {
    /// Audio only, in the format of this name.
    Sound(&'static str),
    /// A container or codec of this name.
    Container(&'static str),
    /// MJPEG over HTTP, with a header before each JPEG.
    Multipart,
    /// None of the formats. With the first bytes.
    UnknownFormat(Vec<u8>),
    /// Text without video after it. With its first line.
    Text(Vec<u8>),
    /// The stream ended before its first byte.
    Empty,
    /// H.264 with B slices.
    BFrames,
    /// Interlaced video.
    Interlaced,
    /// Samples other than 8-bit 4:2:0: their description.
    PixelFormat(&'static str),
    /// A profile of H.264: its profile_idc.
    Profile(u8),
    /// No pixels, or more than are encoded and decoded.
    Size(u64, u64),
    /// A side is too short for the encoder.
    TooSmall(u64, u64),
    /// Width or height is odd.
    OddSize(u64, u64),
    /// JPEGs with this unsupported feature.
    Jpeg(&'static str),
    /// The stream was declared as raw pictures, but starts with the header of this format.
    NotRaw(StreamFormat),
    /// An invalid header of yuv4mpeg2: what is wrong with it.
    Header(&'static str),
    /// No picture can be shown yet. No parser returns this; callers use it after they have waited long
    /// enough for [`Parser::lacks`](super::Parser::lacks).
    Lacks(Lack),
    /// The parser has panicked, which is a bug of ours.
    Panicked,
}

/// What is missing before the next picture can be shown. Displays as a sentence with the option that fixes
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// An SPS and a PPS.
    ParameterSets,
    /// A key frame (IDR picture). The pictures that have come refer to an earlier one.
    KeyFrame,
    /// An intact key frame. The last one was damaged.
    IntactKeyFrame,
    /// A key frame of at most [`ACCESS_UNIT_MAX_BYTES`](super::ACCESS_UNIT_MAX_BYTES). The last one was
    /// larger.
    SmallerKeyFrame,
    /// Any picture. Only other NAL units have come.
    Picture,
    /// A known format.
    Format {
        /// The stream starts with text.
        after_text: bool,
    },
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::NotRaw(format) => write!(
                f,
                "The stream is {}, but --raw is for pictures without headers: remove --raw, or write \
                 such pictures: rpicam-vid --codec yuv420, ffmpeg -pix_fmt yuv420p -f rawvideo.",
                format.name()
            ),
            StreamError::Sound(name) => {
                write!(f, "The stream is {name}, which is sound without pictures.")
            }
            StreamError::Container(name) => write!(
                f,
                "The stream is {name}, which Ballcast cannot read. Extract the pictures: ffmpeg -i … \
                 -pix_fmt yuv420p -f yuv4mpegpipe - (with -re before the -i of a film; -c:v copy \
                 -bsf:v dump_extra=freq=keyframe -f h264 - if it is H.264 without B-frames already), \
                 or rpicam-vid --libav-format h264."
            ),
            StreamError::Multipart => f.write_str(
                "The stream is multipart, as web cameras send MJPEG over HTTP. Extract the JPEGs: \
                 ffmpeg -f mpjpeg -i … -c:v copy -f mjpeg -.",
            ),
            StreamError::UnknownFormat(_) => Lack::Format { after_text: false }.fmt(f),
            StreamError::Text(_) => Lack::Format { after_text: true }.fmt(f),
            StreamError::Empty => f.write_str(
                "The stream ended before its first picture. Run the command that makes it on its \
                 own, and see what it says.",
            ),
            StreamError::BFrames => f.write_str(
                "The H.264 has B-frames, which browsers do not reorder. Turn them off: rpicam-vid \
                 --low-latency, or ffmpeg -bf 0.",
            ),
            StreamError::Interlaced => f.write_str(
                "The video is interlaced, which browsers do not show. Make it progressive: ffmpeg \
                 -vf yadif (with libx264, no -flags +ildct).",
            ),
            StreamError::PixelFormat(what) => write!(
                f,
                "The video is {what}, but browsers decode only 4:2:0 with 8 bits: ffmpeg -pix_fmt \
                 yuv420p."
            ),
            StreamError::Profile(profile) => write!(
                f,
                "The H.264 has profile {profile}, but browsers decode only baseline (66), main (77) and \
                 high (100): ffmpeg -profile:v baseline, or rpicam-vid --profile baseline."
            ),
            StreamError::Size(width, height) => write!(
                f,
                "The video is {width}x{height}, but the limit is 3840x2160 or 2160x3840: ffmpeg \
                 -vf scale=1920:-2, or rpicam-vid --width 1920 --height 1080."
            ),
            StreamError::TooSmall(width, height) => write!(
                f,
                "The video is {width}x{height}, but the smallest supported size is 16x16: ffmpeg \
                 -vf scale=64:-2, or -vf pad=64:64."
            ),
            StreamError::OddSize(width, height) => write!(
                f,
                "The video is {width}x{height}, but width and height must be even: ffmpeg -vf \
                 scale={}:{}, or rpicam-vid --width and --height.",
                width & !1,
                height & !1
            ),
            StreamError::Lacks(lack) => lack.fmt(f),
            StreamError::Panicked => f.write_str(
                "Ballcast failed to read the stream, which is a bug: please report it with the \
                 command that makes the stream.",
            ),
            StreamError::Jpeg(what) => write!(
                f,
                "The JPEGs have {what}, but only YCbCr, RGB and grey with Huffman coding, 8 bits and \
                 4:2:0, 4:2:2 or 4:4:4 are supported: ffmpeg … -c:v mjpeg -pix_fmt yuvj420p -f mjpeg -."
            ),
            StreamError::Header(what) => write!(
                f,
                "The yuv4mpeg2 stream is damaged: {what}. Make sure that nothing else writes to \
                 it: ffmpeg … -pix_fmt yuv420p -f yuv4mpegpipe - keeps its messages on stderr."
            ),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lack::ParameterSets => {
                "The H.264 has no SPS and PPS, without which no picture can be decoded. Let the \
                 encoder repeat them: rpicam-vid --inline, or ffmpeg -bsf:v dump_extra."
            }
            Lack::KeyFrame => {
                "The H.264 has no key frame (IDR picture), with which a viewer has to start. Make \
                 one every second: ffmpeg -g 30 (without intra-refresh), or rpicam-vid --intra 30."
            }
            Lack::IntactKeyFrame => {
                "The last key frame of the H.264 is damaged, and nothing can be shown until the \
                 next one. Make sure that nothing else writes to the stream, and make more key \
                 frames: ffmpeg -g 30, or rpicam-vid --intra 30."
            }
            Lack::SmallerKeyFrame => {
                "The key frames of the H.264 are larger than 4 MiB, which is too large. Lower the \
                 quality: ffmpeg -b:v 2M -maxrate 2M -bufsize 2M, or rpicam-vid -b 2500000."
            }
            Lack::Picture => {
                "The stream has H.264 NAL units, but no picture among them. Run the command \
                 that makes it on its own, and see what it says."
            }
            Lack::Format { after_text: true } => {
                "The stream begins with text, but no video follows: another program writes to this \
                 pipe. Keep messages out of it: gst-launch-1.0 -q, or print(…, file=sys.stderr) in \
                 Python."
            }
            Lack::Format { after_text: false } => {
                "The stream is not H.264 (Annex B), yuv4mpeg2 or MJPEG. Name the format: ffmpeg … \
                 -f h264 -, or -pix_fmt yuv420p -f yuv4mpegpipe -; pictures without a header need \
                 --raw and their size."
            }
        })
    }
}

impl std::error::Error for StreamError {}

impl StreamError {
    /// The bytes or the text that the stream starts with, for clients that may read foreign text.
    pub fn words(&self) -> Option<Foreign> {
        match self {
            StreamError::Text(line) => {
                Foreign::new(&String::from_utf8_lossy(line), WORDS_MAX_CHARS)
            }
            StreamError::UnknownFormat(first) => {
                let bytes: Vec<String> = first.iter().map(|byte| format!("{byte:02x}")).collect();
                let text = String::from_utf8_lossy(first);
                Foreign::new(&format!("{} \"{text}\"", bytes.join(" ")), WORDS_MAX_CHARS)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sentence_names_what_mends_it() {
        let cases = [
            (StreamError::Container("MPEG-TS"), "-f h264"),
            (StreamError::Multipart, "-f mjpeg"),
            (StreamError::UnknownFormat(vec![1]), "Name the format: ffmpeg … -f h264 -"),
            (StreamError::UnknownFormat(vec![1]), "--raw"),
            (StreamError::Text(b"s3cret".to_vec()), "gst-launch-1.0 -q"),
            (StreamError::BFrames, "--low-latency, or ffmpeg -bf 0"),
            (StreamError::Interlaced, "-vf yadif"),
            (StreamError::PixelFormat("4:2:2"), "-pix_fmt yuv420p"),
            (StreamError::Profile(88), "-profile:v baseline"),
            (StreamError::Size(7680, 4320), "-vf scale"),
            (StreamError::TooSmall(8, 8), "smallest supported size is 16x16: ffmpeg -vf scale="),
            (StreamError::Jpeg("arithmetic coding"), "arithmetic coding, but only YCbCr"),
            (StreamError::Jpeg("arithmetic coding"), "-c:v mjpeg -pix_fmt yuvj420p"),
            (StreamError::OddSize(641, 481), "-vf scale=640:480, or rpicam-vid --width"),
            (StreamError::Header("it has no width"), "-f yuv4mpegpipe"),
            (StreamError::Lacks(Lack::ParameterSets), "--inline, or ffmpeg -bsf:v dump_extra"),
            (StreamError::Lacks(Lack::KeyFrame), "-g 30"),
            (StreamError::Lacks(Lack::IntactKeyFrame), "-g 30"),
            (StreamError::Lacks(Lack::SmallerKeyFrame), "-b:v 2M"),
        ];
        for (error, flag) in cases {
            let sentence = error.to_string();
            assert!(sentence.contains(flag), "{sentence}");
            assert!(sentence.ends_with('.') && !sentence.contains("  "), "{sentence}");
        }
    }

    #[test]
    fn the_bytes_of_a_stream_are_in_no_sentence_and_words_of_their_own() {
        let error = StreamError::UnknownFormat(b"s3cret\x1b".to_vec());
        assert!(!error.to_string().contains("s3cret") && !error.to_string().contains("73 33"));
        let expected = "73 33 63 72 65 74 1b \"s3cret\\u{1b}\"";
        assert_eq!(error.words().unwrap().to_string(), expected);
        let error = StreamError::Text(b"s3cret".to_vec());
        assert!(!error.to_string().contains("s3cret"));
        assert_eq!(error.words().unwrap().to_string(), "s3cret");
        assert_eq!(StreamError::BFrames.words(), None);
    }
}
