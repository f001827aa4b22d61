//! Chooses the mode of a camera.

use crate::media::Size;

/// The usual sizes of cameras.
const USUAL_SIZES: [Size; 8] = [
    size(320, 240),
    size(640, 360),
    size(640, 480),
    size(800, 600),
    size(1024, 768),
    size(1280, 720),
    size(1280, 960),
    size(1920, 1080),
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
