//! Pictures of programs and cameras in any of the usual layouts, and their conversion.
//!
//! All encoders take I420 in limited-range BT.601: VP8 requires it (RFC 6386, section 9.2), JFIF does in full
//! range, and the parameter sets of our H.264 declare it. So other pictures are converted, once, when they
//! are needed.

mod interleaved;
mod matrix;
mod pixels;
mod range;

pub use self::range::{limited_chroma, limited_luma};
use super::{Colour, Picture, Plane, Size};

/// The layout of the samples of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A luma plane, then a Cb and a Cr plane at half the size in both directions.
    I420,
    /// A luma plane, then a plane with interleaved Cb and Cr.
    Nv12,
    /// Two luma samples with one Cb and one Cr for two pixels of a row: Y, Cb, Y, Cr. Chroma has the full height.
    Yuyv,
    /// Blue, green and red for each pixel, as in OpenCV.
    Bgr24,
    /// Red, green and blue for each pixel.
    Rgb24,
    /// A byte for each pixel.
    Gray8,
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
        [Layout::I420, Layout::Nv12, Layout::Yuyv, Layout::Bgr24, Layout::Rgb24, Layout::Gray8];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Layout::I420 => "i420",
            Layout::Nv12 => "nv12",
            Layout::Yuyv => "yuyv",
            Layout::Bgr24 => "bgr24",
            Layout::Rgb24 => "rgb24",
            Layout::Gray8 => "gray8",
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
            Layout::Yuyv => [2 * area, 0, 0],
            Layout::Bgr24 | Layout::Rgb24 => [3 * area, 0, 0],
            Layout::Gray8 => [area, 0, 0],
        }
    }
}

impl BufferLines {
    /// The lines from the front of `buffer`, without padding.
    fn copy_from(&self, buffer: &[u8]) -> Option<Vec<u8>> {
        let BufferLines { stride, kept_lines, kept_bytes, .. } = *self;
        let last = kept_lines.checked_sub(1)?;
        if kept_bytes == 0 || kept_bytes > stride {
            return None;
        }
        let lines = buffer.get(..stride.checked_mul(last)?.checked_add(kept_bytes)?)?;
        if stride == kept_bytes {
            return Some(lines.to_vec());
        }
        let mut plane = Vec::with_capacity(kept_bytes * kept_lines);
        lines.chunks(stride).for_each(|line| plane.extend_from_slice(&line[..kept_bytes]));
        Some(plane)
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

/// The lines of one plane in a buffer.
struct BufferLines {
    /// Bytes from one line to the next.
    stride: usize,
    /// Lines that the buffer has, and those that are kept.
    lines: usize,
    kept_lines: usize,
    /// The bytes of each line that are kept.
    kept_bytes: usize,
}

impl Samples {
    /// Copies the picture out of a buffer with padded lines, plane after plane, as a V4L2 single-planar buffer
    /// has them (Linux, `userspace-api/media/v4l/pixfmt`). `line_bytes` is the `bytesperline` of the format:
    /// the chroma lines of [`Layout::Nv12`] have the same length, and those of [`Layout::I420`] half of it.
    /// `size` may be odd: the last row or column is cropped. Returns `None` if the buffer is too short. The
    /// last line may lack its padding.
    pub fn from_buffer(
        size: Size,
        format: PixelFormat,
        line_bytes: usize,
        buffer: &[u8],
    ) -> Option<Samples> {
        let even = Size { width: size.width & !1, height: size.height & !1 };
        let luma = |kept_bytes: usize| BufferLines {
            stride: line_bytes,
            lines: size.height,
            kept_lines: even.height,
            kept_bytes,
        };
        let chroma = |stride: usize, kept_bytes: usize| BufferLines {
            stride,
            lines: size.height.div_ceil(2),
            kept_lines: even.height / 2,
            kept_bytes,
        };
        let width = even.width;
        let planes = match format.layout {
            Layout::I420 => {
                let half = || chroma(line_bytes / 2, width / 2);
                vec![luma(width), half(), half()]
            }
            Layout::Nv12 => vec![luma(width), chroma(line_bytes, width)],
            Layout::Yuyv => vec![luma(width.checked_mul(2)?)],
            Layout::Bgr24 | Layout::Rgb24 => vec![luma(width.checked_mul(3)?)],
            Layout::Gray8 => vec![luma(width)],
        };
        let mut rest = buffer;
        let mut samples = Samples { size: even, format, planes: Default::default() };
        for (plane, lines) in samples.planes.iter_mut().zip(planes) {
            *plane = lines.copy_from(rest)?;
            rest = rest.get(lines.stride.checked_mul(lines.lines)?..).unwrap_or_default();
        }
        Some(samples)
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
                let [u, v] = interleaved::split(&second);
                Picture { y: luma(first), u: chroma(u), v: chroma(v) }
            }
            Layout::Yuyv => interleaved::from_yuyv(&first, size),
            Layout::Gray8 => {
                let grey = vec![Colour::BLACK.u; width * height / 4];
                Picture { y: luma(first), u: chroma(grey.clone()), v: chroma(grey) }
            }
            Layout::Bgr24 => return pixels::from_pixels(&first, size, |[b, g, r]| [r, g, b]),
            Layout::Rgb24 => return pixels::from_pixels(&first, size, |rgb| rgb),
        };
        if format.full_range {
            range::limit(&mut picture);
        }
        if format.layout.has_chroma() && format.matrix == Matrix::Bt709 {
            matrix::to_bt601(&mut picture);
        }
        picture
    }
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
            Layout::Yuyv => [[y, u, y, v].repeat(2), vec![], vec![]],
            Layout::Bgr24 => [[b, g, r].repeat(4), vec![], vec![]],
            Layout::Rgb24 => [[r, g, b].repeat(4), vec![], vec![]],
            Layout::Gray8 => [vec![y; 4], vec![], vec![]],
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
    #[test]
    fn a_sample_of_yuyv_chroma_is_the_mean_of_two_rows() {
        let size = Size { width: 4, height: 2 };
        let upper = [10, 100, 20, 200, 30, 1, 40, 255];
        let lower = [50, 103, 60, 210, 70, 0, 80, 255];
        let planes = [[upper, lower].concat(), vec![], vec![]];
        let picture = Samples { size, format: PixelFormat::usual(Layout::Yuyv), planes };
        let Picture { y, u, v } = picture.into_picture();
        assert_eq!(y.samples, [10, 20, 30, 40, 50, 60, 70, 80]);
        assert_eq!((u.samples, v.samples), (vec![102, 1], vec![205, 255]));
    }

