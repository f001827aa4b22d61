//! Turns and mirrors pictures.

use super::picture::{Picture, Plane, Size};

/// How far a picture is turned clockwise, in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    #[default]
    Deg0,
    Deg90,
    Deg180,
    Deg270,
}

/// How a picture is shown. It is rotated first and then mirrored, left to right, as the viewer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Orientation {
    pub rotation: Rotation,
    pub is_mirrored: bool,
}

/// What is changed about the pictures of a source. What is encoded here is changed before; encoded frames are not,
/// and viewers are told how to show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appearance {
    pub orientation: Orientation,
    /// Date and time of the capture are drawn into what is encoded here.
    pub has_clock: bool,
}

impl Rotation {
    pub const ALL: [Rotation; 4] =
        [Rotation::Deg0, Rotation::Deg90, Rotation::Deg180, Rotation::Deg270];

    pub fn degrees(self) -> u16 {
        match self {
            Rotation::Deg0 => 0,
            Rotation::Deg90 => 90,
            Rotation::Deg180 => 180,
            Rotation::Deg270 => 270,
        }
    }

    /// Whether rows become columns.
    fn is_sideways(self) -> bool {
        matches!(self, Rotation::Deg90 | Rotation::Deg270)
    }
}

impl Orientation {
    /// Whether a picture stays as it is.
    pub fn is_upright(self) -> bool {
        self == Orientation::default()
    }

    /// The size of an oriented picture of this size.
    pub fn size(self, size: Size) -> Size {
        match self.rotation.is_sideways() {
            true => Size { width: size.height, height: size.width },
            false => size,
        }
    }
}

impl Picture {
    /// The picture, rotated and then mirrored.
    pub fn oriented(&self, orientation: Orientation) -> Picture {
        let turn = |plane| oriented(plane, orientation);
        Picture { y: turn(&self.y), u: turn(&self.u), v: turn(&self.v) }
    }
}

fn oriented(plane: &Plane, Orientation { rotation, is_mirrored }: Orientation) -> Plane {
    let Plane { width, height, ref samples } = *plane;
    if !rotation.is_sideways() {
        let is_upside_down = rotation == Rotation::Deg180;
        let mut turned = vec![0; samples.len()];
        for (y, row) in turned.chunks_exact_mut(width).enumerate() {
            let from = if is_upside_down { height - 1 - y } else { y };
            let from = &samples[from * width..][..width];
            match is_upside_down == is_mirrored {
                true => row.copy_from_slice(from),
                false => copy_reversed(from, row),
            }
        }
        return Plane { width, height, samples: turned };
    }
    // The rows of the picture become columns from the right, its columns rows from the top: by 90 degrees. The
    // other three combinations reverse one of these or both.
    let from_bottom = (rotation == Rotation::Deg90) != is_mirrored;
    let from_right = rotation == Rotation::Deg270;
    Plane { width: height, height: width, samples: transposed(plane, from_bottom, from_right) }
}

fn copy_reversed(from: &[u8], to: &mut [u8]) {
    let (words, tail) = from.as_chunks::<WORD>();
    let (head, reversed) = to.split_at_mut(tail.len());
    head.iter_mut().zip(tail.iter().rev()).for_each(|(to, from)| *to = *from);
    for (to, from) in reversed.as_chunks_mut::<WORD>().0.iter_mut().rev().zip(words) {
        *to = u64::from_le_bytes(*from).swap_bytes().to_le_bytes();
    }
}

/// The side of the squares that are transposed in registers: the bytes of a `u64`.
const WORD: usize = 8;
/// The columns that are transposed one after the other: so many rows of the result, a cache line each, stay in the
/// first cache.
const BLOCK: usize = 128;

/// The columns of a plane as rows, from the left or the right. Each of them begins at the top or the bottom.
fn transposed(plane: &Plane, from_bottom: bool, from_right: bool) -> Vec<u8> {
    let Plane { width, height, ref samples } = *plane;
    let mut transposed = vec![0; samples.len()];
    let (square_width, square_height) = (width - width % WORD, height - height % WORD);
    let row_of = |x: usize| if from_right { width - 1 - x } else { x };
    for block_x in (0..square_width).step_by(BLOCK) {
        let block = block_x..square_width.min(block_x + BLOCK);
        for y in (0..square_height).step_by(WORD) {
            let rows: [&[[u8; WORD]]; WORD] = std::array::from_fn(|row| {
                let y = if from_bottom { y + WORD - 1 - row } else { y + row };
                samples[y * width..][block.clone()].as_chunks().0
            });
            let left = if from_bottom { height - WORD - y } else { y };
            for at in 0..rows[0].len() {
                let columns = transposed_square(rows.map(|row| u64::from_le_bytes(row[at])));
                for (column, word) in columns.into_iter().enumerate() {
                    let row = row_of(block_x + at * WORD + column);
                    transposed[row * height + left..][..WORD].copy_from_slice(&word.to_le_bytes());
                }
            }
        }
    }
    // What does not fill a square, at the right and at the bottom.
    for y in 0..height {
        let column = if from_bottom { height - 1 - y } else { y };
        for x in if y < square_height { square_width..width } else { 0..width } {
            transposed[row_of(x) * height + column] = samples[y * width + x];
        }
    }
    transposed
}

