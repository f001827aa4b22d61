//! Chooses the mode of a camera.

use std::cmp::Reverse;

use super::{CameraCause, CameraFormat, CameraMode};
use crate::media::Size;

/// From this rate on, video looks smooth.
const SMOOTH: u32 = 25;
/// Slower rates, in classes of about the same use.
const RATE_CLASSES: [u32; 4] = [SMOOTH, 15, 10, 5];
/// Of rates that are smooth, the one closest to this.
const USUAL_RATE: u32 = 30;
/// A larger picture needs a bitrate that weak Wi-Fi does not carry, and a processor that small boards do not have.
const LARGEST_AREA: usize = 1_280 * 720;

/// The usual sizes of cameras.
const USUAL_SIZES: [Size; 8] = [
    size(320, 240),
    size(640, 360),
    size(640, 480),
    size(800, 600),
    size(1_024, 768),
    size(1_280, 720),
    size(1_280, 960),
    size(1_920, 1_080),
];

const fn size(width: usize, height: usize) -> Size {
    Size { width, height }
}

/// The sizes that matter of a camera whose sizes are in steps: the usual ones, the largest, and this one.
/// `step` has at least 1 in both directions.
pub fn sizes_in_steps(least: Size, most: Size, step: Size, wanted: Option<Size>) -> Vec<Size> {
    let fits = |size: &Size| {
        let fits_side = |side: usize, least: usize, most: usize, step: usize| {
            (least..=most).contains(&side) && (side - least).is_multiple_of(step)
        };
        fits_side(size.width, least.width, most.width, step.width)
            && fits_side(size.height, least.height, most.height, step.height)
    };
    let mut sizes = Vec::new();
    for size in USUAL_SIZES.into_iter().chain([most]).chain(wanted).filter(fits) {
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    sizes
}

/// What the operator wants of the mode, in place of the choice by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModeWish {
    pub size: Option<Size>,
    pub frames_per_second: Option<u32>,
    pub format: Option<CameraFormat>,
}

/// The modes that have turned out not to suit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RuledOut {
    pub h264: bool,
    /// Sizes with this area, in pixels, or more.
    pub areas_from: Option<usize>,
}

/// The mode of a camera that is chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChoice {
    pub mode: CameraMode,
    /// A clause that begins with the mode.
    pub reason: String,
    /// The camera has smaller sizes.
    pub(super) has_smaller: bool,
    /// The camera has no other format.
    pub(super) is_only_one: bool,
}

/// Chooses a mode of a camera: 25 pictures a second or more first, then the largest size up to 1280x720, then
/// H.264, raw pictures, MJPEG.
///
/// # Errors
/// [`CameraCause::NoMode`].
pub fn choose_mode(modes: &[CameraMode], wish: ModeWish) -> Result<ModeChoice, CameraCause> {
    choose(modes, wish, &RuledOut::default())
}

/// The same without modes that have turned out not to suit, if there are others.
pub(super) fn choose(
    modes: &[CameraMode],
    wish: ModeWish,
    ruled_out: &RuledOut,
) -> Result<ModeChoice, CameraCause> {
    let suits = |mode: &&CameraMode| {
        can_be_shown(mode.size)
            && wish.size.is_none_or(|size| size == mode.size)
            && wish.format.is_none_or(|format| format == mode.format)
    };
    let wanted: Vec<&CameraMode> = modes.iter().filter(suits).collect();
    let is_left = |mode: &&&CameraMode| {
        !(ruled_out.h264 && mode.format == CameraFormat::H264)
            && ruled_out.areas_from.is_none_or(|from| area(mode.size) < from)
    };
    let left = wanted.iter().filter(is_left).max_by_key(|mode| rank(mode, wish));
    let best = left.or_else(|| wanted.iter().max_by_key(|mode| rank(mode, wish)));
    let mode = **best.ok_or(CameraCause::NoMode)?;
    Ok(ModeChoice {
        reason: reason(mode, &wanted, wish),
        has_smaller: wanted.iter().any(|other| area(other.size) < area(mode.size)),
        is_only_one: wanted.iter().all(|other| other.format == mode.format),
        mode,
    })
}

/// What both a parser and the encoders take.
fn can_be_shown(Size { width, height }: Size) -> bool {
    let (small, large) = (width.min(height), width.max(height));
    (16..=2_160).contains(&small) && large <= 3_840
}