    /// A buffer of a camera: each sample tells its plane, line and column, padding is 255.
    fn buffer(planes: &[(usize, usize, usize)]) -> Vec<u8> {
        let planes = planes.iter().enumerate().flat_map(|(plane, (lines, bytes, stride))| {
            (0..*lines).flat_map(move |line| {
                let sample = move |column| (80 * plane + 10 * line + column) as u8;
                (0..*stride).map(move |at| if at < *bytes { sample(at) } else { 255 })
            })
        });
        planes.collect()
    }

    #[test]
    fn a_buffer_with_padded_lines_is_the_picture_without_padding() {
        for (width, height) in [(6, 4), (7, 4), (6, 5), (7, 5)] {
            let size = Size { width, height };
            let chroma_lines = height.div_ceil(2);
            for stride in [14, 16, 24] {
                let of = |layout| -> Vec<(usize, usize, usize)> {
                    match layout {
                        Layout::I420 => vec![
                            (height, width, stride),
                            (chroma_lines, width.div_ceil(2), stride / 2),
                            (chroma_lines, width.div_ceil(2), stride / 2),
                        ],
                        Layout::Nv12 => vec![
                            (height, width, stride),
                            (chroma_lines, 2 * width.div_ceil(2), stride),
                        ],
                        Layout::Yuyv => vec![(height, 2 * width.div_ceil(2), stride)],
                        Layout::Bgr24 | Layout::Rgb24 => vec![(height, 3 * width, stride)],
                        Layout::Gray8 => vec![(height, width, stride)],
                    }
                };
                for layout in Layout::ALL {
                    let format = PixelFormat::usual(layout);
                    let lines = of(layout);
                    let bytes = buffer(&lines);
                    let samples = Samples::from_buffer(size, format, stride, &bytes);
                    if lines[0].1 > stride {
                        assert_eq!(samples, None, "{layout:?}: lines longer than {stride}");
                        continue;
                    }
                    let samples = samples.unwrap();
                    let even = Size { width: 6, height: 4 };
                    assert_eq!((samples.size, samples.format), (even, format));
                    let lengths = samples.planes.each_ref().map(Vec::len);
                    assert_eq!(lengths, layout.plane_bytes(even), "{layout:?} {size}");
                    for (index, plane) in samples.planes.iter().enumerate() {
                        let Some((_, _, stride)) = lines.get(index) else { continue };
                        let rows = [4, 2, 2][index];
                        for (line, row) in plane.chunks(plane.len() / rows).enumerate() {
                            let start: usize = lines[..index]
                                .iter()
                                .map(|(lines, _, stride)| lines * stride)
                                .sum();
                            let expected = &bytes[start + line * stride..][..row.len()];
                            assert_eq!(row, expected, "{layout:?} {size} plane {index}");
                        }
                    }
                    let last = lines[lines.len() - 1];
                    let cropped = last.0 - if lines.len() > 1 { 2 } else { 4 };
                    let kept = samples.planes.iter().rfind(|plane| !plane.is_empty()).unwrap();
                    let row = kept.len() / (last.0 - cropped);
                    let least = bytes.len() - cropped * last.2 - (last.2 - row);
                    let of = |length| Samples::from_buffer(size, format, stride, &bytes[..length]);
                    assert!(of(least).is_some(), "the last line without its padding");
                    assert_eq!(of(least - 1), None, "{layout:?} {size}: a byte less");
                    assert_eq!(of(0), None);
                }
            }
        }
    }

    #[test]
    fn a_buffer_of_an_impossible_format_is_none() {
        for (width, height, line_bytes) in
            [(0, 2, 8), (2, 0, 8), (1, 1, 8), (2, 2, 0), (2, 2, usize::MAX), (usize::MAX, 2, 8)]
        {
            for layout in Layout::ALL {
                let size = Size { width, height };
                let format = PixelFormat::usual(layout);
                assert_eq!(
                    Samples::from_buffer(size, format, line_bytes, &[0; 64]),
                    None,
                    "{size}"
                );
            }
        }
    }
}
