//! A picture that says which one it is: ffmpeg draws it, and a page reads it frame by frame.
//!
//! In its upper half, a white bar on black goes to the right by a fortieth of the width with each picture,
//! and begins again after 35. Its lower half is the number of the picture: ten columns, each a bit.

use serde_json::Value;

use super::browser;

/// After so many pictures the number begins again.
pub const CYCLE: i64 = 1_024;
/// How far a column may be off, in 320ths of the width.
const TOLERANCE: i64 = 6;
/// Marks that are looked at, and how often anew if some came late: a busy machine delays some.
const MARKS: usize = 45;
const TRIES: usize = 4;
const MOST_BEFORE: usize = 5;
/// A step is one if no picture is left out, and a picture is late by two periods after a step of three.
const LATEST: i64 = 3;

/// The picture, as a filter of ffmpeg: 30 a second.
pub const DRAW: &str = "nullsrc=s=80x60:r=30,\
                        geq=lum='16+219*if(lt(Y,30),between(X,mod(N*2,70),mod(N*2,70)+7),\
                        mod(floor(N/pow(2,floor(X/8))),2))':cb=128:cr=128";

/// ffmpeg's input of this size, at its frame rate.
pub fn input(size: &str) -> String {
    format!("-re {}", unhurried(size))
}

/// The same, as fast as ffmpeg is.
pub fn unhurried(size: &str) -> String {
    let size = size.replace('x', ":");
    format!("-f lavfi -i \"{DRAW},scale={size}:flags=neighbor\"")
}

/// From now on, the page keeps the mark of each picture that it presents: its number, where the bar is in
/// 320ths of the width, and the width of the picture.
const RECORD: &str = "(() => {
    window.marks = [];
    if (window.recording) return;
    window.recording = true;
    const video = document.querySelector('video');
    const canvas = new OffscreenCanvas(320, 240);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const row = (y) => {
        const { data } = context.getImageData(0, y, 320, 1);
        return Array.from({ length: 320 }, (_, x) => data[x * 4] > 128);
    };
    const look = () => {
        video.requestVideoFrameCallback(look);
        context.drawImage(video, 0, 0, 320, 240);
        const bits = row(180).filter((_, x) => x % 32 === 16);
        const number = bits.reduce((sum, bit, index) => sum + (bit ? 2 ** index : 0), 0);
        window.marks.push([number, row(60).indexOf(true), video.videoWidth]);
    };
    video.requestVideoFrameCallback(look);
})()";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub number: i64,
    left: i64,
    pub width: i64,
}

impl Mark {
    /// The bar is where it is in the picture of this number.
    pub fn is_whole(&self) -> bool {
        self.left >= 0 && (self.left - self.number * 8 % 280).abs() <= TOLERANCE
    }
}

/// Begins to keep marks, and forgets those from before. `evaluate` does so with JavaScript in the page.
pub fn record(evaluate: &mut dyn FnMut(&str) -> Value) {
    evaluate(RECORD);
}

/// All marks so far, once there are so many.
pub fn recorded(evaluate: &mut dyn FnMut(&str) -> Value, count: usize) -> Vec<Mark> {
    browser::wait_for(&mut *evaluate, &format!("window.marks.length >= {count}"));
    let marks: Vec<[i64; 3]> = serde_json::from_value(evaluate("window.marks")).unwrap();
    marks.into_iter().map(|[number, left, width]| Mark { number, left, width }).collect()
}

/// How many pictures each mark is after the one before it, in a stream whose numbers begin again after
/// so many. A picture is whole, and none comes before one that it follows.
pub fn steps(marks: &[Mark], cycle: i64) -> Vec<i64> {
    assert!(marks.iter().all(Mark::is_whole), "{marks:?}");
    let steps = marks.windows(2).map(|pair| (pair[1].number - pair[0].number).rem_euclid(cycle));
    let steps: Vec<i64> = steps.collect();
    assert!(steps.iter().all(|step| *step < cycle / 2), "out of order: {marks:?}");
    steps
}

/// Follows the marks that several pages show at the same time, each of a stream whose numbers begin again
/// after so many: no picture comes out of order, and none more than two periods late. `evaluate` does so in
/// the page of that number.
pub fn follow_all(mut evaluate: impl FnMut(usize, &str) -> Value, cycles: &[i64]) {
    let mut late: Vec<Vec<i64>> = vec![Vec::new(); cycles.len()];
    for _ in 0..TRIES {
        (0..cycles.len()).for_each(|page| record(&mut |script| evaluate(page, script)));
        for (page, late) in late.iter_mut().enumerate() {
            let marks = recorded(&mut |script| evaluate(page, script), MARKS + MOST_BEFORE);
            // What was shown before the stream, such as words.
            let begin = marks.iter().position(Mark::is_whole).filter(|begin| *begin <= MOST_BEFORE);
            let begin = begin.unwrap_or_else(|| panic!("no marks: {marks:?}"));
            *late = steps(&marks[begin..], cycles[page]);
            late.retain(|step| *step > LATEST);
        }
        if late.iter().all(Vec::is_empty) {
            return;
        }
        println!("late, looked at anew: {late:?}");
    }
    panic!("pictures are left out each time: {late:?}");
}

/// The same for one page, and a stream that does not begin again.
pub fn follow(mut evaluate: impl FnMut(&str) -> Value) {
    follow_all(|_, script| evaluate(script), &[CYCLE]);
}
