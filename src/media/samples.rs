//! Pictures of programs and cameras in any of the usual layouts, and their conversion.
//!
//! All encoders take I420 in limited-range BT.601: VP8 requires it (RFC 6386, section 9.2), JFIF does in full
//! range, and the parameter sets of our H.264 declare it. So other pictures are converted, once, when they
//! are needed.

use super::{Colour, Picture, Plane, Size};

/// The layout of the samples of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A luma plane, then a Cb and a Cr plane at half the size in both directions.
    I420,
    /// A luma plane, then a plane with interleaved Cb and Cr.
    Nv12,
    /// Blue, green and red for each pixel, as in OpenCV.
    Bgr24,
    /// Red, green and blue for each pixel.
    Rgb24,
    /// A byte for each pixel.
    Gray8,
    /// Luma and chroma interleaved, with a Cb and a Cr for each two pixels of a line: Y Cb Y Cr.
    Yuyv,
}

/// The matrix between red, green, blue and luma, chroma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    /// ITU-R BT.601, table 3. Also JFIF.
    Bt601,
    /// ITU-R BT.709, item 3.2 and 3.3.
    Bt709,
}

/// The format of the samples of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelFormat {
    pub layout: Layout,
    /// Ignored for [`Layout::Bgr24`], [`Layout::Rgb24`] and [`Layout::Gray8`].
    pub matrix: Matrix,
    /// Black is 0 and white 255, not 16 and 235.
    pub full_range: bool,
}

/// A picture before its conversion, plane by plane, rows without padding. Both sides are even.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    pub size: Size,
    pub format: PixelFormat,
    /// [`Layout::plane_bytes`] bytes each.
    pub planes: [Vec<u8>; 3],
}

impl Layout {
    pub const ALL: [Layout; 6] =
        [Layout::I420, Layout::Nv12, Layout::Bgr24, Layout::Rgb24, Layout::Gray8, Layout::Yuyv];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Layout::I420 => "i420",
            Layout::Nv12 => "nv12",
            Layout::Bgr24 => "bgr24",
            Layout::Rgb24 => "rgb24",
            Layout::Gray8 => "gray8",
            Layout::Yuyv => "yuyv",
        }
    }

    /// Whether it has luma and chroma, whose colours depend on the [`Matrix`].
    pub fn has_chroma(self) -> bool {
        matches!(self, Layout::I420 | Layout::Nv12 | Layout::Yuyv)
    }

    /// The number of bytes of each plane.
    pub fn plane_bytes(self, size: Size) -> [usize; 3] {
        let area = size.width * size.height;
        match self {
            Layout::I420 => [area, area / 4, area / 4],
            Layout::Nv12 => [area, area / 2, 0],
            Layout::Bgr24 | Layout::Rgb24 => [3 * area, 0, 0],
            Layout::Gray8 => [area, 0, 0],
            Layout::Yuyv => [2 * area, 0, 0],
        }
    }

    /// The bytes of a line of each plane, and the lines of each plane for one of luma.
    fn lines(self, width: usize) -> [(usize, usize); 3] {
        match self {
            Layout::I420 => [(width, 1), (width / 2, 2), (width / 2, 2)],
            Layout::Nv12 => [(width, 1), (width, 2), (0, 1)],
            Layout::Bgr24 | Layout::Rgb24 => [(3 * width, 1), (0, 1), (0, 1)],
            Layout::Gray8 => [(width, 1), (0, 1), (0, 1)],
            Layout::Yuyv => [(2 * width, 1), (0, 1), (0, 1)],
        }
    }
}

impl PixelFormat {
    /// The format of a [`Picture`].
    pub const PICTURE: PixelFormat =
        PixelFormat { layout: Layout::I420, matrix: Matrix::Bt601, full_range: false };

    /// The usual format of this layout: limited range if there is chroma.
    pub fn usual(layout: Layout) -> PixelFormat {
        PixelFormat { layout, matrix: Matrix::Bt601, full_range: !layout.has_chroma() }
    }
}