fn area(size: Size) -> usize {
    size.width * size.height
}

/// Pictures per second, rounded to the nearest. A camera that tells no rate is taken for a usual one.
fn rate(mode: &CameraMode) -> u32 {
    mode.rate.map_or(USUAL_RATE, |rate| (rate.numerator + rate.denominator / 2) / rate.denominator)
}

/// The class of a rate: higher is better.
fn rate_class(mode: &CameraMode) -> usize {
    let class = RATE_CLASSES.iter().position(|class| rate(mode) >= *class);
    RATE_CLASSES.len() - class.unwrap_or(RATE_CLASSES.len())
}

/// The rank of a mode: larger is better.
fn rank(mode: &CameraMode, wish: ModeWish) -> impl Ord {
    let area = area(mode.size);
    let format = match mode.format {
        CameraFormat::H264 => 4,
        CameraFormat::I420 => 3,
        CameraFormat::Nv12 => 2,
        CameraFormat::Yuyv => 1,
        CameraFormat::Mjpeg => 0,
    };
    let usual = wish.frames_per_second.unwrap_or(USUAL_RATE);
    let class = match wish.frames_per_second {
        // The rate that is asked for counts more than any class.
        Some(wanted) => usize::from(rate(mode) >= wanted),
        None => rate_class(mode),
    };
    // Of sizes that are too large, the smallest.
    let size = if area <= LARGEST_AREA { (1, area) } else { (0, usize::MAX - area) };
    (class, size, format, Reverse(rate(mode).abs_diff(usual)))
}

fn reason(mode: CameraMode, wanted: &[&CameraMode], wish: ModeWish) -> String {
    let what = format!("{} {} at {}/s", mode.format.name(), mode.size, rate(&mode));
    let mut whys: Vec<String> = Vec::new();
    if wish.size.is_none() && wanted.iter().any(|other| other.size != mode.size) {
        let limit =
            if area(mode.size) <= LARGEST_AREA { "largest size up to" } else { "size closest to" };
        let smooth =
            if rate(&mode) >= SMOOTH { format!(" with {SMOOTH}/s or more") } else { String::new() };
        whys.push(format!("the {limit} 1280x720{smooth}"));
    }
    let better = wanted.iter().filter(|other| {
        other.size == mode.size && other.format < mode.format && rate(other) < rate(&mode)
    });
    if let Some(other) = better.max_by_key(|other| rate(other)) {
        whys.push(format!("{} has {}/s there", other.format.name(), rate(other)));
    }
    match whys.is_empty() {
        true => what,
        false => format!("{what}, {}", whys.join("; ")),
    }
}

impl CameraFormat {
    /// In order of preference at the same size and rate.
    pub const ALL: [CameraFormat; 5] = [
        CameraFormat::H264,
        CameraFormat::I420,
        CameraFormat::Nv12,
        CameraFormat::Yuyv,
        CameraFormat::Mjpeg,
    ];

    /// On the command line.
    pub fn flag_name(self) -> String {
        self.name().to_lowercase().replace('.', "")
    }

    /// As in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            CameraFormat::H264 => "H.264",
            CameraFormat::I420 => "I420",
            CameraFormat::Nv12 => "NV12",
            CameraFormat::Yuyv => "YUYV",
            CameraFormat::Mjpeg => "MJPEG",
        }
    }
}

#[cfg(test)]
mod tests {
    use CameraFormat::{H264, I420, Mjpeg, Nv12, Yuyv};

    use super::*;
    use crate::source::parse::FrameRate;

    fn mode(format: CameraFormat, width: usize, height: usize, rate: u64) -> CameraMode {
        CameraMode { format, size: size(width, height), rate: FrameRate::new(rate, 1) }
    }

    /// A camera of USB 2: raw pictures are slow where they are large.
    fn webcam() -> Vec<CameraMode> {
        vec![
            mode(Yuyv, 640, 480, 30),
            mode(Yuyv, 640, 480, 15),
            mode(Yuyv, 1_280, 720, 10),
            mode(Yuyv, 1_920, 1_080, 5),
            mode(Mjpeg, 640, 480, 30),
            mode(Mjpeg, 1_280, 720, 60),
            mode(Mjpeg, 1_280, 720, 30),
            mode(Mjpeg, 1_920, 1_080, 30),
        ]
    }

