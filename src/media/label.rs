//! A line of text on a dark bar, rendered once and drawn into many pictures.

use super::picture::{Colour, Picture, Size};
use super::text::{GLYPH_HEIGHT, GLYPH_WIDTH, draw_glyph};

/// The height of a picture with the unscaled font. Higher pictures scale it by an integer.
const UNSCALED_HEIGHT: usize = 240;
/// Between the text and the edges of its bar, in pixels of the font. Even, so that the bar covers whole samples
/// of chroma.
const PADDING: usize = 2;

/// White text on a black bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    bar: Picture,
}

impl Label {
    /// Renders text for pictures of this size: as large as their height suggests, and not wider than they are,
    /// if the font is that small. Characters outside Latin-1 become `?`.
    pub fn new(text: &str, size: Size) -> Label {
        let unscaled = Size {
            width: text.chars().count() * GLYPH_WIDTH + 2 * PADDING,
            height: GLYPH_HEIGHT + 2 * PADDING,
        };
        let scale = (size.height / UNSCALED_HEIGHT).min(size.width / unscaled.width).max(1);
        let bar = Size { width: scale * unscaled.width, height: scale * unscaled.height };
        let mut bar = Picture::filled(bar, Colour::BLACK);
        for (column, character) in text.chars().enumerate() {
            let left = scale * (PADDING + column * GLYPH_WIDTH);
            draw_glyph(&mut bar, left, scale * PADDING, scale, character);
        }
        Label { bar }
    }

    /// Draws the bar at the left edge, below this even number of rows, clipped to the picture.
    pub fn draw(&self, picture: &mut Picture, top: usize) {
        debug_assert!(top.is_multiple_of(2));
        for (from, to, top) in [
            (&self.bar.y, &mut picture.y, top),
            (&self.bar.u, &mut picture.u, top / 2),
            (&self.bar.v, &mut picture.v, top / 2),
        ] {
            let width = from.width.min(to.width);
            let rows = from.samples.chunks_exact(from.width);
            for (row, y) in rows.zip(top..to.height) {
                to.row_mut(y)[..width].copy_from_slice(&row[..width]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::text::glyph_pixels;

    const TEXT: &str = "2026-12-01 14:03:27";

    /// The text on the bar, read from the pixels.
    fn read(picture: &Picture, scale: usize, top: usize) -> String {
        let glyphs: Vec<(char, Vec<bool>)> = (' '..='~').map(|c| (c, glyph_pixels(c))).collect();
        let column = |column: usize| {
            let left = scale * (PADDING + column * GLYPH_WIDTH);
            let at = |x: usize, y: usize| {
                picture.y.at(left + scale * x, top + scale * (PADDING + y)) == 235
            };
            let rows = (0..GLYPH_HEIGHT).flat_map(|y| (0..GLYPH_WIDTH).map(move |x| (x, y)));
            let pixels: Vec<bool> = rows.map(|(x, y)| at(x, y)).collect();
            let found = glyphs.iter().find(|(_, glyph)| *glyph == pixels);
            found.map_or('\u{fffd}', |(character, _)| *character)
        };
        (0..TEXT.len()).map(column).collect()
    }

    #[test]
    fn the_text_can_be_read_in_every_size_and_the_rest_of_the_picture_stays() {
        for (width, height, scale, top) in [
            (320, 240, 1, 0),
            (240, 320, 1, 16),
            (640, 480, 2, 16),
            (1280, 720, 3, 0),
            (720, 1280, 5, 0),
        ] {
            let size = Size { width, height };
            let mut picture = Picture::filled(size, Colour::GREEN);
            Label::new(TEXT, size).draw(&mut picture, top);
            assert_eq!(read(&picture, scale, top), TEXT, "{size}");
            let (right, bottom) = (118 * scale, top + 14 * scale);
            for (y, row) in picture.y.samples.chunks(width).enumerate() {
                let is_bar = (top..bottom).contains(&y);
                let kept = if is_bar { &row[right..] } else { row };
                assert!(kept.iter().all(|luma| *luma == Colour::GREEN.y), "{size} {y}");
                assert!(!is_bar || row[..right].iter().all(|luma| [16, 235].contains(luma)));
            }
            assert_eq!(
                (picture.u.at(0, top / 2), picture.v.at(right / 2 - 1, top / 2)),
                (128, 128)
            );
            assert_eq!(picture.u.at(right / 2, top / 2), Colour::GREEN.u);
            assert_eq!(picture.v.at(0, bottom / 2), Colour::GREEN.v);
        }
    }

    #[test]
    fn a_bar_that_does_not_fit_is_clipped() {
        for (width, height, top) in [(64, 64, 0), (2, 2, 0), (320, 20, 16), (320, 16, 16)] {
            let size = Size { width, height };
            let mut picture = Picture::filled(size, Colour::GREEN);
            Label::new(TEXT, size).draw(&mut picture, top);
            assert_eq!(picture.size(), size);
        }
    }
}
