//! Excerpt of a command's standard error: its first lines, which name the cause, and its last lines, which
//! name the end.

use std::collections::VecDeque;

use crate::foreign::Foreign;

const FIRST_LINES: usize = 3;
const LAST_LINES: usize = 5;
const LINE_MAX_CHARS: usize = 200;
/// The most bytes of a line that are kept. More than is shown, so that a URL that is cut does not look
/// complete.
const LINE_MAX_BYTES: usize = 5_000;
const SEPARATOR: &str = " / ";

#[derive(Debug, Default)]
pub struct StderrTail {
    first: Vec<Foreign>,
    last: VecDeque<Foreign>,
    any_dropped: bool,
    /// The current line, up to now.
    line: Vec<u8>,
    /// A carriage return came: what follows overwrites the line, unless it is a line feed.
    returned: bool,
}

impl StderrTail {
    /// Adds bytes, and logs each line that they complete.
    pub fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                b'\r' => self.returned = true,
                byte => {
                    if std::mem::take(&mut self.returned) {
                        self.line.clear();
                    }
                    if self.line.len() < LINE_MAX_BYTES {
                        self.line.push(*byte);
                    }
                }
            }
        }
    }

    /// Returns all lines that were kept, on one line. `None` if there are none.
    pub fn finish(&mut self) -> Option<Foreign> {
        self.end_line();
        let join = |before: Foreign, line: &Foreign| before.and(SEPARATOR, line);
        let first = std::mem::take(&mut self.first).into_iter();
        let first = first.reduce(|before, line| join(before, &line))?;
        let mut last = std::mem::take(&mut self.last).into_iter();
        let Some(next) = last.next() else { return Some(first) };
        let separator = if self.any_dropped { " … " } else { SEPARATOR };
        Some(last.fold(first.and(separator, &next), |before, line| join(before, &line)))
    }

    fn end_line(&mut self) {
        self.returned = false;
        let line = Foreign::new(&String::from_utf8_lossy(&self.line), LINE_MAX_CHARS);
        self.line.clear();
        let Some(line) = line else { return };
        log::debug!("command stderr: {line}");
        if self.first.len() < FIRST_LINES {
            self.first.push(line);
            return;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
            self.any_dropped = true;
        }
        self.last.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: &[&[u8]]) -> Option<String> {
        let mut tail = StderrTail::default();
        pieces.iter().for_each(|piece| tail.push(piece));
        tail.finish().map(|words| words.to_string())
    }

    #[test]
    fn the_first_three_and_the_last_five_lines_are_kept() {
        assert_eq!(kept(&[]), None);
        assert_eq!(kept(&[b"\n \r\n"]), None);
        assert_eq!(kept(&[b"no cam", b"era.\n"]), Some("no camera.".into()));
        let lines = |count: usize| -> String { (1..=count).map(|n| format!("{n}\n")).collect() };
        assert_eq!(kept(&[lines(3).as_bytes()]).unwrap(), "1 / 2 / 3");
        assert_eq!(kept(&[lines(8).as_bytes()]).unwrap(), "1 / 2 / 3 / 4 / 5 / 6 / 7 / 8");
        assert_eq!(kept(&[lines(100).as_bytes()]).unwrap(), "1 / 2 / 3 … 96 / 97 / 98 / 99 / 100");
    }

    #[test]
    fn progress_that_is_overwritten_is_one_line() {
        let progress = b"header\r\nframe= 1\rframe= 2\rframe= 3";
        assert_eq!(kept(&[progress]).unwrap(), "header / frame= 3");
    }

    #[test]
    fn long_lines_are_cut_and_control_characters_are_escapes() {
        assert_eq!(kept(&["ö".repeat(100_000).as_bytes()]).unwrap(), "ö".repeat(200));
        assert_eq!(kept(&[b"\x1b[31mred\x07 \xff"]).unwrap(), "\\u{1b}[31mred\\u{7} \u{fffd}");
    }

    #[test]
    fn urls_are_cut_also_where_a_line_is() {
        let line = "rtsp://admin:p@ss@10.0.0.2:554/live: 401, see rtsp://x/user=a&password=b";
        assert_eq!(kept(&[line.as_bytes()]).unwrap(), "rtsp://10.0.0.2:554/… 401, see rtsp://x/…");
        let long = format!("rtsp://admin:1{}@camera/live", "0".repeat(9_000));
        assert_eq!(kept(&[long.as_bytes()]).unwrap(), "rtsp://…");
    }
}
