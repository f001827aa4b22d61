//! Changes of an SDP's text, as noise.

use arbitrary::Arbitrary;

const MAX_EDITS: usize = 16;

/// The text after its edits. What they insert is from the table.
pub fn edited(text: String, edits: &[Edit], table: &[&str]) -> String {
    let edits = edits.iter().take(MAX_EDITS);
    let text = edits.fold(text.into_bytes(), |text, edit| edit.apply(text, table));
    String::from_utf8_lossy(&text).into_owned()
}

pub fn pick<'a>(table: &[&'a str], which: u8) -> &'a str {
    table[usize::from(which) % table.len()]
}

/// A change of the text. Positions count from the start and wrap around.
#[derive(Debug, Arbitrary)]
pub enum Edit {
    DeleteLine(u16),
    DoubleLine(u16),
    SwapLines(u16, u16),
    /// Inserts a line from the table before another.
    InsertLine(u16, u8),
    Overwrite(u16, u8),
    Insert(u16, u8),
    Delete(u16, u8),
    LineFeeds,
    Truncate(u16),
}

impl Edit {
    fn apply(&self, mut text: Vec<u8>, table: &[&str]) -> Vec<u8> {
        if text.is_empty() {
            return text;
        }
        let at = |position: u16| usize::from(position) % text.len();
        match *self {
            Edit::Overwrite(position, byte) => {
                let position = at(position);
                text[position] = byte;
            }
            Edit::Insert(position, byte) => text.insert(at(position), byte),
            Edit::Delete(position, count) => {
                let from = at(position);
                text.drain(from..(from + usize::from(count)).min(text.len()));
            }
            Edit::Truncate(position) => text.truncate(at(position)),
            Edit::LineFeeds => text.retain(|byte| *byte != b'\r'),
            _ => return self.apply_to_lines(&text, table),
        }
        text
    }

    fn apply_to_lines(&self, text: &[u8], table: &[&str]) -> Vec<u8> {
        let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let at = |position: u16| usize::from(position) % lines.len();
        let inserted;
        match *self {
            Edit::DeleteLine(line) => {
                lines.remove(at(line));
            }
            Edit::DoubleLine(line) => {
                let line = at(line);
                lines.insert(line, lines[line]);
            }
            Edit::SwapLines(one, other) => {
                let (one, other) = (at(one), at(other));
                lines.swap(one, other);
            }
            Edit::InsertLine(line, which) => {
                inserted = pick(table, which).to_owned() + "\r\n";
                lines.insert(at(line), inserted.as_bytes());
            }
            _ => {}
        }
        lines.concat()
    }
}