impl Samples {
    /// A picture in one buffer, whose lines are `line_bytes` apart; those of chroma planes of I420 half of it.
    /// An odd last column or row is left out. `None` if the buffer or a line is too short.
    pub fn from_buffer(
        size: Size,
        format: PixelFormat,
        line_bytes: usize,
        buffer: &[u8],
    ) -> Option<Samples> {
        let even = Size { width: size.width & !1, height: size.height & !1 };
        let mut rest = buffer;
        let mut planes: [Vec<u8>; 3] = Default::default();
        let lines = format.layout.lines(even.width);
        for (index, (plane, (bytes, lines_share))) in planes.iter_mut().zip(lines).enumerate() {
            if bytes == 0 {
                continue;
            }
            let is_half = index > 0 && format.layout == Layout::I420;
            let stride = if is_half { line_bytes / 2 } else { line_bytes };
            if stride < bytes {
                return None;
            }
            plane.reserve_exact(bytes * even.height / lines_share);
            for _ in 0..even.height / lines_share {
                plane.extend_from_slice(rest.get(..bytes)?);
                rest = rest.get(stride..).unwrap_or_default();
            }
            let left_out = size.height.div_ceil(lines_share) - even.height / lines_share;
            rest = rest.get(left_out * stride..).unwrap_or_default();
        }
        Some(Samples { size: even, format, planes })
    }

    /// The picture in I420, limited-range BT.601.
    pub fn into_picture(self) -> Picture {
        let Samples { size, format, planes: [first, second, third] } = self;
        let (width, height) = (size.width, size.height);
        let luma = |samples| Plane { width, height, samples };
        let chroma = |samples| Plane { width: width / 2, height: height / 2, samples };
        let mut picture = match format.layout {
            Layout::I420 => Picture { y: luma(first), u: chroma(second), v: chroma(third) },
            Layout::Nv12 => {
                let pairs = second.as_chunks::<2>().0;
                let of = |index: usize| pairs.iter().map(|pair| pair[index]).collect();
                Picture { y: luma(first), u: chroma(of(0)), v: chroma(of(1)) }
            }
            Layout::Gray8 => {
                let grey = vec![Colour::BLACK.u; width * height / 4];
                Picture { y: luma(first), u: chroma(grey.clone()), v: chroma(grey) }
            }
            Layout::Yuyv => from_yuyv(&first, size),
            Layout::Bgr24 => return from_pixels(&first, size, |[b, g, r]| [r, g, b]),
            Layout::Rgb24 => return from_pixels(&first, size, |rgb| rgb),
        };
        if format.full_range {
            limit_range(&mut picture);
        }
        if format.layout.has_chroma() && format.matrix == Matrix::Bt709 {
            to_bt601(&mut picture);
        }
        picture
    }
}

/// Converts luma from full to limited range: luma from 16 to 235, chroma from 16 to 240.
pub fn limited_luma() -> [u8; 256] {
    std::array::from_fn(|sample| (sample as f32 * 219.0 / 255.0 + 16.0).round() as u8)
}

/// See [`limited_luma`].
pub fn limited_chroma() -> [u8; 256] {
    std::array::from_fn(|sample| ((sample as f32 - 128.0) * 224.0 / 255.0 + 128.0).round() as u8)
}

fn limit_range(picture: &mut Picture) {
    let chroma = limited_chroma();
    for (plane, limited) in
        [(&mut picture.y, &limited_luma()), (&mut picture.u, &chroma), (&mut picture.v, &chroma)]
    {
        plane.samples.iter_mut().for_each(|sample| *sample = limited[usize::from(*sample)]);
    }
}

/// One in fixed point.
const ONE: f64 = 65_536.0;

const fn fixed(factor: f64) -> i32 {
    (factor * ONE + if factor < 0.0 { -0.5 } else { 0.5 }) as i32
}

fn clamped(fixed: i32) -> u8 {
    ((fixed + (1 << 15)) >> 16).clamp(0, 255) as u8
}

// What luma and chroma in BT.601 have of Cb and Cr in BT.709, both in limited range: the inverse of
// the one matrix times the other.
const Y_OF_CB: i32 = fixed(0.099_312);
const Y_OF_CR: i32 = fixed(0.191_700);
const CB_OF_CB: i32 = fixed(0.989_854);
const CB_OF_CR: i32 = fixed(-0.110_653);
const CR_OF_CB: i32 = fixed(-0.072_453);
const CR_OF_CR: i32 = fixed(0.983_398);
const ZERO_CHROMA: i32 = 128;

