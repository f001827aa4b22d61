//! The stream from outside, between its descriptors and the core.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitStatus};

use super::{SourceIo, SourceOrigin, SourceReport};
use crate::driver::Driver;
use crate::driver::children::PROGRAM;
use crate::driver::encode::EncodePictures;
use crate::driver::ready::Share;
use crate::driver::tokens::{SOURCE, SOURCE_STDERR};
use crate::server::Input;
use crate::source::{Signal, SourceCommand, SourceEvent};

/// What a stream may have of a turn of the loop: 256 KiB are parsed in less than a millisecond, and a
/// picture that has come may be decoded and encoded.
const SHARE: Share = Share { reads: 4, time: Duration::from_millis(2) };
/// How long a command may take to end by itself when the program ends.
const INTERRUPT_LIMIT: Duration = Duration::from_millis(500);

/// The stream as the loop keeps it.
pub struct SourceLink {
    io: SourceIo,
    buffer: Vec<u8>,
    /// What happened last, for the operator.
    reason: String,
    /// The core wants nothing of it any more.
    pub gave_up: bool,
}

impl SourceLink {
    pub fn new(origin: SourceOrigin) -> SourceLink {
        SourceLink {
            io: SourceIo::new(origin, Path::new(PROGRAM), SOURCE, SOURCE_STDERR),
            buffer: vec![0; super::READ_BYTES],
            reason: String::new(),
            gave_up: false,
        }
    }

    pub fn check_at(&self) -> Option<Instant> {
        self.io.check_at()
    }

    pub fn note_reaped(&mut self, pid: Pid, status: WaitStatus) {
        self.io.note_reaped(pid, status);
    }

    /// Asks a command to end.
    pub fn interrupt(&mut self) {
        self.io.kill(Signal::Interrupt);
    }

    /// Waits until a command that was interrupted at this time is gone. It is killed if it takes too long.
    pub fn end(&mut self, interrupted_at: Instant) {
        self.io.end(interrupted_at + INTERRUPT_LIMIT);
    }

    /// Why there is nothing to be shown any more: a sentence without a full stop.
    pub fn into_reason(self) -> String {
        self.reason
    }
}

impl<S: EncodePictures> Driver<S> {
    /// Does to the stream what the core wants, and tells what comes of it.
    pub(crate) fn execute(&mut self, command: SourceCommand) {
        let Some(stream) = &mut self.source else { return };
        stream.gave_up |= command == SourceCommand::GiveUp;
        let mut buffer = std::mem::take(&mut stream.buffer);
        let report = stream.io.execute(command, self.poll.registry(), &mut buffer);
        if let Some(report) = &report {
            stream.reason = stream.io.reason(report);
            if *report == SourceReport::Opened {
                // What was there before it was opened may be no event.
                self.ready.insert(SOURCE);
            }
            self.server.handle_input(Instant::now(), Input::Source(report.event(&buffer)));
            self.drain();
        }
        self.put_back(buffer);
    }

    /// Reads the stream until it is dry or its turn is over.
    pub(crate) fn read_stream(&mut self) {
        let end = Instant::now() + SHARE.time;
        for _ in 0..SHARE.reads {
            let Some(stream) = &mut self.source else { return self.ready.remove(SOURCE) };
            let mut buffer = std::mem::take(&mut stream.buffer);
            let report = stream.io.read(&mut buffer);
            if let Some(report) = &report {
                // Bytes tell no more than that it was opened.
                if !matches!(report, SourceReport::Bytes(_)) {
                    stream.reason = stream.io.reason(report);
                }
                self.server.handle_input(Instant::now(), Input::Source(report.event(&buffer)));
                self.drain();
            }
            self.put_back(buffer);
            if report.is_none() {
                self.ready.remove(SOURCE);
                return self.input(Input::Source(SourceEvent::Paused));
            }
            self.handle_pending();
            if Instant::now() >= end {
                return;
            }
        }
    }

    pub(crate) fn read_stderr(&mut self) {
        self.ready.remove(SOURCE_STDERR);
        if let Some(stream) = &mut self.source {
            stream.io.read_stderr(Instant::now());
        }
    }

    /// Looks whether the command is gone.
    pub(crate) fn check_command(&mut self) {
        if self.source.as_mut().is_some_and(|stream| stream.io.check_child(Instant::now())) {
            self.ready.insert(SOURCE);
        }
    }

    fn put_back(&mut self, buffer: Vec<u8>) {
        if let Some(stream) = &mut self.source {
            stream.buffer = buffer;
        }
    }
}
