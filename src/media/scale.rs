//! Scales pictures down.

use super::picture::{Picture, Plane};

impl Picture {
    /// Scales the picture down to an even `width`, at least 2 and at most its own, and to the even height that
    /// best keeps the aspect ratio. Each sample is the mean of those that it covers (box filter).
    pub fn scaled_to(&self, width: usize) -> Picture {
        debug_assert!(width.is_multiple_of(2) && (2..=self.y.width).contains(&width));
        let (own_width, own_height) = (self.y.width, self.y.height);
        let half_height = (own_height * width + own_width) / (2 * own_width);
        let half_height = half_height.clamp(1, own_height / 2);
        Picture {
            y: scale(&self.y, width, 2 * half_height),
            u: scale(&self.u, width / 2, half_height),
            v: scale(&self.v, width / 2, half_height),
        }
    }
}

fn scale(plane: &Plane, width: usize, height: usize) -> Plane {
    let mut samples = Vec::with_capacity(width * height);
    let mut sums = vec![0_u32; plane.width];
    for y in 0..height {
        let rows = covered(y, height, plane.height);
        sums.fill(0);
        for row in rows.clone() {
            let row = &plane.samples[row * plane.width..][..plane.width];
            sums.iter_mut().zip(row).for_each(|(sum, sample)| *sum += u32::from(*sample));
        }
        for x in 0..width {
            let columns = covered(x, width, plane.width);
            let count = (columns.len() * rows.len()) as u32;
            let sum: u32 = sums[columns].iter().sum();
            samples.push(((sum + count / 2) / count) as u8);
        }
    }
    Plane { width, height, samples }
}

/// The samples of `from` that sample `index` of `length` covers. `from` is at least `length`.
fn covered(index: usize, length: usize, from: usize) -> std::ops::Range<usize> {
    index * from / length..(index + 1) * from / length
}

#[cfg(test)]
mod tests {
    use crate::media::{Ball, Colour, Picture, Size};

    #[test]
    fn a_picture_keeps_its_shape_and_its_colours() {
        let size = Size { width: 640, height: 480 };
        let picture = Picture::filled(size, Colour::GREEN);
        for (width, height) in [(640, 480), (638, 478), (320, 240), (100, 76), (16, 12)] {
            let scaled = picture.scaled_to(width);
            assert!(scaled == Picture::filled(Size { width, height }, Colour::GREEN), "{width}");
        }
        let flat = Picture::filled(Size { width: 3840, height: 64 }, Colour::BLACK);
        assert_eq!(flat.scaled_to(16).size(), Size { width: 16, height: 2 });
    }

    #[test]
    fn a_sample_is_the_mean_of_those_that_it_covers() {
        let mut picture = Picture::filled(Size { width: 8, height: 4 }, Colour::BLACK);
        picture.y.row_mut(0)[..4].copy_from_slice(&[10, 20, 200, 100]);
        picture.y.row_mut(1)[..4].copy_from_slice(&[30, 40, 0, 100]);
        let scaled = picture.scaled_to(4);
        assert_eq!(scaled.y.samples[..4], [25, 100, 16, 16]);
    }

    #[test]
    fn the_ball_stays_where_it_is() {
        let size = Size { width: 640, height: 480 };
        let mut picture = Picture::filled(size, Colour::BLACK);
        let mut ball = Ball::new(size);
        ball.advance();
        ball.draw(&mut picture);
        let (x, y) = ball.centre();
        let scaled = picture.scaled_to(320);
        let (x, y) = (x as usize / 2, y as usize / 2);
        assert_eq!(scaled.y.at(x, y), Colour::GREEN.y);
        assert_eq!(scaled.y.at(x + 12, y), Colour::BLACK.y);
        assert_eq!(scaled.u.at(x / 2, y / 2), Colour::GREEN.u);
    }
}
