//! Draws short lines of text into a picture, which is shown while there is no other.

use embedded_graphics::geometry::{OriginDimensions, Point};
use embedded_graphics::image::GetPixel;
use embedded_graphics::mono_font::MonoFont;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;
use embedded_graphics::pixelcolor::BinaryColor;

use super::picture::{Colour, Picture, Size};

const FONT: &MonoFont = &FONT_6X10;
pub(super) const GLYPH_WIDTH: usize = FONT_6X10.character_size.width as usize;
pub(super) const GLYPH_HEIGHT: usize = FONT_6X10.character_size.height as usize;
/// The line height, in pixels of the font.
const LINE_HEIGHT: usize = GLYPH_HEIGHT + 2;
/// The size of a picture with the unscaled font: 26 characters a line. Larger pictures scale the font by an
/// integer.
const SMALLEST: Size = Size { width: 160, height: 120 };
/// The end of truncated text.
const CUT: &str = "...";

const WHITE: Colour = Colour { y: 235, u: 128, v: 128 };
const DARK_GREY: Colour = Colour { y: 40, u: 128, v: 128 };

/// Whether text is readable in a picture of this size.
pub fn has_room_for_words(size: &Size) -> bool {
    size.width >= SMALLEST.width && size.height >= SMALLEST.height
}

/// A dark grey picture with white text, which is shown while there is no signal. `size` is even in both
/// directions.
pub fn no_signal(size: Size, lines: &[&str]) -> Picture {
    let mut picture = Picture::filled(size, DARK_GREY);
    draw_text(&mut picture, lines);
    picture
}

/// Draws lines of white text, centred in the picture. Long lines are wrapped between words, and text that
/// does not fit ends with three dots. Characters outside Latin-1 become `?`.
pub fn draw_text(picture: &mut Picture, lines: &[&str]) {
    let size = picture.size();
    let scale = (size.width / SMALLEST.width).min(size.height / SMALLEST.height).max(1);
    let columns = size.width / (GLYPH_WIDTH * scale);
    let rows = size.height / (LINE_HEIGHT * scale);
    let lines = fit(lines, columns, rows);
    let top = size.height.saturating_sub(lines.len() * LINE_HEIGHT * scale) / 2;
    for (index, line) in lines.iter().enumerate() {
        let width = line.chars().count() * GLYPH_WIDTH * scale;
        let left = size.width.saturating_sub(width) / 2;
        for (column, character) in line.chars().enumerate() {
            let x = left + column * GLYPH_WIDTH * scale;
            draw_glyph(picture, x, top + index * LINE_HEIGHT * scale, scale, character);
        }
    }
}

/// Wraps and truncates text to at most `rows` lines of at most `columns` characters.
fn fit(lines: &[&str], columns: usize, rows: usize) -> Vec<String> {
    let mut fitting: Vec<String> = lines.iter().flat_map(|line| wrap(line, columns)).collect();
    if fitting.len() > rows {
        fitting.truncate(rows);
        if let Some(last) = fitting.last_mut() {
            let kept = columns.saturating_sub(CUT.len());
            *last = last.chars().take(kept).chain(CUT.chars()).take(columns).collect();
        }
    }
    fitting
}

/// Wraps a line between words, and splits words that are too long.
fn wrap(line: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in line.split_whitespace() {
        let characters: Vec<char> = word.chars().collect();
        for (index, piece) in characters.chunks(columns.max(1)).enumerate() {
            let space = usize::from(used > 0 && index == 0);
            if used + space + piece.len() > columns && used > 0 {
                lines.push(String::new());
                used = 0;
            }
            if let Some(last) = lines.last_mut() {
                if used > 0 && space > 0 {
                    last.push(' ');
                    used += 1;
                }
                last.extend(piece);
                used += piece.len();
            }
        }
    }
    lines
}

/// Draws a character in white, clipped to the picture.
pub(super) fn draw_glyph(
    picture: &mut Picture,
    left: usize,
    top: usize,
    scale: usize,
    character: char,
) {
    // The font lacks all other characters.
    let glyph = FONT.glyph_mapping.index(character);
    let a_row = FONT.image.size().width as usize / GLYPH_WIDTH;
    let (glyph_x, glyph_y) = (glyph % a_row * GLYPH_WIDTH, glyph / a_row * GLYPH_HEIGHT);
    for y in 0..GLYPH_HEIGHT {
        for x in 0..GLYPH_WIDTH {
            let at = Point::new((glyph_x + x) as i32, (glyph_y + y) as i32);
            if FONT.image.pixel(at) == Some(BinaryColor::On) {
                fill(picture, left + x * scale, top + y * scale, scale);
            }
        }
    }
}

/// Draws a white square, clipped to the picture.
fn fill(picture: &mut Picture, left: usize, top: usize, side: usize) {
    let Size { width, height } = picture.size();
    let (right, bottom) = ((left + side).min(width), (top + side).min(height));
    for y in top..bottom {
        picture.y.row_mut(y)[left.min(right)..right].fill(WHITE.y);
        picture.u.row_mut(y / 2)[left.min(right) / 2..right.div_ceil(2)].fill(WHITE.u);
        picture.v.row_mut(y / 2)[left.min(right) / 2..right.div_ceil(2)].fill(WHITE.v);
    }
}

