//! A logger that reads the core's log: which events it reports, and whether there was an error.

use std::cell::RefCell;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::rules::publish;
use crate::tally::{Happening, Tally};

thread_local! {
    static OBSERVED: RefCell<(Tally, Option<String>)> = RefCell::default();
}

struct LogReader;

impl Log for LogReader {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record) {
        let line = record.args().to_string();
        let happening = [
            ("is silent", Happening::SilentViewer),
            ("the peer closed the connection", Happening::CleanLeave),
            ("it never connected", Happening::HalfOpenExpired),
        ];
        OBSERVED.with_borrow_mut(|(tally, error)| {
            for (words, happening) in happening {
                if line.contains(words) {
                    tally.happened(happening);
                }
            }
            if let Err(broken) = publish::check_line(&line) {
                error.get_or_insert(broken);
            }
            if record.level() == Level::Error {
                error.get_or_insert(format!("S13: {line}"));
            }
        });
    }

    fn flush(&self) {}
}

/// Starts to read the log of this thread, with no events.
pub fn begin() {
    let _ = log::set_logger(&LogReader);
    log::set_max_level(LevelFilter::Info);
    OBSERVED.take();
}

/// The first line that breaks a rule: there is none of level error.
pub fn errors() -> Option<String> {
    OBSERVED.with_borrow(|(_, error)| error.clone())
}

pub fn happenings() -> Tally {
    OBSERVED.with_borrow(|(tally, _)| tally.clone())
}
