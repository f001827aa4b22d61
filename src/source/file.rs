//! Plays a file in a loop, and reads it as fast as it is played.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Attempt, Source, SourceCommand, SourceKind};
use crate::source::parse;

/// The frame rate of a file that declares none.
const DEFAULT_FILE_RATE: u32 = 25;
/// The most reads without a pause, 1 MiB: the whole file may contain no picture.
const READS_AT_ONCE: usize = 16;
/// The pause after them, in which other inputs are handled.
const READ_PAUSE: Duration = Duration::from_millis(1);

/// The state of the playback.
#[derive(Default)]
pub struct Playback {
    pub ready: VecDeque<parse::ParsedItem>,
    pub next_at: Option<Instant>,
    pub is_reading: bool,
    /// When reading continues after a pause.
    pub read_at: Option<Instant>,
    /// The number of reads since the last pause.
    pub reads: usize,
}

impl Source {
    pub(crate) fn play_file(&mut self, now: Instant) {
        if self.config.kind != SourceKind::File {
            return;
        }
        while self.file.next_at.is_none_or(|at| at <= now)
            && let Some(item) = self.file.ready.pop_front()
        {
            let period = self.file_period();
            let due = self.file.next_at.filter(|at| now < *at + period).unwrap_or(now);
            self.file.next_at = Some(due + period);
            self.deliver(now, item);
        }
        if self.file.ready.is_empty() && !self.file.is_reading && self.open_at.is_none() {
            match self.attempt {
                Attempt { ended_at: None, opened_at: Some(_), .. } => self.read_on(now),
                // Start over, or after a pause if there were no pictures or an error.
                Attempt { last_item: Some(_), failed: false, .. } => {
                    self.attempt = Attempt::default();
                    self.commands.push_back(SourceCommand::Open);
                }
                Attempt { ended_at: Some(_), .. } => self.try_again(now),
                _ => {}
            }
        }
    }

    pub(crate) fn read_on(&mut self, now: Instant) {
        if self.file.read_at.is_some() {
            return;
        }
        if self.file.reads == READS_AT_ONCE {
            self.file.read_at = Some(now + READ_PAUSE);
            return;
        }
        self.file.reads += 1;
        self.file.is_reading = true;
        self.commands.push_back(SourceCommand::Read);
    }

    fn file_period(&self) -> Duration {
        self.told_period().unwrap_or(Duration::from_secs(1) / DEFAULT_FILE_RATE)
    }
}
