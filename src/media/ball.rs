//! The picture of the built-in source: a green ball that bounces on black.
//!
//! Position, bounce and truncation match the original program (NumPy and OpenCV), whose first 3,000 centres
//! are in `tests/ball/trajectory.csv`.

use super::picture::{Colour, Picture, Plane, Size};

pub const RADIUS: i32 = 20;
const START: (f64, f64) = (100.0, 100.0);
/// Pixels per frame. Both, and all sums of them, are exact in binary.
const VELOCITY: (f64, f64) = (2.0, 1.5);

/// Half the width of the disc, by distance in rows from its centre, as OpenCV's `circle` fills a
/// radius of 20.
const HALF_WIDTHS: [i32; RADIUS as usize + 1] =
    [20, 19, 19, 19, 19, 19, 19, 18, 18, 17, 17, 16, 16, 15, 14, 13, 12, 10, 8, 6, 0];

/// The position and velocity of the ball, and where it was last drawn.
#[derive(Debug, Clone)]
pub struct Ball {
    position: (f64, f64),
    velocity: (f64, f64),
    drawn: Option<(i32, i32)>,
    size: Size,
}

impl Ball {
    /// A ball in a picture of `size`, which is at least a few pixels larger than the ball. It starts at the
    /// position of the original, or at the nearest edge of a small picture.
    pub fn new(size: Size) -> Ball {
        let fit = |start: f64, length: usize| start.min(length as f64 - f64::from(RADIUS));
        Ball {
            position: (fit(START.0, size.width), fit(START.1, size.height)),
            velocity: VELOCITY,
            drawn: None,
            size,
        }
    }

    /// Moves the ball by one frame, and bounces it off the edges.
    pub fn advance(&mut self) {
        fn step(position: &mut f64, velocity: &mut f64, length: usize) {
            let radius = f64::from(RADIUS);
            *position += *velocity;
            if *position - radius < 0.0 || *position + radius > length as f64 {
                *velocity = -*velocity;
            }
        }
        step(&mut self.position.0, &mut self.velocity.0, self.size.width);
        step(&mut self.position.1, &mut self.velocity.1, self.size.height);
    }

    /// The size of the picture.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The centre of the disc in whole pixels.
    pub fn centre(&self) -> (i32, i32) {
        (self.position.0 as i32, self.position.1 as i32)
    }

    /// Erases the disc at its last position, and draws it at the current one. The cost does not depend on the
    /// size of the picture.
    pub fn draw(&mut self, picture: &mut Picture) {
        let centre = self.centre();
        if self.drawn == Some(centre) {
            return;
        }
        if let Some(old) = self.drawn.replace(centre) {
            erase(picture, old);
        }
        fill_luma(&mut picture.y, centre, Colour::GREEN.y);
        fill_chroma(picture, centre);
    }
}

fn erase(picture: &mut Picture, centre: (i32, i32)) {
    fill_luma(&mut picture.y, centre, Colour::BLACK.y);
    for (plane, value) in [(&mut picture.u, Colour::BLACK.u), (&mut picture.v, Colour::BLACK.v)] {
        let columns = chroma_range(centre.0, plane.width);
        for y in chroma_range(centre.1, plane.height) {
            plane.row_mut(y)[columns.clone()].fill(value);
        }
    }
}

fn fill_luma(plane: &mut Plane, (centre_x, centre_y): (i32, i32), value: u8) {
    for (distance, half_width) in HALF_WIDTHS.iter().enumerate() {
        let left = clip(centre_x - half_width, plane.width);
        let right = clip(centre_x + half_width + 1, plane.width);
        let rows = [centre_y - distance as i32, centre_y + distance as i32];
        for y in rows {
            if (0..plane.height as i32).contains(&y) {
                plane.row_mut(y as usize)[left..right].fill(value);
            }
        }
    }
}

