//! The command line to use instead of a SOURCE that Ballcast cannot read: a URL, or a video file in a
//! container.

use std::fs::File;
use std::io::{IsTerminal, Read, stderr};
use std::path::Path;

use super::UsageError;
use super::values::shown;
use crate::source::parse::{Parser, StreamError};

/// Enough to detect the format of a file.
const FIRST_BYTES: u64 = 4_096;
/// ffmpeg's format for Ballcast to encode; for odd sizes too, as `crop` makes them even.
const PICTURES: &str = "-vf format=yuv420p,crop -f yuv4mpegpipe -";
/// In real time, in a loop.
const OVER_AND_OVER: &str = "-re -stream_loop -1";
/// In real time. The command exits at the end, and is started again.
const ONCE: &str = "-re";
/// Formats that ffmpeg cannot loop: after the first round it writes no pictures, or fails.
const PLAYED_ONCE: [&str; 4] = ["MPEG-TS", "MPEG-2", "MPEG-4 Part 2", "H.265"];
/// Extensions of video files on a web server, which ffmpeg reads faster than real time.
const FILMS: [&str; 12] =
    ["avi", "flv", "gif", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ogv", "webm", "wmv"];
/// The same for files that cannot be looped, and for playlists, which continue by themselves.
const PLAYLISTS: [&str; 3] = ["m3u8", "mpd", "ts"];
/// What needs no quotes in a shell, beside letters and digits.
const PLAIN: &str = "%+,-./:=@_";

/// The command line for a URL (RFC 3986, 3.1). The sentence may end up in the log of a service, or in a bug
/// report: only a terminal gets the whole URL.
pub(super) fn for_url(source: &str) -> Option<UsageError> {
    for_url_shown(source, stderr().is_terminal())
}

fn for_url_shown(source: &str, is_whole: bool) -> Option<UsageError> {
    let (scheme, rest) = source.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !is_scheme || rest.is_empty() || source.contains(char::is_control) {
        return None;
    }
    let name = shown(source);
    let is_cut = name != source && !is_whole;
    let input = quoted(if is_cut { &name } else { source });
    let note = if is_cut {
        " (insert the whole URL: it is cut here because it may contain a password)"
    } else {
        ""
    };
    let command = command_for_url(&scheme.to_ascii_lowercase(), source, &input);
    Some(UsageError(format!("{name} is a URL. Let ffmpeg read it{note}:\n{}", line(&command))))
}

fn command_for_url(scheme: &str, url: &str, input: &str) -> String {
    if matches!(scheme, "rtsp" | "rtsps") {
        return format!(
            "ffmpeg -v error -rtsp_transport tcp -i {input} -an -c:v copy \
             -bsf:v dump_extra=freq=keyframe -f h264 -"
        );
    }
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_one_of = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(extension));
    let pace = if is_one_of(&FILMS) {
        OVER_AND_OVER
    } else if is_one_of(&PLAYLISTS) {
        ONCE
    } else {
        return format!("ffmpeg -v error -i {input} {PICTURES}");
    };
    format!("ffmpeg -v error {pace} -i {input} {PICTURES}")
}

/// The command line for a file, if it is a video in a container. A file that cannot be read is skipped.
pub(super) fn for_film(file: &Path) -> Option<UsageError> {
    let mut first = Vec::new();
    File::open(file).ok()?.take(FIRST_BYTES).read_to_end(&mut first).ok()?;
    let Err(StreamError::Container(container)) = Parser::new().push(&first) else { return None };
    let (name, input) = names(file);
    let command = command_for_film(container, &input);
    let sentence = format!("{name} is {container}. Let ffmpeg read it:\n{}", line(&command));
    Some(UsageError(sentence))
}

fn command_for_film(container: &str, input: &str) -> String {
    let pace = if PLAYED_ONCE.contains(&container) { ONCE } else { OVER_AND_OVER };
    format!("ffmpeg -v error {pace} -i {input} {PICTURES}")
}

/// A path in a sentence, and in a command for ffmpeg: `FILE` if it cannot be typed.
fn names(path: &Path) -> (String, String) {
    let name = shown(&path.to_string_lossy());
    let Some(path) = path.to_str().filter(|path| !path.contains(char::is_control)) else {
        return (name, "FILE".to_owned());
    };
    // Before a colon, ffmpeg expects the name of a protocol.
    let protocol = if path.contains(':') { "file:" } else { "" };
    (name, quoted(&format!("{protocol}{path}")))
}

/// The command line that runs this shell command.
fn line(command: &str) -> String {
    // Unchanged inside double quotes (POSIX, Shell Command Language, 2.2.3; `!` is bash history).
    let is_plain = !command.contains(['"', '$', '`', '\\', '!']);
    if command.contains('\'') && is_plain {
        return format!("  ballcast --exec \"{command}\"");
    }
    format!("  ballcast --exec '{}'", command.replace('\'', r"'\''"))
}

