//! From red, green and blue.

use crate::media::{Colour, Picture, Size};

/// One in fixed point.
const ONE: f64 = 65_536.0;

const fn fixed(factor: f64) -> i32 {
    (factor * ONE + if factor < 0.0 { -0.5 } else { 0.5 }) as i32
}

fn clamped(fixed: i32) -> u8 {
    ((fixed + (1 << 15)) >> 16).clamp(0, 255) as u8
}

// Luma and chroma of BT.601 in limited range for red, green and blue from 0 to 255.
const Y: [i32; 3] = [fixed(0.256_788), fixed(0.504_129), fixed(0.097_906)];
const CB: [i32; 3] = [fixed(-0.148_223), fixed(-0.290_993), fixed(0.439_216)];
const CR: [i32; 3] = [fixed(0.439_216), fixed(-0.367_788), fixed(-0.071_427)];
const LUMA_OF_BLACK: i32 = 16;
const ZERO_CHROMA: i32 = 128;

fn weighted([r, g, b]: [i32; 3], weights: [i32; 3]) -> i32 {
    weights[0] * r + weights[1] * g + weights[2] * b
}

/// From three samples a pixel. A sample of chroma is that of the mean of its four pixels.
pub fn from_pixels(pixels: &[u8], size: Size, rgb: impl Fn([u8; 3]) -> [u8; 3]) -> Picture {
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
