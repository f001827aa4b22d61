//! Pictures to JPEG files (JFIF).

use bytes::Bytes;
use jpeg_encoder::{Encoder, EncodingError, ImageBuffer, JpegColorType, SamplingFactor};

use crate::media::{Damage, Picture, Plane, SnapshotError};

/// Of 1 to 100. In 640x480, the ball takes 7 kB, and a camera picture about 60 kB.
const QUALITY: u8 = 85;

/// Encodes a picture as a JPEG file, in its own width, or scaled down to this even width.
///
/// # Errors
/// There is no picture, it is narrower than `width`, or the encoder failed.
pub fn snapshot(picture: Option<&Picture>, width: Option<usize>) -> Result<Bytes, SnapshotError> {
    let picture = picture.ok_or(SnapshotError::NoPicture)?;
    let picture_width = picture.size().width;
    let encoded = match width {
        Some(width) if width > picture_width => {
            return Err(SnapshotError::TooWide { picture_width });
        }
        Some(width) if width < picture_width => encode(&picture.scaled_to(width)),
        _ => encode(picture),
    };
    encoded.map(Bytes::from).map_err(|error| {
        log::debug!("JPEG encoding failed: {error}");
        SnapshotError::Damaged(Damage::EncodeJpeg)
    })
}

fn encode(picture: &Picture) -> Result<Vec<u8>, EncodingError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode_image(FullRange::new(picture))?;
    Ok(file)
}

/// A picture converted to the full range of JFIF, from luma of 16 to 235 and chroma of 16 to 240.
struct FullRange<'a> {
    picture: &'a Picture,
    luma: [u8; 256],
    chroma: [u8; 256],
}

impl FullRange<'_> {
    fn new(picture: &Picture) -> FullRange<'_> {
        let scaled = |sample: usize, zero: f32, range: f32, zero_is: f32| {
            ((sample as f32 - zero) * 255.0 / range + zero_is).round() as u8
        };
        FullRange {
            picture,
            luma: std::array::from_fn(|sample| scaled(sample, 16.0, 219.0, 0.0)),
            chroma: std::array::from_fn(|sample| scaled(sample, 128.0, 224.0, 128.0)),
        }
    }
}

impl ImageBuffer for FullRange<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.picture.y.width as u16
    }

    fn height(&self) -> u16 {
        self.picture.y.height as u16
    }

    /// The encoder takes a chroma sample for each pixel and subsamples them again.
    fn fill_buffers(&self, y: u16, [luma, cb, cr, _]: &mut [Vec<u8>; 4]) {
        let row = |plane: &'_ Plane, y: usize| y * plane.width..(y + 1) * plane.width;
        let y = usize::from(y);
        let samples = &self.picture.y.samples[row(&self.picture.y, y)];
        luma.extend(samples.iter().map(|sample| self.luma[usize::from(*sample)]));
        for (plane, buffer) in [(&self.picture.u, cb), (&self.picture.v, cr)] {
            let samples = &plane.samples[row(plane, y / 2)];
            buffer.extend(samples.iter().flat_map(|sample| [self.chroma[usize::from(*sample)]; 2]));
        }
    }
}

#[cfg(test)]
mod tests {
    use zune_jpeg::JpegDecoder;
    use zune_jpeg::zune_core::bytestream::ZCursor;

    use super::*;
    use crate::media::{Ball, Colour, Size};

    const VGA: Size = Size { width: 640, height: 480 };

    /// The size and the pixels, in RGB.
    fn decode(file: &[u8]) -> ((usize, usize), Vec<[u8; 3]>) {
        let mut decoder = JpegDecoder::new(ZCursor::new(file));
        let pixels = decoder.decode().unwrap();
        let pixels = pixels.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]);
        (decoder.dimensions().unwrap(), pixels.collect())
    }

    fn is_near(pixel: [u8; 3], expected: [u8; 3], distance: u8) -> bool {
        pixel.iter().zip(expected).all(|(is, should)| is.abs_diff(should) <= distance)
    }

    #[test]
    fn colours_are_those_of_the_picture_in_full_range() {
        let white = Colour { y: 235, u: 128, v: 128 };
        let grey = Colour { y: 126, u: 128, v: 128 };
        let blue = Colour { y: 41, u: 240, v: 110 };
        for (colour, rgb) in [
            (Colour::BLACK, [0, 0, 0]),
            (white, [255, 255, 255]),
            (grey, [128, 128, 128]),
            (Colour::GREEN, [0, 255, 0]),
            (blue, [0, 0, 255]),
        ] {
            let file = snapshot(Some(&Picture::filled(VGA, colour)), None).unwrap();
            let (size, pixels) = decode(&file);
            assert_eq!(size, (640, 480));
            assert!(pixels.iter().all(|pixel| is_near(*pixel, rgb, 4)), "{rgb:?} {:?}", pixels[0]);
        }
    }

    #[test]
    fn the_ball_is_green_and_at_its_place_in_every_width() {
        let mut picture = Picture::filled(VGA, Colour::BLACK);
        let mut ball = Ball::new(VGA);
        ball.advance();
        ball.draw(&mut picture);
        let (x, y) = ball.centre();
        for width in [640, 638, 320, 160] {
            let ((is_wide, is_high), pixels) =
                decode(&snapshot(Some(&picture), Some(width)).unwrap());
            assert_eq!((is_wide, is_high), (width, picture.scaled_to(width).size().height));
            let at = |x: usize, y: usize| pixels[y * is_high / 480 * is_wide + x * is_wide / 640];
            let (x, y) = (x as usize, y as usize);
            assert!(is_near(at(x, y), [0, 255, 0], 10), "{width}: {:?}", at(x, y));
            assert!(is_near(at(x + 60, y), [0, 0, 0], 10), "{width}: {:?}", at(x + 60, y));
        }
    }

    #[test]
    fn no_picture_and_a_width_that_is_too_large_are_errors() {
        assert_eq!(snapshot(None, None), Err(SnapshotError::NoPicture));
        let picture = Picture::filled(VGA, Colour::BLACK);
        let too_wide = SnapshotError::TooWide { picture_width: 640 };
        assert_eq!(snapshot(Some(&picture), Some(642)), Err(too_wide));
    }
}