/// A chroma sample is the mean of the four pixels that it covers, so that the number of them inside the disc
/// determines it.
fn fill_chroma(picture: &mut Picture, centre: (i32, i32)) {
    let blend = |inside: u8, outside: u8, covered: u32| {
        ((u32::from(inside) * covered + u32::from(outside) * (4 - covered) + 2) / 4) as u8
    };
    for y in chroma_range(centre.1, picture.u.height) {
        for x in chroma_range(centre.0, picture.u.width) {
            let (left, top) = (2 * x as i32 - centre.0, 2 * y as i32 - centre.1);
            let corners = [(0, 0), (1, 0), (0, 1), (1, 1)];
            let covered =
                corners.iter().filter(|(dx, dy)| inside(left + dx, top + dy)).count() as u32;
            picture.u.row_mut(y)[x] = blend(Colour::GREEN.u, Colour::BLACK.u, covered);
            picture.v.row_mut(y)[x] = blend(Colour::GREEN.v, Colour::BLACK.v, covered);
        }
    }
}

fn inside(dx: i32, dy: i32) -> bool {
    HALF_WIDTHS.get(dy.unsigned_abs() as usize).is_some_and(|half_width| dx.abs() <= *half_width)
}

/// The chroma samples that the disc can touch along one axis.
fn chroma_range(centre: i32, length: usize) -> std::ops::Range<usize> {
    let first = (centre - RADIUS).div_euclid(2);
    let last = (centre + RADIUS).div_euclid(2);
    clip(first, length)..clip(last + 1, length)
}

fn clip(value: i32, length: usize) -> usize {
    value.clamp(0, length as i32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const VGA: Size = Size { width: 640, height: 480 };

    #[test]
    fn the_ball_follows_the_original_for_3000_frames() {
        let reference = include_str!("../../tests/ball/trajectory.csv");
        let mut ball = Ball::new(VGA);
        let mut frames = 0;
        for line in reference.lines().skip(1) {
            let expected: Vec<i32> = line.split(',').map(|n| n.parse().unwrap()).collect();
            ball.advance();
            frames += 1;
            assert_eq!(expected[0], frames);
            assert_eq!((expected[1], expected[2]), ball.centre(), "frame {frames}");
        }
        assert_eq!(frames, 3000);
    }

    #[test]
    fn erasing_leaves_no_trace_wherever_the_ball_has_been() {
        for size in [VGA, Size { width: 64, height: 64 }, Size { width: 130, height: 98 }] {
            let mut ball = Ball::new(size);
            let mut picture = Picture::filled(size, Colour::BLACK);
            for frame in 0..1000 {
                ball.advance();
                ball.draw(&mut picture);
                let mut fresh = Picture::filled(size, Colour::BLACK);
                Ball { drawn: None, ..ball.clone() }.draw(&mut fresh);
                assert!(picture == fresh, "{size} frame {frame}");
            }
        }
    }

    #[test]
    fn the_ball_keeps_moving_in_the_smallest_picture() {
        let size = Size { width: 64, height: 64 };
        let mut ball = Ball::new(size);
        let centres: std::collections::BTreeSet<_> = (0..200)
            .map(|_| {
                ball.advance();
                ball.centre()
            })
            .collect();
        assert!(centres.len() > 20, "{centres:?}");
    }

    #[test]
    fn the_disc_is_the_original_disc_pixel_for_pixel() {
        for (name, frame) in [("0001", 1), ("0240", 240), ("0261", 261), ("0500", 500)] {
            let mut ball = Ball::new(VGA);
            let mut picture = Picture::filled(VGA, Colour::BLACK);
            for _ in 0..frame {
                ball.advance();
                ball.draw(&mut picture);
            }
            let path = format!("{}/tests/ball/frame-{name}.png", env!("CARGO_MANIFEST_DIR"));
            let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
            let mut reader = png::Decoder::new(file).read_info().unwrap();
            let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut rgb).unwrap();
            assert_eq!((info.width, info.height), (640, 480));
            for (pixel, luma) in rgb.chunks_exact(info.line_size / 640).zip(&picture.y.samples) {
                let expected = if pixel[1] == 255 { Colour::GREEN.y } else { Colour::BLACK.y };
                assert_eq!(*luma, expected, "frame {frame}");
            }
        }
    }
}
