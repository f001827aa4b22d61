//! Foreign text: of a command, a media server, a resolver, a browser.
//!
//! All of it passes through [`Foreign`] before anybody reads it. Text for everybody contains none of it:
//! reasons are enums with our own sentences.

use std::fmt::{self, Write};

/// The most bytes of a text that are read. A URL that does not end before that loses its host, too.
const READ_MAX_BYTES: usize = 4_096;
/// Replaces omitted text.
const CUT: &str = "…";
/// The characters after the scheme of a URL, plain and escaped in JSON.
const AFTER_SCHEME: [&str; 2] = ["://", ":\\/\\/"];
/// A name that contains one of these, ignoring case, is that of a secret.
const SECRET_NAMES: [&str; 8] =
    ["pass", "pwd", "token", "secret", "auth", "credential", "cookie", "signature"];
/// And one that ends with this: `keyint` is no secret.
const SECRET_ENDING: &str = "key";
/// Letters without a glyph (Unicode's Default_Ignorable_Code_Point) that Rust considers printable.
const FILLERS: [char; 4] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];

/// Foreign text on one line, of limited length. Only the operator and viewers who have shown the token may
/// read it.
///
/// - Characters that are invisible, have no width, or change the direction or position of others become
///   escapes such as `\u{202e}`. White space becomes one space.
/// - A URL becomes `scheme://host:port/…`: cameras take passwords in the user information, in the path and in
///   the query. An ambiguous host, as with a `/` or an `@` in a password, is omitted, too.
/// - The value after a name such as `password=` is omitted. This is a precaution, which misses secrets
///   without such a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign(String);

impl Foreign {
    /// Keeps at most `max_chars` characters, each escape counted as one. `None` if nothing is visible.
    pub fn new(text: &str, max_chars: usize) -> Option<Foreign> {
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
        let read = &text[..ends.take_while(|end| *end <= READ_MAX_BYTES).last().unwrap_or(0)];
        let is_whole = read.len() == text.len();
        let mut shown = String::new();
        for c in without_secrets(read, is_whole).chars().take(max_chars) {
            push_escaped(&mut shown, c);
        }
        (!shown.is_empty()).then_some(Foreign(shown))
    }

