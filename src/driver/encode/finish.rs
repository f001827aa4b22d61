//! What is done to a picture before it is encoded: it is rotated, mirrored, and marked with the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::driver::local_time::local_time;
use crate::media::{Appearance, Label, Orientation, Picture, STAMP_HEIGHT, Size};

/// Rotates, mirrors and marks pictures.
#[derive(Debug, Clone)]
pub struct Finish {
    orientation: Orientation,
    clock: Option<ClockOverlay>,
}

impl Finish {
    /// `is_stamped`: the top rows are those of a [stamp](crate::media::write_stamp), and nothing is drawn there.
    pub fn new(appearance: Appearance, is_stamped: bool) -> Finish {
        let top = if is_stamped { STAMP_HEIGHT } else { 0 };
        let clock = appearance.has_clock.then_some(ClockOverlay { top, label: None });
        Finish { orientation: appearance.orientation, clock }
    }

    /// Whether pictures stay as they are.
    pub fn is_nothing(&self) -> bool {
        self.orientation.is_upright() && self.clock.is_none()
    }

    /// Whether pictures are rotated or mirrored.
    pub fn is_turning(&self) -> bool {
        !self.orientation.is_upright()
    }

    /// Rotates and mirrors a picture.
    pub fn turn(&self, picture: &Picture) -> Picture {
        picture.oriented(self.orientation)
    }

    /// Draws the time of the capture.
    pub fn mark(&mut self, picture: &mut Picture, captured: SystemTime) {
        if let Some(clock) = &mut self.clock {
            clock.draw(picture, captured);
        }
    }

    /// Does all of this to a picture that was captured at this time.
    pub fn finish(&mut self, mut picture: Picture, captured: Instant) -> Picture {
        if self.is_turning() {
            picture = self.turn(&picture);
        }
        if let Some(clock) = &mut self.clock {
            clock.draw(&mut picture, SystemTime::now() - captured.elapsed());
        }
        picture
    }
}

/// The date and time, rendered once a second.
#[derive(Debug, Clone)]
struct ClockOverlay {
    /// The rows above it.
    top: usize,
    /// The label of a second since the epoch, for pictures of a size.
    label: Option<(u64, Size, Label)>,
}

impl ClockOverlay {
    fn draw(&mut self, picture: &mut Picture, wall: SystemTime) {
        let second = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let size = picture.size();
        let label =
            self.label.take().filter(|(of, for_size, _)| (*of, *for_size) == (second, size));
        let label = label.or_else(|| Some((second, size, Label::new(&local_time(wall)?, size))));
        if let Some((_, _, label)) = &label {
            label.draw(picture, self.top);
        }
        self.label = label;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::{Colour, Rotation};

    const SIZE: Size = Size { width: 320, height: 240 };
    const CLOCK: Appearance = Appearance {
        orientation: Orientation { rotation: Rotation::Deg90, is_mirrored: true },
        has_clock: true,
    };

    fn labelled(size: Size, wall: SystemTime, top: usize) -> Picture {
        let mut picture = Picture::filled(size, Colour::GREEN);
        Label::new(&local_time(wall).unwrap(), size).draw(&mut picture, top);
        picture
    }

    #[test]
    fn the_time_is_that_of_the_capture_and_is_drawn_after_the_rotation() {
        let age = Duration::from_secs(3_600);
        let size = CLOCK.orientation.size(SIZE);
        for (is_stamped, top) in [(false, 0), (true, 16)] {
            let mut finish = Finish::new(CLOCK, is_stamped);
            // The second may pass between the two readings of the clock.
            let is_right = (0..3).any(|_| {
                let (now, wall) = (Instant::now(), SystemTime::now());
                let Some(captured) = now.checked_sub(age) else { return true };
                let picture = finish.finish(Picture::filled(SIZE, Colour::GREEN), captured);
                picture == labelled(size, wall - age, top)
            });
            assert!(is_right, "below {top} rows");
        }
    }

    #[test]
    fn the_label_follows_the_second_and_the_size() {
        let mut finish =
            Finish::new(Appearance { has_clock: true, ..Appearance::default() }, false);
        let start = UNIX_EPOCH + Duration::from_secs(1_796_133_807);
        let large = Size { width: 1280, height: 720 };
        for (size, after_ms) in
            [(SIZE, 0), (SIZE, 999), (SIZE, 1_000), (large, 1_001), (SIZE, 61_000)]
        {
            let wall = start + Duration::from_millis(after_ms);
            let mut picture = Picture::filled(size, Colour::GREEN);
            finish.mark(&mut picture, wall);
            assert!(picture == labelled(size, wall, 0), "{size} after {after_ms} ms");
        }
    }
}
