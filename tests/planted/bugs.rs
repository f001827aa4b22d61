//! The planted bugs, and the source with all of them in it, each behind a switch.
//!
//! `tests/planted/*.txt` hold them, one paragraph a bug:
//!
//! ```text
//! name: one viewer too many
//! found by: S13
//! find: self.viewers.asked() >= most
//! bug: self.viewers.asked() > most
//! ```
//!
//! - `found by` names rules of the simulator, any of which may find the bug (S13 is a panic, which
//!   includes the core's own invariants), or `scenario` and the name of one.
//! - `find` is a snippet that occurs exactly once in all of `src/` but its unit tests. White space
//!   and trailing commas do not count, so that neither a move nor `rustfmt` makes it another one.
//! - `bug` takes its place when the bug is on: an expression, or nothing or statements for a
//!   statement.
//! - `replace` is there in place of `bug` where that does not do, and always takes its place:
//!   `PLANTED` in it is whether the bug is on, `ORIGINAL` the snippet.
//!
//! A value may go on in indented lines. A bug may have several edits, and several bugs the same
//! snippet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub struct Bug {
    pub name: String,
    #[allow(dead_code, reason = "for the program that plants them")]
    pub found_by: Vec<String>,
    edits: Vec<Edit>,
}

#[derive(Default)]
struct Edit {
    find: String,
    replacement: String,
    /// The replacement always takes the snippet's place.
    is_rewrite: bool,
}

/// The bugs of `tests/planted/`, in the order of their names.
pub fn all(root: &Path) -> Vec<Bug> {
    let files = fs::read_dir(root.join("tests/planted")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let texts = files.filter(|file| file.extension().is_some_and(|it| it == "txt"));
    let mut bugs: Vec<Bug> =
        texts.flat_map(|file| bugs_in(&fs::read_to_string(file).unwrap())).collect();
    bugs.sort_by(|a, b| a.name.cmp(&b.name));
    bugs
}

fn bugs_in(text: &str) -> Vec<Bug> {
    let mut bugs: Vec<Bug> = Vec::new();
    for (key, value) in fields(text) {
        if key == "name" {
            bugs.push(Bug { name: value, found_by: Vec::new(), edits: Vec::new() });
            continue;
        }
        let bug = bugs.last_mut().expect("a bug begins with its name");
        match key.as_str() {
            "found by" if value.starts_with("scenario ") => bug.found_by = vec![value],
            "found by" => bug.found_by = value.split(' ').map(str::to_owned).collect(),
            "find" => bug.edits.push(Edit { find: value, ..Edit::default() }),
            "bug" | "replace" => {
                let edit = bug.edits.last_mut().expect("an edit begins with what it finds");
                edit.replacement = value;
                edit.is_rewrite = key == "replace";
            }
            _ => panic!("{}: '{key}' is no field of a bug", bug.name),
        }
    }
    bugs
}

/// Key and value of each field, with the indented lines that follow it.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with(' ') {
            let (_, value) = fields.last_mut().expect("a value begins with its key");
            *value += "\n";
            *value += line;
            continue;
        }
        let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("no key: {line}"));
        fields.push((key.to_owned(), value.trim().to_owned()));
    }
    fields
}

impl Edit {
    /// What takes the place of `original`.
    fn applied(&self, number: usize, original: &str) -> String {
        let planted = format!("crate::planted::is_on({number})");
        let replacement = &self.replacement;
        if self.is_rewrite {
            replacement.replace("PLANTED", &planted).replace("ORIGINAL", original)
        } else if self.find.ends_with(';') {
            format!("if {planted} {{ {replacement} }} else {{ {original} }}")
        } else {
            format!("(if {planted} {{ {replacement} }} else {{ {original} }})")
        }
    }
}

/// The Rust files in `src`, with all bugs in them. The number of a bug is its place among `bugs`.
///
/// # Errors
/// The edits whose snippet is not there exactly once, or overlaps another one.
pub fn plant(bugs: &[Bug], src: &Path) -> Result<Vec<(PathBuf, String)>, Vec<String>> {
    let mut errors = Vec::new();
    let mut sources: Vec<Source> = rust_files(src).into_iter().map(Source::read).collect();
    for (number, bug) in bugs.iter().enumerate() {
        for edit in &bug.edits {
            let places: Vec<_> = sources
                .iter()
                .enumerate()
                .flat_map(|(at, source)| source.places(&edit.find).map(move |span| (at, span)))
                .collect();
            let [(at, (start, end))] = places[..] else {
                errors.push(format!("{}: {} times: {}", bug.name, places.len(), edit.find));
                continue;
            };
            let source = &mut sources[at];
            if source.overlaps(start, end) {
                errors.push(format!("{}: overlaps another bug: {}", bug.name, edit.find));
                continue;
            }
            let original = source.text[start..end].to_owned();
            let now = source.edited.entry((start, end)).or_insert(original);
            *now = edit.applied(number, now);
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(sources.into_iter().map(Source::with_edits).collect())
}

struct Source {
    path: PathBuf,
    text: String,
    /// The text before its unit tests without what does not count, and where in the text each of its
    /// bytes is.
    compact: Vec<u8>,
    offsets: Vec<usize>,
    /// The spans of the text that are replaced, and by what.
    edited: BTreeMap<(usize, usize), String>,
}

impl Source {
    fn read(path: PathBuf) -> Source {
        let text = fs::read_to_string(&path).unwrap();
        let tests_at = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
        let (compact, offsets) = compact(&text[..tests_at]);
        Source { path, text, compact, offsets, edited: BTreeMap::new() }
    }

    /// The spans of the text that are the snippet.
    fn places(&self, snippet: &str) -> impl Iterator<Item = (usize, usize)> {
        let (snippet, _) = compact(snippet);
        let length = snippet.len();
        assert!(length > 0, "an edit finds nothing");
        let starts = memchr::memmem::find_iter(&self.compact, &snippet).collect::<Vec<_>>();
        let spans = starts.into_iter();
        let spans = spans.map(move |at| (self.offsets[at], self.offsets[at + length - 1] + 1));
        spans.filter(|(start, end)| !self.is_inside_word(*start) && !self.is_inside_word(*end))
    }

    /// Whether a word goes on from before `offset` to behind it.
    fn is_inside_word(&self, offset: usize) -> bool {
        let is_word =
            |byte: Option<&u8>| byte.is_some_and(|it| it.is_ascii_alphanumeric() || *it == b'_');
        let text = self.text.as_bytes();
        is_word(text[..offset].last()) && is_word(text.get(offset))
    }

    /// Whether a part of it is replaced, but not exactly it.
    fn overlaps(&self, start: usize, end: usize) -> bool {
        self.edited.keys().any(|span| *span != (start, end) && span.0 < end && start < span.1)
    }

    fn with_edits(self) -> (PathBuf, String) {
        let mut text = self.text;
        for ((start, end), replacement) in self.edited.into_iter().rev() {
            text.replace_range(start..end, &replacement);
        }
        (self.path, text)
    }
}

/// Without white space, and without commas before a closing bracket.
fn compact(text: &str) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
    for (offset, byte) in text.bytes().enumerate().filter(|(_, it)| !it.is_ascii_whitespace()) {
        if matches!(byte, b')' | b']' | b'}') && bytes.last() == Some(&b',') {
            bytes.pop();
            offsets.pop();
        }
        bytes.push(byte);
        offsets.push(offset);
    }
    (bytes, offsets)
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
