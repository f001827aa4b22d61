//! Decodes H.264 key frames with openh264, for JPEG files of a source that delivers H.264.
//!
//! The decoder is C++, which containment of panics does not cover. Its input comes from the source that the
//! operator has named, never from the network. The parser has limited its size and has checked that browsers
//! decode its parameter sets.

use std::io;

use openh264::decoder::Decoder;
use openh264::formats::YUVSource;

use crate::media::h264::NAL_SPS;
use crate::media::{AccessUnit, Frame, Picture, Samples, Size};
use crate::source::parse::Sps;

const PIXELS_MAX: usize = 3840 * 2160;

/// Decodes a key frame with its parameter sets in front. An odd last row or column is cropped.
///
/// # Errors
/// The frame is damaged, or of a kind that openh264 does not decode.
pub fn decode(keyframe: &Frame) -> io::Result<Picture> {
    let failed = |what: &str| io::Error::other(format!("H.264: {what}"));
    let mut nal_units = keyframe.access_unit().into_iter().flat_map(AccessUnit::nal_units);
    let sps = nal_units.find(|unit| unit[0] & 0x1f == NAL_SPS).and_then(Sps::parse);
    let format = sps.ok_or_else(|| failed("no parameter sets"))?.pixel_format();
    // A decoder keeps the memory of its pictures, so it is dropped after each.
    let mut decoder = Decoder::new().map_err(io::Error::other)?;
    let decoded = decoder.decode(keyframe.data()).map_err(io::Error::other)?;
    let decoded = decoded.ok_or_else(|| failed("no picture"))?;
    let (width, height) = decoded.dimensions();
    let size = Size { width: width & !1, height: height & !1 };
    if size.width == 0 || size.height == 0 || size.width * size.height > PIXELS_MAX {
        return Err(failed("unsupported picture size"));
    }
    let strides = decoded.strides();
    let plane = |samples: &[u8], stride: usize, width: usize, height: usize| {
        let rows = samples.chunks(stride).take(height);
        rows.flat_map(|row| &row[..width]).copied().collect::<Vec<u8>>()
    };
    let (half_width, half_height) = (size.width / 2, size.height / 2);
    let planes = [
        plane(decoded.y(), strides.0, size.width, size.height),
        plane(decoded.u(), strides.1, half_width, half_height),
        plane(decoded.v(), strides.2, half_width, half_height),
    ];
    if planes.each_ref().map(Vec::len) != format.layout.plane_bytes(size) {
        return Err(failed("rows are missing"));
    }
    Ok(Samples { size, format, planes }.into_picture())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::driver::encode::{codec::Quality, encoder};
    use crate::media::{Ball, Codec, Colour};

    /// A key frame of the ball, and its picture.
    fn keyframe(size: Size) -> (Frame, Picture) {
        let mut picture = Picture::filled(size, Colour::BLACK);
        Ball::new(size).draw(&mut picture);
        let mut encoder = encoder(Codec::H264, 30, Quality::Constant).unwrap();
        let frame = encoder.encode(&picture, Instant::now()).unwrap();
        (frame, picture)
    }

    #[test]
    fn a_decoded_key_frame_is_the_picture_that_was_encoded() {
        for (width, height) in [(640, 480), (320, 242), (130, 98), (1280, 720)] {
            let size = Size { width, height };
            let (frame, picture) = keyframe(size);
            let decoded = decode(&frame).unwrap();
            assert_eq!(decoded.size(), size);
            for (is, should) in
                [(&decoded.y, &picture.y), (&decoded.u, &picture.u), (&decoded.v, &picture.v)]
            {
                let mut pairs = is.samples.iter().zip(&should.samples);
                assert!(pairs.all(|(is, should)| is.abs_diff(*should) <= 12), "{size}");
            }
        }
    }

    #[test]
    fn a_truncated_frame_is_an_error() {
        let (frame, _) = keyframe(Size { width: 320, height: 240 });
        for length in [0, 5, 40, frame.len() / 2] {
            let cut = AccessUnit::parse(&frame.data()[..length]);
            let cut = Frame::h264(cut, frame.captured);
            assert!(decode(&cut).is_err(), "{length} of {}", frame.len());
        }
    }

    #[test]
    fn the_smallest_picture_is_encoded_and_decoded() {
        let (frame, _) = keyframe(Size { width: 64, height: 64 });
        assert!(decode(&frame).is_ok());
        let small = |width, height| {
            let picture = Picture::filled(Size { width, height }, Colour::GREEN);
            encoder(Codec::H264, 30, Quality::Constant).unwrap().encode(&picture, Instant::now())
        };
        assert!(decode(&small(16, 16).unwrap()).is_ok());
        assert!(small(14, 16).is_err() && small(16, 14).is_err(), "as the parser requires");
    }
}