/// Which pixels of a glyph are white, row by row.
#[cfg(test)]
pub(super) fn glyph_pixels(character: char) -> Vec<bool> {
    let mut picture = Picture::filled(Size { width: 64, height: 64 }, DARK_GREY);
    draw_glyph(&mut picture, 0, 0, 1, character);
    let rows = (0..GLYPH_HEIGHT).flat_map(|y| (0..GLYPH_WIDTH).map(move |x| (x, y)));
    rows.map(|(x, y)| picture.y.at(x, y) == WHITE.y).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size { width: 160, height: 120 };
    const LINES: [&str; 2] = ["No picture", "The camera is not there."];

    /// The text that is drawn, read from the pixels: each glyph is compared with all of the font.
    fn read(picture: &Picture, scale: usize) -> Vec<String> {
        let Size { width, height } = picture.size();
        let is_white = |x: usize, y: usize| picture.y.at(x, y) == WHITE.y;
        let glyphs: Vec<(char, Vec<bool>)> =
            (' '..='~').chain('\u{a1}'..='\u{ff}').map(|c| (c, glyph_pixels(c))).collect();
        let mut lines = Vec::new();
        let rows = height / (LINE_HEIGHT * scale);
        for count in 1..=rows {
            let top = (height - count * LINE_HEIGHT * scale) / 2;
            let found: Vec<Option<String>> = (0..count)
                .map(|row| {
                    read_line(&is_white, width, top + row * LINE_HEIGHT * scale, scale, &glyphs)
                })
                .collect();
            let outside = (0..top).chain(top + count * LINE_HEIGHT * scale..height);
            let is_empty = outside.clone().all(|y| (0..width).all(|x| !is_white(x, y)));
            if is_empty && let Some(found) = found.into_iter().collect::<Option<Vec<String>>>() {
                lines = found;
                break;
            }
        }
        lines
    }

    fn read_line(
        is_white: &dyn Fn(usize, usize) -> bool,
        width: usize,
        top: usize,
        scale: usize,
        glyphs: &[(char, Vec<bool>)],
    ) -> Option<String> {
        (0..=width / (GLYPH_WIDTH * scale)).find_map(|length| {
            let left = (width - length * GLYPH_WIDTH * scale) / 2;
            let glyph_at = |index: usize| {
                let left = left + index * GLYPH_WIDTH * scale;
                let rows = (0..GLYPH_HEIGHT).flat_map(|y| (0..GLYPH_WIDTH).map(move |x| (x, y)));
                let pixels: Vec<bool> =
                    rows.map(|(x, y)| is_white(left + x * scale, top + y * scale)).collect();
                glyphs.iter().find(|(_, glyph)| *glyph == pixels).map(|(character, _)| *character)
            };
            let text: Option<String> = (0..length).map(glyph_at).collect();
            let band = top..top + GLYPH_HEIGHT * scale;
            let outside = (0..left).chain(left + length * GLYPH_WIDTH * scale..width);
            let is_empty = outside.clone().all(|x| band.clone().all(|y| !is_white(x, y)));
            text.filter(|_| is_empty)
        })
    }

    #[test]
    fn the_text_can_be_read_in_every_size() {
        for (width, height, scale) in [(160, 120, 1), (640, 480, 4), (1920, 1080, 9)] {
            let picture = no_signal(Size { width, height }, &LINES);
            assert_eq!(read(&picture, scale), LINES, "{width}x{height}");
            assert!(picture.u.samples.iter().chain(&picture.v.samples).all(|c| *c == 128));
            let lumas = [WHITE.y, DARK_GREY.y];
            assert!(picture.y.samples.iter().all(|luma| lumas.contains(luma)));
        }
    }

    #[test]
    fn a_long_line_is_wrapped_between_words_and_a_long_word_anywhere() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 13), ["one two three"]);
        assert_eq!(wrap("one two three", 6), ["one", "two", "three"]);
        assert_eq!(wrap("an /dev/v4l/by-id/x", 8), ["an", "/dev/v4l", "/by-id/x"]);
        assert_eq!(wrap("", 5), [""]);
        let picture = no_signal(SMALL, &["The camera was unplugged, or another program has it."]);
        let expected = ["The camera was unplugged,", "or another program has it."];
        assert_eq!(read(&picture, 1), expected);
    }

    #[test]
    fn what_does_not_fit_is_cut_with_dots() {
        assert_eq!(fit(&["one two", "three"], 7, 1), ["one ..."]);
        assert_eq!(fit(&["one", "two"], 2, 1), [".."]);
        let long = "word ".repeat(200);
        let lines = read(&no_signal(SMALL, &[&long]), 1);
        assert_eq!(lines.len(), 10);
        assert!(lines[9].ends_with("..."), "{lines:?}");
        no_signal(Size { width: 2, height: 2 }, &LINES);
    }

    #[test]
    fn what_is_not_latin_1_is_a_question_mark() {
        let picture = no_signal(SMALL, &["Bücher \u{4e2d}\u{6587} \u{1}ß"]);
        assert_eq!(read(&picture, 1), ["Bücher ?? ?ß"]);
    }

    #[test]
    fn text_on_a_coloured_picture_is_white() {
        let mut picture = Picture::filled(SMALL, Colour::GREEN);
        draw_text(&mut picture, &["I"]);
        let at = picture.y.samples.iter().position(|luma| *luma == WHITE.y).unwrap();
        let (x, y) = (at % SMALL.width / 2, at / SMALL.width / 2);
        assert_eq!((picture.u.at(x, y), picture.v.at(x, y)), (128, 128));
        assert_eq!(picture.u.at(0, 0), Colour::GREEN.u);
    }
}