/// One shell word.
fn quoted(word: &str) -> String {
    if word.chars().all(|c| c.is_ascii_alphanumeric() || PLAIN.contains(c)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::driver::test_folder::TestFolder;

    /// The words of the command in the last line, after the shell has read both.
    fn words(sentence: &str) -> Vec<String> {
        let print = |script: &str| {
            let script = format!("p() {{ printf '%s\\n' \"$@\"; }}; {script}");
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{script}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let line = sentence.lines().last().unwrap().strip_prefix("  ballcast ").unwrap();
        let exec = print(&format!("p {line}"));
        let command = exec.strip_prefix("--exec\nffmpeg ").unwrap();
        print(&format!("p {command}")).lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_name_of_a_film_survives_both_shells() {
        let folder = TestFolder::new("films");
        for name in [
            "film.mp4",
            "a film.mp4",
            "it's.mp4",
            "\"$HOME\".mp4",
            "it's $5!.mp4",
            "`id`.mp4",
            "a;b&.mp4",
            "back\\slash.mp4",
            "100%.mp4",
            "*.mp4",
            "~.mp4",
            "12:30.mp4",
            "größe.mp4",
            "#1.mp4",
            "-v.mp4",
        ] {
            let path = folder.0.join(name);
            std::fs::write(&path, b"\0\0\0\x20ftypisom\0\0\0\0").unwrap();
            let sentence = for_film(&path).unwrap().to_string();
            let words = words(&sentence);
            let input = words.iter().position(|word| word == "-i").unwrap() + 1;
            let file = words[input].strip_prefix("file:").unwrap_or(&words[input]);
            assert_eq!(Path::new(file), path, "{sentence}");
            assert_eq!(words[input].starts_with("file:"), name.contains(':'), "{sentence}");
            assert!(words.starts_with(&["-v".into(), "error".into(), "-re".into()]), "{sentence}");
        }
        let path = folder.0.join("two\nlines.mp4");
        std::fs::write(&path, b"\0\0\0\x20ftypisom\0\0\0\0").unwrap();
        let sentence = for_film(&path).unwrap().to_string();
        assert_eq!(
            (sentence.lines().count(), words(&sentence)[6].as_str()),
            (2, "FILE"),
            "{sentence}"
        );
    }

    #[test]
    fn a_stream_without_a_container_is_no_film() {
        let folder = TestFolder::new("streams");
        let path = folder.0.join("stream");
        for bytes in [
            &b"\0\0\0\x01\x67\x42\0\x1f"[..],
            b"YUV4MPEG2 W64 H48\n",
            b"\xff\xd8\xff",
            b"ID3\x04",
            b"text",
            b"",
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(for_film(&path), None, "{bytes:?}");
        }
        assert_eq!(for_film(&folder.0.join("missing")), None);
    }

    #[test]
    fn a_film_begins_again_where_ffmpeg_can_begin_again() {
        let begins_again =
            |container: &str| command_for_film(container, "FILE").contains("-stream_loop -1");
        assert!(begins_again("MP4"));
        assert!(!begins_again("MPEG-TS"));
    }

    #[test]
    fn a_url_is_read_as_fast_as_it_is_to_be_shown() {
        let film = ["-re", "-stream_loop", "-1", "-i"];
        for (url, before) in [
            ("http://nas/films/a%20b.MP4", &film[..]),
            ("https://nas/live/index.m3u8", &["-re", "-i"]),
            ("http://camera:8080/stream", &["-i"]),
            ("udp://239.0.0.1:5004", &["-i"]),
            ("RTSP://camera/stream", &["-rtsp_transport", "tcp", "-i"]),
        ] {
            let sentence = for_url_shown(url, true).unwrap().to_string();
            let words = words(&sentence);
            assert_eq!(words[2..2 + before.len()], *before, "{sentence}");
            assert_eq!(words[2 + before.len()], url, "{sentence}");
        }
        for path in ["clip.h264", "/dev/video0", "://", "a b://c", "1://x", "http://", "http:/x"] {
            assert_eq!(for_url(path), None, "{path}");
        }
    }

    #[test]
    fn what_may_be_a_password_in_a_url_is_not_logged() {
        for url in [
            "rtsp://user:hunter2@camera/stream",
            "http://camera/?password=hunter2",
            "http://camera/hunter2/film.mp4",
        ] {
            for is_terminal in [true, false] {
                let sentence = for_url_shown(url, is_terminal).unwrap().to_string();
                assert_eq!(sentence.contains("hunter2"), is_terminal, "{sentence}");
                assert_eq!(sentence.contains("the whole URL"), !is_terminal, "{sentence}");
            }
        }
    }
}
