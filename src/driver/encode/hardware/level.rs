//! The level of a stream (ITU-T H.264, table A-1).

use crate::media::Size;

/// Macroblocks per second and per frame at most, and the value of `V4L2_CID_MPEG_VIDEO_H264_LEVEL`
/// (linux/v4l2-controls.h): levels 3, 3.1, 3.2, 4, 4.2, 5 and 5.1. Lower ones have too low bitrates, and those in
/// between differ in bitrates only.
const LEVELS: [(usize, usize, i64); 7] = [
    (40_500, 1_620, 8),
    (108_000, 3_600, 9),
    (216_000, 5_120, 10),
    (245_760, 8_192, 11),
    (522_240, 8_704, 13),
    (589_824, 22_080, 14),
    (983_040, 36_864, 15),
];

/// The lowest level that has room for these pictures, as the value of the control; 5.1 if none has.
pub fn level(size: Size, frames_per_second: u32) -> i64 {
    let macroblocks = size.width.div_ceil(16) * size.height.div_ceil(16);
    let per_second = macroblocks * frames_per_second as usize;
    let has_room = |level: &&(usize, usize, i64)| per_second <= level.0 && macroblocks <= level.1;
    LEVELS.iter().find(has_room).unwrap_or(&LEVELS[LEVELS.len() - 1]).2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_has_room_for_the_pictures() {
        for (width, height, rate, expected) in [
            (320, 240, 30, 8),
            (640, 480, 30, 8),
            (640, 480, 60, 9),
            (1280, 720, 30, 9),
            (1280, 720, 60, 10),
            (1920, 1080, 30, 11),
            (1080, 1920, 30, 11),
            (1920, 1080, 60, 13),
            (1920, 1920, 30, 14),
            (3840, 2160, 60, 15),
        ] {
            assert_eq!(level(Size { width, height }, rate), expected, "{width}x{height}@{rate}");
        }
    }
}
