//! The capture time, burnt into the picture, so that a page on a machine with the same wall clock can measure
//! the latency from capture to screen.
//!
//! 24 blocks of 16×16 luma in the top row of the picture, block `i` from the left is bit `i`: white
//! for one, black for zero. The value is quarters of a millisecond of the wall clock modulo 2²⁴,
//! about 70 minutes. Blocks this large survive encoding (one macroblock each).

use std::time::{SystemTime, UNIX_EPOCH};

use super::picture::Picture;

const BITS: usize = 24;
const BLOCK: usize = 16;
const WHITE: u8 = 235;
const BLACK: u8 = 16;
#[cfg(feature = "testing")]
const GREY: u8 = 128;

/// The rows of a stamp.
pub const STAMP_HEIGHT: usize = BLOCK;
/// The picture must be at least this wide to carry a stamp.
pub const STAMP_WIDTH: usize = BITS * BLOCK;

/// The stamp of a moment: quarters of a millisecond since the Unix epoch, modulo 2²⁴.
pub fn stamp_of(wall: SystemTime) -> u32 {
    let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since_epoch.as_micros() / 250 % (1 << BITS)) as u32
}

/// Burns `stamp` into the top row. The picture is at least [`STAMP_WIDTH`] wide; its chroma there
/// is left as it is.
pub fn write_stamp(picture: &mut Picture, stamp: u32) {
    for y in 0..BLOCK {
        let row = &mut picture.y.row_mut(y)[..STAMP_WIDTH];
        for (bit, block) in row.chunks_exact_mut(BLOCK).enumerate() {
            block.fill(if stamp >> bit & 1 == 1 { WHITE } else { BLACK });
        }
    }
}

/// Reads a stamp back from the centres of its blocks.
#[cfg(feature = "testing")]
pub fn read_stamp(picture: &Picture) -> u32 {
    (0..BITS)
        .filter(|bit| picture.y.at(bit * BLOCK + BLOCK / 2, BLOCK / 2) > GREY)
        .fold(0, |stamp, bit| stamp | 1 << bit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::{Colour, Size};

    #[test]
    fn a_stamp_reads_back() {
        let size = Size { width: 640, height: 480 };
        let mut picture = Picture::filled(size, Colour::BLACK);
        for stamp in [0, 1, 0x80_0000, 0xff_ffff, 0xa5_5a3c] {
            write_stamp(&mut picture, stamp);
            assert_eq!(read_stamp(&picture), stamp);
        }
    }

    #[test]
    fn a_stamp_counts_quarter_milliseconds_and_wraps() {
        assert_eq!(stamp_of(UNIX_EPOCH + Duration::from_micros(1_250)), 5);
        let wrap = Duration::from_micros(250 << 24);
        assert_eq!(stamp_of(UNIX_EPOCH + wrap), 0);
        assert_eq!(stamp_of(UNIX_EPOCH + wrap - Duration::from_micros(1)), 0xff_ffff);
    }
}
