//! The texts that the program prints about itself: both lengths of help, and the manual page in man(7).

mod help;
mod manual;

pub use super::flags::CliText;
use super::flags::{Flag, FlagSection};

/// Columns of a terminal, and of the source of the manual page.
const WIDTH: usize = 80;
const VERSION: &str = env!("CARGO_PKG_VERSION");

const WHAT: &str = "live video from this device in any browser on the local network";
const ABOUT: [&str; 3] = [
    "Ballcast shows live video from this device in any browser on the local network, over WebRTC. Start it, \
     then open one of the URLs that it prints. Without a SOURCE, the picture is a bouncing ball. All viewers \
     share one encode, and when there is no picture the page says why.",
    "Without WebRTC, /snapshot.jpg is one picture, and /stream.mjpg is one after the other. Players use WHEP at \
     /whep.",
    "For programs, /stats is JSON, /metrics is for Prometheus, and /health is 200, or 503 and the reason while \
     there is no picture.",
];
const USAGE: [&str; 2] = ["ballcast [OPTIONS] [SOURCE]", "ballcast --check-health [URL]"];
const SOURCE: &str = "H.264 without a container, yuv4mpeg2 or MJPEG, detected by the first bytes. H.264 is \
     passed on as it is: baseline, main or high, 4:2:0, without B-frames, best with a key frame every 1 or 2 \
     seconds. Everything else is encoded by Ballcast.";
/// The sources that are no options.
const OPERANDS: [(&str, &str); 3] = [
    ("DEVICE", "A camera such as /dev/video0"),
    ("-", "Standard input"),
    ("PATH", "A named pipe, or a file, played in a loop"),
];

const VARIABLES: [(&str, &str); 5] = [
    ("BALLCAST_TOKEN", "The token that viewers need, if no option gives one."),
    (
        "BALLCAST_PUBLISH_TOKEN",
        "The token for all media servers of --publish, if no option gives one.",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "Set by systemd. The files ballcast.token and ballcast.publish-token in this directory hold the tokens \
         that neither an option nor a variable gives.",
    ),
    (
        "STATE_DIRECTORY",
        "Set by systemd. Sessions at the media servers of --publish are recorded in this directory, and the next \
         start ends those that a killed process has left. Without it, nothing is recorded.",
    ),
    (
        "RUST_LOG",
        "What the log on standard error holds: error, warn, info (the default), debug or trace. With debug, it \
         also holds what a command or a media server says.",
    ),
];

/// Command lines for cameras.
const EXAMPLES: [(&str, &str); 5] = [
    ("The camera that is plugged in, or that of a Raspberry Pi:", "ballcast --camera"),
    (
        "One of several cameras, in its own size, with a control:",
        "ballcast --camera C920 --camera-size 1920x1080@30 --control brightness=140",
    ),
    (
        "The camera of a Raspberry Pi with options of your own:",
        r"ballcast --exec 'rpicam-vid -t 0 -n --inline --flush --profile baseline \
  --intra 30 -b 2500000 --width 1280 --height 720 --framerate 30 -o -'",
    ),
    (
        "A USB camera, encoded by ffmpeg:",
        r"ballcast --exec 'ffmpeg -v error -f v4l2 -i /dev/video0 -pix_fmt yuv420p \
  -c:v libx264 -preset ultrafast -tune zerolatency -profile:v baseline \
  -g 30 -f h264 -flush_packets 1 -'",
    ),
    (
        "A network camera that sends H.264:",
        r"ballcast --exec 'ffmpeg -v error -rtsp_transport tcp \
  -i rtsp://CAMERA/STREAM -an -c:v copy -bsf:v dump_extra=freq=keyframe \
  -f h264 -'",
    ),
];

impl CliText {
    pub fn render(self) -> String {
        match self {
            CliText::Summary => help::summary(),
            CliText::Help => help::help(),
            CliText::Manual => manual::manual(),
            CliText::Version => format!("ballcast {VERSION}\n"),
        }
    }
}

fn operands(section: FlagSection) -> &'static [(&'static str, &'static str)] {
    if section == FlagSection::Source { &OPERANDS } else { &[] }
}

/// All that is known about an option.
fn paragraph(flag: &Flag) -> String {
    let mut text = format!("{}.", flag.line);
    if !flag.more.is_empty() {
        text += &format!(" {}", flag.more);
    }
    if let Some(default) = flag.default {
        text += &format!(" [default: {default}]");
    }
    text
}

/// Lines of at most [`WIDTH`] columns, this far from the left.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if indent + line.len() + 1 + word.len() <= WIDTH => {
                *line += &format!(" {word}")
            }
            _ => lines.push(word.to_owned()),
        }
    }
    indented(&lines.join("\n"), indent)
}

fn indented(lines: &str, indent: usize) -> String {
    lines.lines().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::flags::FLAGS;
    use crate::cli::{Environment, parse};

    #[test]
    fn the_short_help_has_one_line_for_each_option() {
        let summary = CliText::Summary.render();
        assert!(summary.lines().all(|line| line.chars().count() <= WIDTH), "{summary}");
        for flag in FLAGS {
            let lines =
                summary.lines().filter(|line| line.starts_with(&format!("  {}", flag.usage())));
            let described: Vec<&str> = lines.filter(|line| line.contains(flag.line)).collect();
            assert_eq!(described.len(), 1, "{}", flag.name);
            assert!(described[0].contains(&format!("{}  ", flag.usage())), "{described:?}");
        }
        assert!(summary.contains("  TCP and UDP port; 0 picks a free one [8080]\n"), "{summary}");
    }

    #[test]
    fn the_help_has_the_whole_text_of_each_option_in_80_columns() {
        let help = CliText::Help.render();
        assert!(help.lines().all(|line| line.chars().count() <= WIDTH), "{help}");
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        for flag in FLAGS {
            let item = format!("{} {}", flag.usage(), paragraph(flag));
            assert!(words(&help).contains(&words(&item)), "{item}");
        }
        for (name, _) in VARIABLES {
            assert!(help.contains(&format!("  {name}\n")), "{name}");
        }
    }

    #[test]
    fn the_examples_without_a_command_are_understood() {
        let examples = EXAMPLES.iter().filter_map(|(_, line)| line.strip_prefix("ballcast "));
        let lines: Vec<&str> = examples.filter(|line| !line.starts_with("--exec")).collect();
        assert_eq!(lines.len(), 2);
        for line in lines {
            let arguments = line.split(' ').map(OsString::from);
            assert!(parse(arguments, Environment::default()).is_ok(), "{line}");
        }
    }

    #[test]
    fn lines_of_the_table_are_clauses_and_paragraphs_are_sentences() {
        for flag in FLAGS {
            assert!(!flag.line.ends_with('.') && flag.line.starts_with(char::is_uppercase));
            assert!(flag.more.is_empty() || flag.more.ends_with('.'), "{}", flag.more);
            assert!(!flag.more.contains("  ") && !flag.line.contains("  "), "{}", flag.name);
        }
    }

    #[test]
    fn text_is_wrapped_at_the_last_column() {
        let (words, column) = ("ab ".repeat(27), "ab ".repeat(26));
        assert_eq!(wrapped(&words, 0), format!("{} ab\n", column.trim_end()));
        assert_eq!(wrapped(&words, 1), format!(" {}\n ab\n", column.trim_end()));
        assert_eq!(wrapped(&"x".repeat(90), 2), format!("  {}\n", "x".repeat(90)));
        assert_eq!(wrapped("", 2), "");
    }
}