    fn chosen(modes: &[CameraMode], wish: ModeWish) -> CameraMode {
        choose_mode(modes, wish).unwrap().mode
    }

    #[test]
    fn the_largest_smooth_size_up_to_720p_is_chosen_and_the_reason_is_given() {
        let choice = choose_mode(&webcam(), ModeWish::default()).unwrap();
        assert_eq!(choice.mode, mode(Mjpeg, 1_280, 720, 30));
        assert_eq!(
            choice.reason,
            "MJPEG 1280x720 at 30/s, the largest size up to 1280x720 with 25/s or more; YUYV has 10/s there"
        );
    }

    #[test]
    fn at_the_same_size_and_rate_h264_comes_before_raw_and_raw_before_mjpeg() {
        let all = [Mjpeg, Yuyv, Nv12, I420, H264];
        for known in 1..=all.len() {
            let modes: Vec<_> = all[..known].iter().map(|it| mode(*it, 640, 480, 30)).collect();
            assert_eq!(chosen(&modes, ModeWish::default()).format, all[known - 1]);
        }
    }

    #[test]
    fn a_camera_that_is_never_smooth_is_as_fast_as_it_can_be_without_being_tiny() {
        let slow = [mode(Yuyv, 320, 240, 15), mode(Yuyv, 640, 480, 15), mode(Yuyv, 1_280, 720, 5)];
        assert_eq!(chosen(&slow, ModeWish::default()), slow[1]);
        let large = [mode(Yuyv, 1_920, 1_080, 30), mode(Yuyv, 2_560, 1_440, 30)];
        assert_eq!(chosen(&large, ModeWish::default()), large[0]);
    }

    #[test]
    fn what_is_asked_for_is_kept_and_what_is_not_there_is_an_error() {
        let wish = |size, frames_per_second, format| ModeWish { size, frames_per_second, format };
        let vga = Some(size(640, 480));
        assert_eq!(chosen(&webcam(), wish(vga, Some(15), None)), mode(Yuyv, 640, 480, 15));
        assert_eq!(chosen(&webcam(), wish(None, None, Some(Yuyv))), mode(Yuyv, 640, 480, 30));
        let hd = Some(size(1_920, 1_080));
        assert_eq!(chosen(&webcam(), wish(hd, None, None)), mode(Mjpeg, 1_920, 1_080, 30));
        for wish in [wish(Some(size(64, 64)), None, None), wish(None, None, Some(H264))] {
            assert_eq!(choose_mode(&webcam(), wish), Err(CameraCause::NoMode));
        }
        assert_eq!(choose_mode(&[], ModeWish::default()), Err(CameraCause::NoMode));
        let huge = [mode(Yuyv, 8_000, 6_000, 30), mode(Yuyv, 8, 8, 30)];
        assert_eq!(choose_mode(&huge, ModeWish::default()), Err(CameraCause::NoMode));
    }

    #[test]
    fn a_step_down_goes_to_the_next_smaller_size_and_stops_at_the_smallest() {
        let mut ruled_out = RuledOut::default();
        let mut sizes = Vec::new();
        loop {
            let choice = choose(&webcam(), ModeWish::default(), &ruled_out).unwrap();
            sizes.push(choice.mode.size.to_string());
            if !choice.has_smaller {
                break;
            }
            ruled_out.areas_from = Some(area(choice.mode.size));
        }
        assert_eq!(sizes, ["1280x720", "640x480"]);
    }

    #[test]
    fn of_sizes_in_steps_the_usual_ones_the_largest_and_the_wanted_one_are_described() {
        let sizes = |wanted| sizes_in_steps(size(320, 180), size(3_840, 2_160), size(2, 2), wanted);
        let all = sizes(None);
        assert!(all.contains(&size(1_280, 720)) && all.contains(&size(3_840, 2_160)));
        assert!(!sizes(Some(size(1_001, 500))).contains(&size(1_001, 500)), "between two steps");
        assert!(sizes(Some(size(1_000, 500))).contains(&size(1_000, 500)));
        assert_eq!(sizes_in_steps(size(1, 1), size(1, 1), size(1, 1), None), [size(1, 1)]);
    }
}