fn to_bt601(picture: &mut Picture) {
    let (width, half) = (picture.y.width, picture.u.width);
    let row_pairs = picture.y.samples.chunks_exact_mut(2 * width);
    let us = picture.u.samples.chunks_exact_mut(half);
    let vs = picture.v.samples.chunks_exact_mut(half);
    for ((rows, us), vs) in row_pairs.zip(us).zip(vs) {
        let (upper, lower) = rows.split_at_mut(width);
        let squares = upper.as_chunks_mut::<2>().0.iter_mut().zip(lower.as_chunks_mut::<2>().0);
        for ((upper, lower), (u, v)) in squares.zip(us.iter_mut().zip(vs)) {
            let (cb, cr) = (i32::from(*u) - ZERO_CHROMA, i32::from(*v) - ZERO_CHROMA);
            let more = Y_OF_CB * cb + Y_OF_CR * cr;
            for luma in upper.iter_mut().chain(lower) {
                *luma = clamped((i32::from(*luma) << 16) + more);
            }
            *u = clamped((ZERO_CHROMA << 16) + CB_OF_CB * cb + CB_OF_CR * cr);
            *v = clamped((ZERO_CHROMA << 16) + CR_OF_CB * cb + CR_OF_CR * cr);
        }
    }
}

// Luma and chroma of BT.601 in limited range for red, green and blue from 0 to 255.
const Y: [i32; 3] = [fixed(0.256_788), fixed(0.504_129), fixed(0.097_906)];
const CB: [i32; 3] = [fixed(-0.148_223), fixed(-0.290_993), fixed(0.439_216)];
const CR: [i32; 3] = [fixed(0.439_216), fixed(-0.367_788), fixed(-0.071_427)];
const LUMA_OF_BLACK: i32 = 16;

fn weighted([r, g, b]: [i32; 3], weights: [i32; 3]) -> i32 {
    weights[0] * r + weights[1] * g + weights[2] * b
}

/// From three samples a pixel. A sample of chroma is that of the mean of its four pixels.
fn from_pixels(pixels: &[u8], size: Size, rgb: impl Fn([u8; 3]) -> [u8; 3]) -> Picture {
    let (width, half) = (size.width, size.width / 2);
    let mut picture = Picture::filled(size, Colour::BLACK);
    let luma_pairs = picture.y.samples.chunks_exact_mut(2 * width);
    let us = picture.u.samples.chunks_exact_mut(half);
    let vs = picture.v.samples.chunks_exact_mut(half);
    let row_pairs = pixels.chunks_exact(2 * 3 * width);
    for ((rows, lumas), (us, vs)) in row_pairs.zip(luma_pairs).zip(us.zip(vs)) {
        let (upper, lower) = rows.split_at(3 * width);
        let squares = upper.as_chunks::<6>().0.iter().zip(lower.as_chunks::<6>().0);
        let (upper, lower) = lumas.split_at_mut(width);
        let lumas = upper.as_chunks_mut::<2>().0.iter_mut().zip(lower.as_chunks_mut::<2>().0);
        for (((a, b), (y_a, y_b)), (u, v)) in squares.zip(lumas).zip(us.iter_mut().zip(vs)) {
            let mut sum = [0; 3];
            let mut luma = |pixel: [u8; 3]| {
                let pixel = rgb(pixel).map(i32::from);
                sum.iter_mut().zip(pixel).for_each(|(sum, sample)| *sum += sample);
                clamped((LUMA_OF_BLACK << 16) + weighted(pixel, Y))
            };
            *y_a = [luma([a[0], a[1], a[2]]), luma([a[3], a[4], a[5]])];
            *y_b = [luma([b[0], b[1], b[2]]), luma([b[3], b[4], b[5]])];
            *u = clamped((ZERO_CHROMA << 16) + weighted(sum, CB) / 4);
            *v = clamped((ZERO_CHROMA << 16) + weighted(sum, CR) / 4);
        }
    }
    picture
}

