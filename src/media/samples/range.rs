//! The range of samples: full (JFIF, most USB cameras) and limited (video).

use crate::media::Picture;

/// Luma of the full range in the limited one, from 16 to 235.
pub fn limited_luma(sample: u8) -> u8 {
    scaled::<219, { 16 * 255 }>(sample)
}

/// Chroma of the full range in the limited one, from 16 to 240 around 128.
pub fn limited_chroma(sample: u8) -> u8 {
    scaled::<224, { 128 * (255 - 224) }>(sample)
}

/// `(FACTOR * sample + OFFSET) / 255`, rounded. The division by 255 is exact up to 65,406, and arithmetic in 16
/// bits, unlike a table, is vectorised by the compiler.
fn scaled<const FACTOR: u16, const OFFSET: u16>(sample: u8) -> u8 {
    let sum = FACTOR * u16::from(sample) + (OFFSET + 128);
    ((sum + (sum >> 8)) >> 8) as u8
}

/// Converts a picture from full to limited range.
pub fn limit(picture: &mut Picture) {
    picture.y.samples.iter_mut().for_each(|sample| *sample = limited_luma(*sample));
    for plane in [&mut picture.u, &mut picture.v] {
        plane.samples.iter_mut().for_each(|sample| *sample = limited_chroma(*sample));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_scaled_as_the_definition_says() {
        for sample in 0..=255_u8 {
            let full = f64::from(sample);
            let luma = 16.0 + full * 219.0 / 255.0;
            let chroma = 128.0 + (full - 128.0) * 224.0 / 255.0;
            assert_eq!(f64::from(limited_luma(sample)), luma.round(), "{sample}");
            assert_eq!(f64::from(limited_chroma(sample)), chroma.round(), "{sample}");
        }
    }
}
