//! What a command writes to standard error: its first lines, which name the cause, and its last ones,
//! which name the end.

use std::collections::VecDeque;

const FIRST_LINES: usize = 3;
const LAST_LINES: usize = 5;
const LINE_MAX_CHARS: usize = 200;
/// UTF-8 has no longer characters than of 4 bytes.
const LINE_MAX_BYTES: usize = LINE_MAX_CHARS * 4;

#[derive(Debug, Default)]
pub struct StderrTail {
    first: Vec<String>,
    last: VecDeque<String>,
    any_left_out: bool,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// A carriage return came: what follows is written over the line, unless it is a line feed.
    returned: bool,
}

impl StderrTail {
    /// Takes the next bytes. Each line that they end is logged.
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

    /// All that is kept, on one line. `None` if nothing was written.
    pub fn finish(&mut self) -> Option<String> {
        self.end_line();
        let first = self.first.join(" / ");
        let last = Vec::from(std::mem::take(&mut self.last)).join(" / ");
        let text = match (first.is_empty(), last.is_empty()) {
            (true, _) => return None,
            (false, true) => first,
            (false, false) if self.any_left_out => format!("{first} … {last}"),
            (false, false) => format!("{first} / {last}"),
        };
        Some(text.trim_end_matches('.').to_owned())
    }

    fn end_line(&mut self) {
        self.returned = false;
        let line = String::from_utf8_lossy(&self.line);
        let shown = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        let shown: String = shown.take(LINE_MAX_CHARS).collect();
        self.line.clear();
        let shown = without_credentials(shown.trim());
        if shown.is_empty() {
            return;
        }
        log::debug!("the command writes: {shown}");
        if self.first.len() < FIRST_LINES {
            self.first.push(shown);
            return;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
            self.any_left_out = true;
        }
        self.last.push_back(shown);
    }
}

/// A line without the names and passwords of its URLs: viewers see it.
fn without_credentials(line: &str) -> String {
    let mut parts = line.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(part.len());
        let host = part[..end].rfind('@').map_or(0, |at| at + 1);
        shown += "://";
        shown += &part[host..];
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: &[&[u8]]) -> Option<String> {
        let mut tail = StderrTail::default();
        pieces.iter().for_each(|piece| tail.push(piece));
        tail.finish()
    }

    #[test]
    fn the_first_three_and_the_last_five_lines_are_kept() {
        assert_eq!(kept(&[]), None);
        assert_eq!(kept(&[b"\n \r\n"]), None);
        assert_eq!(kept(&[b"no cam", b"era.\n"]), Some("no camera".into()));
        let lines = |count: usize| -> String { (1..=count).map(|n| format!("{n}\n")).collect() };
        assert_eq!(kept(&[lines(3).as_bytes()]).unwrap(), "1 / 2 / 3");
        assert_eq!(kept(&[lines(8).as_bytes()]).unwrap(), "1 / 2 / 3 / 4 / 5 / 6 / 7 / 8");
        assert_eq!(kept(&[lines(100).as_bytes()]).unwrap(), "1 / 2 / 3 … 96 / 97 / 98 / 99 / 100");
    }

    #[test]
    fn progress_that_is_written_over_is_one_line() {
        let progress = b"header\r\nframe= 1\rframe= 2\rframe= 3";
        assert_eq!(kept(&[progress]).unwrap(), "header / frame= 3");
    }

    #[test]
    fn long_lines_are_cut_and_control_characters_are_replaced() {
        assert_eq!(kept(&["ö".repeat(100_000).as_bytes()]).unwrap(), "ö".repeat(200));
        assert_eq!(kept(&[b"\x1b[31mred\x07\0 \xff"]).unwrap(), "[31mred   \u{fffd}");
    }

    #[test]
    fn the_passwords_of_urls_are_left_out() {
        let line = "rtsp://admin:p@ss@10.0.0.2:554/live: 401, see http://camera/ or x@y";
        let shown = "rtsp://10.0.0.2:554/live: 401, see http://camera/ or x@y";
        assert_eq!(without_credentials(line), shown);
        assert_eq!(without_credentials("://"), "://");
    }
}
