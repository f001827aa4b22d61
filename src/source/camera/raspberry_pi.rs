//! The camera of a Raspberry Pi, which V4L2 shows as a bare sensor: the command that makes a stream of it.

use super::{CameraFormat, ModeWish};
use crate::media::{Layout, Matrix, PixelFormat, Size};
use crate::source::RawPictures;

const USUAL_SIZE: Size = Size { width: 1280, height: 720 };
const USUAL_RATE: u32 = 30;
/// From this height on, the program makes BT.709 (rpicam-apps, `core/rpicam_app.cpp`: `ColorSpace::Rec709`).
const BT709_FROM_HEIGHT: usize = 720;
const BITS_PER_SECOND: u32 = 2_500_000;

/// The shell command that runs this program, and what it writes: H.264 of the board's encoder if it has one, or
/// raw pictures, which are encoded here and so have a key frame whenever a viewer needs one.
pub(super) fn command(
    program: &str,
    has_encoder: bool,
    wish: ModeWish,
) -> (String, Option<RawPictures>) {
    let size = wish.size.unwrap_or(USUAL_SIZE);
    let rate = wish.frames_per_second.unwrap_or(USUAL_RATE);
    let Size { width, height } = size;
    let common = format!("--flush --width {width} --height {height} --framerate {rate} -o -");
    let encodes = match wish.format {
        Some(format) => format == CameraFormat::H264,
        None => has_encoder,
    };
    if encodes {
        let h264 = format!("--inline --profile baseline --intra {rate} -b {BITS_PER_SECOND}");
        return (format!("{program} -t 0 -n {h264} {common}"), None);
    }
    let matrix = if height >= BT709_FROM_HEIGHT { Matrix::Bt709 } else { Matrix::Bt601 };
    let pixels = PixelFormat { matrix, ..PixelFormat::usual(Layout::I420) };
    let raw = RawPictures { size, pixels, frames_per_second: rate };
    (format!("{program} -t 0 -n --codec yuv420 {common}"), Some(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_with_an_encoder_makes_h264_and_one_without_makes_pictures() {
        let (line, raw) = command("rpicam-vid", true, ModeWish::default());
        assert!(line.contains(" --inline ") && line.contains(" --intra 30 "), "{line}");
        assert_eq!(raw, None);
        let wish = ModeWish {
            size: Some(Size { width: 640, height: 480 }),
            frames_per_second: Some(15),
            format: None,
        };
        let (line, raw) = command("libcamera-vid", false, wish);
        assert_eq!(
            line,
            "libcamera-vid -t 0 -n --codec yuv420 --flush --width 640 --height 480 --framerate 15 -o -"
        );
        let raw = raw.unwrap();
        assert_eq!((raw.frames_per_second, raw.pixels.matrix), (15, Matrix::Bt601));
        let raw = command("rpicam-vid", false, ModeWish::default()).1.unwrap();
        assert_eq!(raw.pixels.matrix, Matrix::Bt709);
    }
}
