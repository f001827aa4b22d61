//! The core's log, read by the simulation: what happened, and whether anything was an error.

use std::cell::RefCell;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::tally::{Happening, Tally};

thread_local! {
    static SEEN: RefCell<(Tally, Option<String>)> = RefCell::default();
}

struct Reader;

impl Log for Reader {
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
        SEEN.with_borrow_mut(|(tally, error)| {
            for (words, happening) in happening {
                if line.contains(words) {
                    tally.happened(happening);
                }
            }
            if record.level() == Level::Error {
                error.get_or_insert(line);
            }
        });
    }

    fn flush(&self) {}
}

/// Starts to read, on this thread, from nothing.
pub fn begin() {
    let _ = log::set_logger(&Reader);
    log::set_max_level(LevelFilter::Info);
    SEEN.take();
}

/// The first line that was an error.
pub fn errors() -> Option<String> {
    SEEN.with_borrow(|(_, error)| error.clone())
}

pub fn happenings() -> Tally {
    SEEN.with_borrow(|(tally, _)| tally.clone())
}
