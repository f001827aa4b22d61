//! From the matrix of BT.709 to that of BT.601.

use crate::media::Picture;

/// The factors are in units of 2^-9: their products with chroma samples, and the sums of two, fit 16 bits, so that the
/// compiler vectorises them eight at a time. The result is off by 0.8 at most.
const FRACTION_BITS: u32 = 9;

const fn fixed(factor: f64) -> i16 {
    (factor * (1 << FRACTION_BITS) as f64 + if factor < 0.0 { -0.5 } else { 0.5 }) as i16
}

// What luma and chroma in BT.601 have of Cb and Cr in BT.709, both in limited range, beyond what they have of
// themselves: the inverse of the one matrix times the other, minus one.
const Y_OF_CB: i16 = fixed(0.099_312);
const Y_OF_CR: i16 = fixed(0.191_700);
const CB_OF_CB: i16 = fixed(0.989_854 - 1.0);
const CB_OF_CR: i16 = fixed(-0.110_653);
const CR_OF_CB: i16 = fixed(-0.072_453);
const CR_OF_CR: i16 = fixed(0.983_398 - 1.0);
const ZERO_CHROMA: i16 = 128;

fn added(sample: i16, difference: i16) -> u8 {
    (sample + difference).clamp(0, 255) as u8
}

/// Converts a picture in limited range from BT.709 to BT.601.
pub fn to_bt601(picture: &mut Picture) {
    let (width, half) = (picture.y.width, picture.u.width);
    // What is added to the luma of the two pixels above a chroma sample, and of the two below them.
    let mut differences = vec![0; half];
    let row_pairs = picture.y.samples.chunks_exact_mut(2 * width);
    let us = picture.u.samples.chunks_exact_mut(half);
    let vs = picture.v.samples.chunks_exact_mut(half);
    for ((rows, us), vs) in row_pairs.zip(us).zip(vs) {
        for ((difference, u), v) in differences.iter_mut().zip(us).zip(vs) {
            let (cb, cr) = (i16::from(*u) - ZERO_CHROMA, i16::from(*v) - ZERO_CHROMA);
            let part = |of_cb: i16, of_cr: i16| {
                (of_cb * cb + of_cr * cr + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS
            };
            *difference = part(Y_OF_CB, Y_OF_CR);
            *u = added(i16::from(*u), part(CB_OF_CB, CB_OF_CR));
            *v = added(i16::from(*v), part(CR_OF_CB, CR_OF_CR));
        }
        for row in rows.chunks_exact_mut(width) {
            for (pair, difference) in row.as_chunks_mut::<2>().0.iter_mut().zip(&differences) {
                *pair = pair.map(|luma| added(i16::from(luma), *difference));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Colour, Size};

    #[test]
    fn every_chroma_is_converted_as_the_definition_says() {
        for (u, v) in (0..=255).flat_map(|u| (0..=255).map(move |v| (u, v))) {
            let colour = Colour { y: 100, u, v };
            let mut picture = Picture::filled(Size { width: 2, height: 2 }, colour);
            to_bt601(&mut picture);
            let (cb, cr) = (f64::from(u) - 128.0, f64::from(v) - 128.0);
            for (is, should) in [
                (picture.y.samples[3], 100.0 + 0.099_312 * cb + 0.191_700 * cr),
                (picture.u.samples[0], 128.0 + 0.989_854 * cb - 0.110_653 * cr),
                (picture.v.samples[0], 128.0 - 0.072_453 * cb + 0.983_398 * cr),
            ] {
                let distance = (f64::from(is) - should.clamp(0.0, 255.0)).abs();
                assert!(distance < 0.8, "{u} {v}: {is} for {should}");
            }
        }
    }
}