/// A sample of chroma is the mean of those of its two lines.
fn from_yuyv(pixels: &[u8], size: Size) -> Picture {
    let (width, half) = (size.width, size.width / 2);
    let mut picture = Picture::filled(size, Colour::BLACK);
    let luma_pairs = picture.y.samples.chunks_exact_mut(2 * width);
    let us = picture.u.samples.chunks_exact_mut(half);
    let vs = picture.v.samples.chunks_exact_mut(half);
    for ((rows, lumas), (us, vs)) in pixels.chunks_exact(4 * width).zip(luma_pairs).zip(us.zip(vs))
    {
        for (luma, pair) in lumas.iter_mut().zip(rows.as_chunks::<2>().0) {
            *luma = pair[0];
        }
        let (upper, lower) = rows.split_at(2 * width);
        let pairs = upper.as_chunks::<4>().0.iter().zip(lower.as_chunks::<4>().0);
        for ((upper, lower), (u, v)) in pairs.zip(us.iter_mut().zip(vs)) {
            *u = (u16::from(upper[1]) + u16::from(lower[1])).div_ceil(2) as u8;
            *v = (u16::from(upper[3]) + u16::from(lower[3])).div_ceil(2) as u8;
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 2, height: 2 };

    /// Kr and Kb.
    fn weights(matrix: Matrix) -> [f64; 2] {
        match matrix {
            Matrix::Bt601 => [0.299, 0.114],
            Matrix::Bt709 => [0.2126, 0.0722],
        }
    }

    /// Luma, Cb and Cr of a colour, by the definitions.
    fn encoded(rgb: [f64; 3], matrix: Matrix, full_range: bool) -> [f64; 3] {
        let [kr, kb] = weights(matrix);
        let luma = kr * rgb[0] + (1.0 - kr - kb) * rgb[1] + kb * rgb[2];
        let cb = (rgb[2] - luma) / (2.0 - 2.0 * kb);
        let cr = (rgb[0] - luma) / (2.0 - 2.0 * kr);
        match full_range {
            true => [255.0 * luma, 128.0 + 255.0 * cb, 128.0 + 255.0 * cr],
            false => [16.0 + 219.0 * luma, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr],
        }
    }

    /// A square of one colour in a format.
    fn samples([r, g, b]: [u8; 3], format: PixelFormat) -> Samples {
        let rgb = [r, g, b].map(|sample| f64::from(sample) / 255.0);
        let ycc = encoded(rgb, format.matrix, format.full_range);
        let [y, u, v] = ycc.map(|sample| sample.round().clamp(0.0, 255.0) as u8);
        let planes = match format.layout {
            Layout::I420 => [vec![y; 4], vec![u], vec![v]],
            Layout::Nv12 => [vec![y; 4], vec![u, v], vec![]],
            Layout::Bgr24 => [[b, g, r].repeat(4), vec![], vec![]],
            Layout::Rgb24 => [[r, g, b].repeat(4), vec![], vec![]],
            Layout::Gray8 => [vec![y; 4], vec![], vec![]],
            Layout::Yuyv => [[y, u, y, v].repeat(2), vec![], vec![]],
        };
        assert_eq!(planes.each_ref().map(Vec::len), format.layout.plane_bytes(SIZE));
        Samples { size: SIZE, format, planes }
    }

    fn formats() -> impl Iterator<Item = PixelFormat> {
        Layout::ALL.into_iter().flat_map(|layout| {
            let usual = PixelFormat::usual(layout);
            let ranges = if layout.has_chroma() { &[false, true][..] } else { &[true] };
            ranges.iter().flat_map(move |full_range| {
                [Matrix::Bt601, Matrix::Bt709].map(|matrix| PixelFormat {
                    matrix,
                    full_range: *full_range,
                    ..usual
                })
            })
        })
    }

    #[test]
    fn a_colour_is_the_same_in_every_format() {
        let mut random = 1_u32;
        for _ in 0..2_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [_, r, g, b] = random.to_be_bytes();
            for format in formats() {
                let is_grey = format.layout == Layout::Gray8;
                let [r, g, b] = if is_grey { [g, g, g] } else { [r, g, b] };
                let picture = samples([r, g, b], format).into_picture();
                assert_eq!(picture.size(), SIZE);
                let rgb = [r, g, b].map(|sample| f64::from(sample) / 255.0);
                let [y, u, v] = encoded(rgb, Matrix::Bt601, false);
                let is = [picture.y.samples[3], picture.u.samples[0], picture.v.samples[0]];
                for (is, should) in is.into_iter().zip([y, u, v]) {
                    let distance = (f64::from(is) - should).abs();
                    assert!(distance <= 2.0, "{format:?} {r} {g} {b}: {is} for {should}");
                }
            }
        }
    }

    #[test]
    fn a_sample_of_chroma_is_that_of_its_four_pixels() {
        let planes = [[255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255].to_vec(), vec![], vec![]];
        let format = PixelFormat::usual(Layout::Rgb24);
        let picture = Samples { size: SIZE, format, planes }.into_picture();
        assert_eq!(picture.y.samples, [81, 145, 41, 235]);
        assert_eq!((picture.u.samples[0], picture.v.samples[0]), (128, 128));
    }

    #[test]
    fn what_is_a_picture_already_stays_as_it_is() {
        let all: Vec<u8> = (0..=255).collect();
        let size = Size { width: 16, height: 16 };
        let planes = [all.clone(), all[..64].to_vec(), all[192..].to_vec()];
        let picture = Samples { size, format: PixelFormat::PICTURE, planes: planes.clone() };
        let Picture { y, u, v } = picture.into_picture();
        assert_eq!([y.samples, u.samples, v.samples], planes);
    }
}
