//! Decodes JPEG files.

use std::io;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::media::{
    Colour, Layout, Picture, PixelFormat, Samples, Size, limited_chroma, limited_luma,
};

/// Decodes a JPEG file. An odd last row or column is cropped, as 4:2:0 has even sides. The file must be
/// [complete](crate::source::parse::check_jpeg): the decoder fills in missing parts.
///
/// # Errors
/// The file is damaged, or of an unsupported kind.
pub fn decode(file: &[u8]) -> io::Result<Picture> {
    let failed = |error| io::Error::other(format!("JPEG: {error:?}"));
    let options = DecoderOptions::new_fast();
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(failed)?;
    let colours = decoder.input_colorspace();
    let samples_of = match colours {
        Some(kind @ (ColorSpace::Luma | ColorSpace::RGB)) => kind,
        _ => ColorSpace::YCbCr,
    };
    decoder.set_options(options.jpeg_set_out_colorspace(samples_of));
    let mut samples = decoder.decode().map_err(failed)?;
    if samples_of == ColorSpace::Luma {
        samples = samples.iter().flat_map(|luma| [*luma, 128, 128]).collect();
    }
    let dimensions =
        decoder.dimensions().filter(|(width, height)| width * height * 3 == samples.len());
    let (width, height) =
        dimensions.ok_or_else(|| io::Error::other("JPEG: not three samples per pixel"))?;
    if !width.is_multiple_of(2) {
        let rows = samples.chunks_exact(3 * width).flat_map(|row| &row[..3 * (width - 1)]);
        samples = rows.copied().collect();
    }
    let size = Size { width: width & !1, height: height & !1 };
    if samples_of == ColorSpace::RGB {
        let format = PixelFormat::usual(Layout::Rgb24);
        return Ok(Samples { size, format, planes: [samples, vec![], vec![]] }.into_picture());
    }
    Ok(to_i420(&samples, size))
}