/// Transposes 8x8 bytes, of which the first in each row is the lowest: swaps the off-diagonal quarters of squares of
/// 8, 4 and 2 (Warren, *Hacker's Delight*, section 7-3).
fn transposed_square(mut square: [u64; WORD]) -> [u64; WORD] {
    swap_quarters::<4>(&mut square, 0xffff_ffff);
    swap_quarters::<2>(&mut square, 0xffff_0000_ffff);
    swap_quarters::<1>(&mut square, 0x00ff_00ff_00ff_00ff);
    square
}

/// `mask` covers the first `SIDE` bytes of each `2 * SIDE`.
fn swap_quarters<const SIDE: usize>(square: &mut [u64; WORD], mask: u64) {
    for rows in square.chunks_exact_mut(2 * SIDE) {
        let (upper, lower) = rows.split_at_mut(SIDE);
        for (upper, lower) in upper.iter_mut().zip(lower) {
            let swapped = (*upper >> (8 * SIDE) ^ *lower) & mask;
            *lower ^= swapped;
            *upper ^= swapped << (8 * SIDE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Colour;

    /// A quarter turn clockwise, by the definition.
    fn turned(plane: &Plane) -> Plane {
        let Plane { width, height, .. } = *plane;
        let at = |x: usize, y: usize| plane.at(y, height - 1 - x);
        let samples = (0..width).flat_map(|y| (0..height).map(move |x| at(x, y))).collect();
        Plane { width: height, height: width, samples }
    }

    fn mirrored(plane: &Plane) -> Plane {
        let rows = plane.samples.chunks(plane.width);
        let samples = rows.flat_map(|row| row.iter().rev()).copied().collect();
        Plane { samples, ..*plane }
    }

    fn naive(plane: &Plane, orientation: Orientation) -> Plane {
        let turns = usize::from(orientation.rotation.degrees() / 90);
        let plane = (0..turns).fold(plane.clone(), |plane, _| turned(&plane));
        if orientation.is_mirrored { mirrored(&plane) } else { plane }
    }

    #[test]
    fn every_orientation_of_every_size_is_that_of_the_definition() {
        let mut random = fastrand::Rng::with_seed(1);
        let sides = [2, 4, 8, 14, 16, 18, 62, 64, 66, 130];
        for (width, height) in sides.iter().flat_map(|w| sides.map(|h| (*w, h))) {
            let mut picture = Picture::filled(Size { width, height }, Colour::BLACK);
            for plane in [&mut picture.y, &mut picture.u, &mut picture.v] {
                plane.samples.iter_mut().for_each(|sample| *sample = random.u8(..));
            }
            for rotation in Rotation::ALL {
                for is_mirrored in [false, true] {
                    let orientation = Orientation { rotation, is_mirrored };
                    let Picture { y, u, v } = picture.oriented(orientation);
                    assert!(
                        y == naive(&picture.y, orientation),
                        "{width}x{height} {orientation:?}"
                    );
                    assert!(
                        u == naive(&picture.u, orientation),
                        "{width}x{height} {orientation:?}"
                    );
                    assert!(
                        v == naive(&picture.v, orientation),
                        "{width}x{height} {orientation:?}"
                    );
                    let size = Size { width: y.width, height: y.height };
                    assert_eq!(orientation.size(picture.size()), size);
                }
            }
        }
    }

    #[test]
    fn a_quarter_turn_clockwise_takes_the_upper_left_corner_to_the_right() {
        let mut picture = Picture::filled(Size { width: 4, height: 2 }, Colour::BLACK);
        picture.y.samples = (0..8).collect();
        let turned = |rotation, is_mirrored| {
            picture.oriented(Orientation { rotation, is_mirrored }).y.samples
        };
        assert_eq!(turned(Rotation::Deg90, false), [4, 0, 5, 1, 6, 2, 7, 3]);
        assert_eq!(turned(Rotation::Deg90, true), [0, 4, 1, 5, 2, 6, 3, 7]);
        assert_eq!(turned(Rotation::Deg270, false), [3, 7, 2, 6, 1, 5, 0, 4]);
        assert_eq!(turned(Rotation::Deg180, true), [4, 5, 6, 7, 0, 1, 2, 3]);
    }
}
