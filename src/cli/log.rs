//! The log on standard error. Lines have a time; if the systemd journal reads them, they have a priority
//! instead, as the journal adds the time (sd-daemon(3), systemd.exec(5)).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use log::Level;

/// Starts the log. `RUST_LOG` selects what it holds.
pub fn start() {
    let environment = env_logger::Env::default().default_filter_or("info");
    let mut builder = env_logger::Builder::from_env(environment);
    if is_journal() {
        builder.format(|buffer, record| {
            let text = with_priority(record.level(), &record.args().to_string());
            buffer.write_all(text.as_bytes())
        });
    } else {
        builder.format_target(false);
    }
    builder.init();
}

/// Writes why the program exits.
pub fn write_failure(sentence: &str) {
    if is_journal() {
        eprint!("{}", with_priority(Level::Error, sentence));
    } else {
        eprintln!("ballcast: {sentence}");
    }
}

/// Whether standard error is the stream to the journal, which systemd names in `JOURNAL_STREAM`.
fn is_journal() -> bool {
    let named = std::env::var_os("JOURNAL_STREAM");
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let Ok(stderr) = stderr.and_then(|file| file.metadata()) else { return false };
    is_named(named.as_deref(), stderr.dev(), stderr.ino())
}

/// Whether the variable names this file, as `DEVICE:INODE` in decimal.
fn is_named(variable: Option<&OsStr>, device: u64, inode: u64) -> bool {
    variable.is_some_and(|variable| *variable == *format!("{device}:{inode}"))
}

/// Each line of the text with the syslog priority of this level.
fn with_priority(level: Level, text: &str) -> String {
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    text.lines().map(|line| format!("<{priority}>{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_a_priority() {
        assert_eq!(with_priority(Level::Warn, "one"), "<4>one\n");
        assert_eq!(with_priority(Level::Error, "one\ntwo"), "<3>one\n<3>two\n");
        assert_eq!(with_priority(Level::Trace, "one"), "<7>one\n");
    }

    #[test]
    fn the_journal_is_the_file_that_is_named() {
        let is_journal = |variable| is_named(Some(OsStr::new(variable)), 9, 4_711);
        assert!(is_journal("9:4711"));
        for other in ["", "9", "9:471", "8:4711", "9:4711:", "x:4711"] {
            assert!(!is_journal(other), "{other}");
        }
        assert!(!is_named(None, 9, 4_711));
    }
}