/// Converts YCbCr 4:4:4 in full range to I420 in limited range.
fn to_i420(samples: &[u8], size: Size) -> Picture {
    let luma: [u8; 256] = std::array::from_fn(|sample| limited_luma(sample as u8));
    let chroma: [u8; 256] = std::array::from_fn(|sample| limited_chroma(sample as u8));
    let mut picture = Picture::filled(size, Colour::BLACK);
    let row_pairs = samples.chunks_exact(2 * 3 * size.width);
    let luma_pairs = picture.y.samples.chunks_exact_mut(2 * size.width);
    let chroma_rows = picture.u.samples.chunks_exact_mut(size.width / 2);
    let chroma_rows = chroma_rows.zip(picture.v.samples.chunks_exact_mut(size.width / 2));
    // 2×2 pixels at a time, of three samples each.
    for ((rows, luma_rows), (us, vs)) in row_pairs.zip(luma_pairs).zip(chroma_rows) {
        let (upper, lower) = rows.split_at(3 * size.width);
        let squares = upper.as_chunks::<6>().0.iter().zip(lower.as_chunks::<6>().0);
        let (upper, lower) = luma_rows.split_at_mut(size.width);
        let lumas = upper.as_chunks_mut::<2>().0.iter_mut().zip(lower.as_chunks_mut::<2>().0);
        for (((a, b), (y_a, y_b)), (u, v)) in squares.zip(lumas).zip(us.iter_mut().zip(vs)) {
            *y_a = [luma[usize::from(a[0])], luma[usize::from(a[3])]];
            *y_b = [luma[usize::from(b[0])], luma[usize::from(b[3])]];
            let mean = |kind: usize| {
                let sum = u16::from(a[kind])
                    + u16::from(a[kind + 3])
                    + u16::from(b[kind])
                    + u16::from(b[kind + 3]);
                ((sum + 2) / 4) as u8
            };
            (*u, *v) = (chroma[usize::from(mean(1))], chroma[usize::from(mean(2))]);
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use jpeg_encoder::SamplingFactor;

    use super::*;
    use crate::driver::encode::snapshot;
    use crate::media::Ball;
    use crate::source::parse::{ParsedItem, Parser, check_jpeg};

    #[test]
    fn a_picture_survives_encoding_and_decoding() {
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
    fn pictures_of_every_width_survive_encoding_and_decoding() {
        for (width, height) in (1..100).map(|half| (2 * half, 2 + 2 * (half % 13))) {
            let size = Size { width, height };
            let mut picture = Picture::filled(size, Colour { y: 90, u: 100, v: 160 });
            for (at, sample) in picture.y.samples.iter_mut().enumerate() {
                *sample = (60 + at % width / 2 + 2 * (at / width)) as u8;
            }
            let decoded = decode(&snapshot(Some(&picture), None).unwrap()).unwrap();
            assert_eq!(decoded.size(), size);
            for (before, after) in
                [(&picture.y, &decoded.y), (&picture.u, &decoded.u), (&picture.v, &decoded.v)]
            {
                let mut pairs = before.samples.iter().zip(&after.samples);
                assert!(pairs.all(|(a, b)| a.abs_diff(*b) <= 24), "{size}");
            }
        }
    }

    #[test]
    fn a_grey_picture_is_grey() {
        let luma: Vec<u8> = (0..64 * 48).map(|index| (index % 64 * 4) as u8).collect();
        let mut file = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut file, 95);
        encoder.encode(&luma, 64, 48, jpeg_encoder::ColorType::Luma).unwrap();
        let picture = decode(&file).unwrap();
        assert_eq!(picture.size(), Size { width: 64, height: 48 });
        let row = picture.y.samples.chunks(64).next().unwrap();
        assert!(row[0].abs_diff(16) < 4 && row[63].abs_diff(232) < 4, "{row:?}");
        assert!(picture.u.samples.iter().chain(&picture.v.samples).all(|chroma| *chroma == 128));
    }

    #[test]
    fn the_smallest_files_of_real_encoders_are_accepted() {
        for (width, height) in [(1920, 1080), (3840, 2160)] {
            let black = vec![0; usize::from(width) * usize::from(height) * 3];
            for sampling in [SamplingFactor::F_2_2, SamplingFactor::F_2_1, SamplingFactor::F_1_1] {
                for (scans, is_optimised) in [(0, false), (0, true), (4, false), (6, true)] {
                    let mut file = Vec::new();
                    let mut encoder = jpeg_encoder::Encoder::new(&mut file, 1);
                    encoder.set_sampling_factor(sampling);
                    encoder.set_optimized_huffman_tables(is_optimised);
                    if scans > 0 {
                        encoder.set_progressive_scans(scans);
                    }
                    let colours = jpeg_encoder::ColorType::Rgb;
                    encoder.encode(&black, width, height, colours).unwrap();
                    let mut parser = Parser::new();
                    parser.push(&file).unwrap();
                    let Some(ParsedItem::Jpeg(jpeg)) = parser.poll() else {
                        panic!("{} bytes for {width}x{height}, {scans} scans", file.len());
                    };
                    assert_eq!(decode(&jpeg.data).unwrap().size(), jpeg.size);
                }
            }
        }
    }

    #[test]
    fn an_odd_last_row_or_column_is_cropped() {
        for (width, height) in [(65, 48), (64, 49), (65, 49)] {
            let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (2 * x + y) as u8));
            let mut file = Vec::new();
            let encoder = jpeg_encoder::Encoder::new(&mut file, 95);
            let colours = jpeg_encoder::ColorType::Luma;
            encoder.encode(&pixels.collect::<Vec<u8>>(), width, height, colours).unwrap();
            let picture = decode(&file).unwrap();
            assert_eq!(picture.size(), Size { width: 64, height: 48 });
            for (x, y) in [(0, 0), (63, 0), (0, 47), (63, 47)] {
                let expected = limited_luma((2 * x + y) as u8);
                assert!(picture.y.at(x, y).abs_diff(expected) < 4, "{width}x{height} {x} {y}");
            }
        }
    }

    #[test]
    fn an_rgb_file_is_decoded_to_its_colours() {
        let mut file = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut file, 95);
        // Adobe's marker for RGB: no transform. The encoder does not convert the samples.
        encoder.add_app_segment(14, b"Adobe\0\x64\0\0\0\0\0".to_vec()).unwrap();
        let red = [255, 0, 0].repeat(64 * 48);
        encoder.encode(&red, 64, 48, jpeg_encoder::ColorType::Ycbcr).unwrap();
        let picture = decode(&file).unwrap();
        let samples = [&picture.y, &picture.u, &picture.v].map(|plane| plane.at(20, 20));
        let is_red = samples.iter().zip([81, 90, 240]).all(|(is, should)| is.abs_diff(should) < 4);
        assert!(is_red, "{samples:?}");
    }

    /// A picture with detail, as baseline JPEG.
    fn detailed(sampling: SamplingFactor, restart_interval: u16) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(1);
        let pixels: Vec<u8> =
            (0..200 * 120 * 3).map(|at| (at / 9 % 200) as u8 ^ random.u8(..32)).collect();
        let mut file = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut file, 80);
        encoder.set_sampling_factor(sampling);
        encoder.set_restart_interval(restart_interval);
        encoder.encode(&pixels, 200, 120, jpeg_encoder::ColorType::Rgb).unwrap();
        file
    }

    #[test]
    fn files_of_an_encoder_are_complete_and_shorter_or_longer_ones_are_not() {
        use SamplingFactor::*;
        for sampling in [F_1_1, F_2_1, F_1_2, F_2_2, F_4_1, F_4_2, F_1_4, F_2_4] {
            for restart_interval in [0, 1, 7] {
                let file = detailed(sampling, restart_interval);
                let name = format!("{sampling:?} {restart_interval}");
                assert_eq!(check_jpeg(&file), Ok(()), "{name}");
                let end = file.len() - 2;
                let padded = [&file[..end], &[0; 30], &file[end..]].concat();
                assert_eq!(check_jpeg(&padded), Ok(()), "{name}");
                let lacking = [&file[..end - 10], &file[end..]].concat();
                assert!(check_jpeg(&lacking).is_err(), "{name}");
                let longer = [&file[..end], &[0x5a; 10], &file[end..]].concat();
                assert!(check_jpeg(&longer).is_err(), "{name}");
                assert!(check_jpeg(&file[..end]).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn most_damage_inside_a_scan_is_found() {
        let file = detailed(SamplingFactor::F_2_1, 0);
        let scan = file.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
        let mut random = fastrand::Rng::with_seed(1);
        let found = (0..400).filter(|_| {
            let mut damaged = file.clone();
            let at = random.usize(scan..file.len() - 200);
            damaged.drain(at..at + 150);
            check_jpeg(&damaged).is_err()
        });
        let found = found.count();
        assert!(found >= 380, "{found} of 400");
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        assert!(decode(&[0xff, 0xd8, 0xff]).is_err());
        assert!(decode(b"").is_err());
    }
}
