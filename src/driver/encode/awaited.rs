//! The pictures whose frames come later.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pictures in order of capture, each with an `R` about its request. Bounded by what encoders have at work: a frame
/// settles the pictures before its own, too, which are lost.
pub struct Awaited<R>(VecDeque<AwaitedPicture<R>>);

pub struct AwaitedPicture<R> {
    pub captured: Instant,
    /// Of our processor, up to the encoder.
    pub spent: Duration,
    pub request: R,
}

impl<R> Awaited<R> {
    pub fn new() -> Awaited<R> {
        Awaited(VecDeque::new())
    }

    pub fn push(&mut self, picture: AwaitedPicture<R>) {
        self.0.push_back(picture);
    }

    /// Takes the picture of this time, whose frame has come.
    pub fn settle(&mut self, captured: Instant) -> Option<AwaitedPicture<R>> {
        let count = self.0.partition_point(|picture| picture.captured <= captured);
        self.0.drain(..count).next_back().filter(|picture| picture.captured == captured)
    }

    /// Takes the newest picture. All others are lost.
    pub fn settle_all(&mut self) -> Option<AwaitedPicture<R>> {
        self.0.drain(..).next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_settles_its_picture_and_those_before_that_are_lost() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut awaited = Awaited::new();
        for second in [1, 2, 3, 5, 6] {
            let spent = Duration::ZERO;
            awaited.push(AwaitedPicture { captured: at(second), spent, request: second });
        }
        let mut settle = |second| awaited.settle(at(second)).map(|picture| picture.request);
        assert_eq!([0, 1, 3, 3, 4].map(&mut settle), [None, Some(1), Some(3), None, None]);
        assert_eq!(awaited.settle_all().map(|picture| picture.request), Some(6));
        assert!(awaited.settle_all().is_none());
    }
}
