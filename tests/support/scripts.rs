//! JavaScript that measures a page that plays the ball, for any browser.

use serde_json::Value;

use super::ball;

pub const LIVE: &str = "window.ballcast?.state === 'live'";

/// How many consecutive frames a browser may skip on a busy machine.
pub const MOST_SKIPPED: usize = 30;

/// The bounding box of the green pixels, and the size of the picture, for each of the next 60 frames.
pub const DISCS: &str = "new Promise((resolve) => {
    const video = document.querySelector('video');
    const canvas = document.createElement('canvas');
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const discs = [];
    const measure = () => {
        const { videoWidth: width, videoHeight: height } = video;
        [canvas.width, canvas.height] = [width, height];
        context.drawImage(video, 0, 0);
        const { data } = context.getImageData(0, 0, width, height);
        let [left, right, top, bottom] = [width, -1, height, -1];
        for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++) {
                if (data[4 * (y * width + x) + 1] > 110) {
                    [left, right] = [Math.min(left, x), Math.max(right, x)];
                    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
                }
            }
        }
        discs.push([left, right, top, bottom, width, height]);
        if (discs.length === 60) resolve(discs);
        else video.requestVideoFrameCallback(measure);
    };
    video.requestVideoFrameCallback(measure);
})";

/// Frames presented per second, as counted by the browser over three seconds.
const FRAME_RATE: &str = "new Promise((resolve) => {
    const video = document.querySelector('video');
    let first;
    const count = (now, frame) => {
        first ??= frame;
        const seconds = (frame.expectedDisplayTime - first.expectedDisplayTime) / 1000;
        if (seconds >= 3) resolve((frame.presentedFrames - first.presentedFrames) / seconds);
        else video.requestVideoFrameCallback(count);
    };
    video.requestVideoFrameCallback(count);
})";

/// Checks that the discs measured in a page are on the trajectory of the ball, and returns the numbers
/// of their frames.
pub fn follow(discs: &Value) -> Vec<usize> {
    let centre = |seen: &Value| {
        let [left, right, top, bottom, width, height] =
            [0, 1, 2, 3, 4, 5].map(|index| seen[index].as_f64().unwrap());
        (ball::middle(left, right, width), ball::middle(top, bottom, height))
    };
    let centres: Vec<(f64, f64)> = discs.as_array().unwrap().iter().map(centre).collect();
    ball::follow(&centres, MOST_SKIPPED).unwrap()
}

/// Checks the best of three measurements: a busy machine only lowers the frame rate.
pub fn check_frame_rate(mut evaluate: impl FnMut(&str) -> Value) {
    let rates: Vec<f64> = (0..3).map(|_| evaluate(FRAME_RATE).as_f64().unwrap()).collect();
    println!("{rates:?} frames/s");
    let best = rates.iter().copied().fold(0.0, f64::max);
    assert!((29.0..31.5).contains(&best), "{rates:?} frames/s");
}