    /// Appends another text.
    pub fn and(self, separator: &'static str, next: &Foreign) -> Foreign {
        Foreign(self.0 + separator + &next.0)
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes a character so that it is visible, and has no effect on its neighbours: escapes control and format
/// characters (bidirectional, zero-width, tags), separators, combining marks and unassigned characters.
fn push_escaped(shown: &mut String, c: char) {
    let quotes = matches!(c, '\'' | '"' | '\\');
    // Writing to a string cannot fail.
    let _ = match FILLERS.contains(&c) {
        true => write!(shown, "{}", c.escape_unicode()),
        false if quotes => shown.write_char(c),
        false => write!(shown, "{}", c.escape_debug()),
    };
}

/// The words of a text, separated by one space, without the secrets that can be recognised.
fn without_secrets(text: &str, is_whole: bool) -> String {
    let mut shown = String::new();
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if !shown.is_empty() {
            shown.push(' ');
        }
        let ends = is_whole || words.peek().is_some();
        if push_word(&mut shown, word, ends) == NextToken::IsSecret && words.peek().is_some() {
            shown.push(' ');
            shown.push_str(CUT);
            break;
        }
    }
    shown
}

#[derive(PartialEq, Eq)]
enum NextToken {
    IsText,
    /// The word is the name of a secret, whose value may be the rest of the line.
    IsSecret,
}

fn push_word(shown: &mut String, word: &str, ends: bool) -> NextToken {
    let url = AFTER_SCHEME.iter().filter_map(|mark| Some((word.find(mark)?, mark.len()))).min();
    let before_url = &word[..url.map_or(word.len(), |(at, _)| at)];
    if let Some(value) = secret_value(before_url) {
        shown.push_str(&word[..value]);
        if value == word.len() {
            return NextToken::IsSecret;
        }
        shown.push_str(CUT);
        return NextToken::IsText;
    }
    if let Some((at, mark)) = url {
        shown.push_str(before_url);
        shown.push_str("://");
        match host(&word[at + mark..]).filter(|_| ends) {
            Some(Host { host, is_all: true }) => shown.push_str(host),
            Some(Host { host, is_all: false }) => {
                shown.push_str(host);
                shown.push('/');
                shown.push_str(CUT);
            }
            None => shown.push_str(CUT),
        }
        return NextToken::IsText;
    }
    // User information without a scheme: `user:password@host`.
    match word.rfind('@').filter(|at| word[..*at].contains(':')) {
        Some(at) => {
            shown.push_str(CUT);
            shown.push_str(&word[at..]);
        }
        None => shown.push_str(word),
    }
    // An option with its value in the next word.
    if word.starts_with('-') && is_secret_name(word) {
        NextToken::IsSecret
    } else {
        NextToken::IsText
    }
}

/// Returns the start of the value of a secret in a word: after the `=` or `:` that follows its name.
fn secret_value(word: &str) -> Option<usize> {
    let mut name = 0;
    for (at, c) in word.char_indices() {
        match c {
            '=' | ':' if is_secret_name(&word[name..at]) => return Some(at + 1),
            '=' | ':' | '&' | '?' | ';' | ',' | '/' | '{' | '[' | '(' => name = at + 1,
            _ => {}
        }
    }
    None
}

fn is_secret_name(name: &str) -> bool {
    let name = name.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    name.ends_with(SECRET_ENDING) || SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

/// The host of a URL, with its port.
struct Host<'a> {
    host: &'a str,
    /// Nothing follows the host.
    is_all: bool,
}

/// The host and port at the start of `after_scheme`, unless they are ambiguous.
fn host(after_scheme: &str) -> Option<Host<'_>> {
    let end = after_scheme.find(|c: char| "/?#\\\"'<>()".contains(c)).unwrap_or(after_scheme.len());
    let (authority, rest) = after_scheme.split_at(end);
    // `user:pass/word@host`, or an `@` in the query: nobody can tell.
    if rest.contains('@') {
        return None;
    }
    let host =
        authority.rsplit('@').next().unwrap_or_default().trim_end_matches([':', ',', ';', '.']);
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (!name.is_empty() && name.chars().all(is_name) && is_port)
        .then_some(Host { host, is_all: authority.starts_with(host) && rest.is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Foreign::new(text, 200).map(|text| text.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_url_is_cut_to_scheme_host_and_port() {
        for (text, expected) in [
            ("rtsp://10.0.0.2/user=admin&password=hunter2: 401", "rtsp://10.0.0.2/… 401"),
            ("rtsp://admin:p@ss@10.0.0.2:554/live: 401", "rtsp://10.0.0.2:554/… 401"),
            ("rtsp://admin:p/ss@10.0.0.2:554/live", "rtsp://…"),
            ("rtsp://10.0.0.2/live?to=p@ss", "rtsp://…"),
            ("rtsp://admin:hunter2", "rtsp://…"),
            ("rtsp://[fe80::1]:554/a", "rtsp://[fe80::1]:554/…"),
            (
                "see http://camera: or 'https://x.example/y', x@y",
                "see http://camera or 'https://x.example/… x@y",
            ),
            ("in=rtsp:\\/\\/u:p@h\\/key", "in=rtsp://h/…"),
            ("a://b://c", "a://b/…"),
            ("http://camera:80, http://camera/", "http://camera:80 http://camera/…"),
            ("://", "://…"),
            ("password=rtsp://camera/live", "password=…"),
            ("admin:hunter2@camera", "…@camera"),
            ("[rtsp @ 0x55d0] 401 Unauthorized", "[rtsp @ 0x55d0] 401 Unauthorized"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn the_value_after_the_name_of_a_secret_is_left_out() {
        for (text, expected) in [
            ("user=admin&password=hunter2 failed", "user=admin&password=… failed"),
            ("Password: hunter2 and more", "Password: …"),
            ("Authorization: Basic YTpi", "Authorization: …"),
            ("{\"streamKey\":\"hunter2\"}", "{\"streamKey\":…"),
            ("camera --api-token hunter2", "camera --api-token …"),
            ("no key frame, keyint=30", "no key frame, keyint=30"),
            ("the last word is password:", "the last word is password:"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_seen_or_moves_what_is_around_it_is_an_escape() {
        let invisible = "\u{0}\u{7}\u{1b}\u{ad}\u{61c}\u{200b}\u{200d}\u{200f}\u{202e}\u{2060}\u{2064}\
                         \u{2066}\u{2069}\u{feff}\u{fe0f}\u{34f}\u{e0041}\u{e000}\u{3164}\u{1160}";
        for c in invisible.chars() {
            let text = shown(&format!("a{c}b"));
            assert!(text.starts_with("a\\") && text.is_ascii(), "{c:?}: {text}");
        }
        assert_eq!(shown("abc\u{202e}gpj.exe"), "abc\\u{202e}gpj.exe");
        assert_eq!(shown("\u{1b}[31mred\u{7} \u{fffd}"), "\\u{1b}[31mred\\u{7} \u{fffd}");
        for space in ["\t", "\r\n", "\u{85}", "\u{a0}", "\u{2028}", "\u{2029}", "\u{3000}"] {
            assert_eq!(shown(&format!(" a{space} b{space}")), "a b", "{space:?}");
        }
        let plain = "Grüße, 漢字 \"it's\" <b> C:\\x €";
        assert_eq!(shown(plain), plain);
    }

    #[test]
    fn a_text_has_a_limit_and_a_url_that_is_cut_shows_no_part_of_a_password() {
        assert_eq!(shown(&"ö".repeat(100_000)), "ö".repeat(200));
        assert_eq!(Foreign::new(" \u{a0}\n", 9), None);
        let filled = "x ".repeat(READ_MAX_BYTES / 2 - 10);
        let text = Foreign::new(&format!("{filled}rtsp://admin:1234567@camera"), 10_000).unwrap();
        assert!(text.to_string().ends_with(" rtsp://…"), "{text}");
    }
}
