//! JPEG files to pictures.

use std::io;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::media::{Colour, Picture, Plane, Size};

/// The picture of a JPEG file with an even number of pixels in both directions.
///
/// # Errors
/// The file is damaged.
pub fn decode(file: &[u8]) -> io::Result<Picture> {
    let options = DecoderOptions::new_fast().jpeg_set_out_colorspace(ColorSpace::YCbCr);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    let samples = decoder.decode().map_err(|error| io::Error::other(format!("JPEG: {error:?}")))?;
    let dimensions =
        decoder.dimensions().filter(|(width, height)| width * height * 3 == samples.len());
    let (width, height) = dimensions.ok_or_else(|| io::Error::other("JPEG: no YCbCr"))?;
    if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
        return Err(io::Error::other(format!("JPEG: {width}x{height} is odd")));
    }
    Ok(to_i420(&samples, Size { width, height }))
}

/// From a sample of each kind for each pixel in full range to I420 in limited range.
fn to_i420(samples: &[u8], size: Size) -> Picture {
    let scaled = |sample: usize, zero: f32, range: f32, zero_is: f32| {
        ((sample as f32 - zero_is) * range / 255.0 + zero).round() as u8
    };
    let luma: [u8; 256] = std::array::from_fn(|sample| scaled(sample, 16.0, 219.0, 0.0));
    let chroma: [u8; 256] = std::array::from_fn(|sample| scaled(sample, 128.0, 224.0, 128.0));
    let mut picture = Picture::filled(size, Colour::BLACK);
    let row_bytes = size.width * 3;
    for (y, rows) in samples.chunks_exact(2 * row_bytes).enumerate() {
        let (upper, lower) = rows.split_at(row_bytes);
        for (index, row) in [upper, lower].into_iter().enumerate() {
            let pixels = row.chunks_exact(3);
            for (sample, pixel) in picture.y.row_mut(2 * y + index).iter_mut().zip(pixels) {
                *sample = luma[usize::from(pixel[0])];
            }
        }
        let squares = || upper.chunks_exact(6).zip(lower.chunks_exact(6));
        let mean = |(a, b): (&[u8], &[u8]), kind: usize| {
            let sum: u16 = [a[kind], a[kind + 3], b[kind], b[kind + 3]].map(u16::from).iter().sum();
            chroma[usize::from((sum + 2) / 4)]
        };
        let write = |plane: &mut Plane, kind| {
            for (sample, square) in plane.row_mut(y).iter_mut().zip(squares()) {
                *sample = mean(square, kind);
            }
        };
        write(&mut picture.u, 1);
        write(&mut picture.v, 2);
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Ball;
    use crate::source::snapshot;

    #[test]
    fn a_picture_survives_its_way_through_jpeg() {
        let size = Size { width: 320, height: 240 };
        let mut picture = Picture::filled(size, Colour { y: 90, u: 100, v: 160 });
        Ball::new(size).draw(&mut picture);
        let file = snapshot(Some(&picture), None).unwrap();
        let decoded = decode(&file).unwrap();
        assert_eq!(decoded.size(), size);
        for (before, after) in [(&picture.y, &decoded.y), (&picture.u, &decoded.u)] {
            let steps = before.samples.iter().zip(&after.samples).map(|(a, b)| a.abs_diff(*b));
            let mean = steps.map(u64::from).sum::<u64>() / before.samples.len() as u64;
            assert!(mean <= 2, "{mean} steps");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        assert!(decode(&[0xff, 0xd8, 0xff]).is_err());
        assert!(decode(b"").is_err());
    }
}
