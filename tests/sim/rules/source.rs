//! The rules of a stream from outside: how it is opened, read, ended and begun again, and what is
//! shown in the meantime.

mod rhythm;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ballcast::testing::source::{
    Signal, Source, SourceCause, SourceCommand, SourceKind, SourceStatus,
};

use rhythm::{Fruits, Gaps, HANGS_AFTER, STARTS_WITHIN};

use super::{RuleResult, rule};
use crate::source::stream::Shows;
use crate::source::{Piece, Told};
use crate::tally::{Happening, Tally};

/// For what is due at a time of the core's, and is seen with the next event.
const SLACK: Duration = Duration::from_millis(20);
/// Without pictures for so long, a stream is silent, however fast it is.
const SILENT_AFTER: Duration = Duration::from_secs(2);
const ENDS_WITHIN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(2);
/// A stream brings pictures within this time of its first bytes, or says why it does not.
const LAW_LIMIT: Duration = Duration::from_secs(5);
/// And one whose pictures can be shown again runs.
const FOUND_GOOD_WITHIN: Duration = Duration::from_secs(8);
/// What happened so long ago goes on.
const GOES_ON: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const WORDS_PERIOD: Duration = Duration::from_millis(500);
/// What the parser may need to see that a picture is complete, and a drain.
const TAKEN_WITHIN: Duration = Duration::from_millis(10);
/// A longer group need not be kept. Capture times may be half a second from those of the arrival.
const GROUP_KEPT: Duration = Duration::from_millis(3_400);
/// And this one is not.
const GROUP_LET_GO: Duration = Duration::from_secs(5);
const GROUP_KEPT_BYTES: usize = 3 << 20;
/// The parser keeps no more than this, whatever comes.
const BUFFER_MAX_BYTES: usize = 13 << 20;
/// Reads of a file before something else may happen.
const READS_AT_ONCE: usize = 32;

/// The group of frames that is under way.
#[derive(Debug, Clone, Copy)]
struct GroupSeen {
    /// When its key frame has come out.
    begun_at: Instant,
    kept_since: Instant,
    bytes: usize,
}

/// The stream, from one opening to the next.
#[derive(Debug, Default)]
struct Opening {
    at: Option<Instant>,
    ended_at: Option<Instant>,
    bytes: u64,
    /// Of the picture under way, or pictures that came together.
    under_way: usize,
    largest: usize,
    /// The core cannot be expected to make the best of it.
    is_bad: bool,
    /// When the last picture has come out that is not damaged: those of H.264 do when the next one
    /// begins, at the latest.
    complete: Option<Instant>,
    /// It may have come out since then: the next one's first bytes may have told that it is complete.
    may_be_out: Option<Instant>,
    /// Which one.
    last: Option<u64>,
    /// Those that are complete, and need not have come out.
    waiting: Vec<u64>,
    /// When the first bytes came after them.
    goes_on_since: Option<Instant>,
    /// The last one that has begun.
    begun: Option<u64>,
    group: Option<GroupSeen>,
    /// The last key frame that has begun, and the bytes since.
    keyframe: Option<(u64, usize)>,
}

#[derive(Debug)]
pub struct SourceRules {
    kind: SourceKind,
    is_h264: bool,
    opening: Opening,
    gaps: Gaps,
    fruits: Fruits,
    /// An opening is over, and the next one is due by then.
    open_by: Option<Instant>,
    is_over: bool,
    /// There is nothing that could bring a picture: the command has exited, or opening or reading failed.
    is_gone: bool,
    /// The command runs; the signals that it was sent.
    process: Option<Vec<(Signal, Instant)>>,
    reads: (Option<Instant>, usize),
    gave_up: bool,
    is_running: bool,
    /// When something came last, of any opening: what is cut or damaged may pass for a picture.
    last_bytes: Option<Instant>,
    /// When it began or ceased to run.
    changed_at: Option<Instant>,
    pub begun_again: Vec<Instant>,
    /// Viewers have been without pictures, and without words, since then.
    dark_since: Option<Instant>,
    pub failed_encode: bool,
    resumed_at: Option<Instant>,
}

impl SourceRules {
    pub fn new(kind: SourceKind, is_h264: bool) -> SourceRules {
        SourceRules {
            kind,
            is_h264,
            opening: Opening::default(),
            gaps: Gaps::default(),
            fruits: Fruits::default(),
            open_by: None,
            is_over: true,
            is_gone: false,
            process: None,
            reads: (None, 0),
            gave_up: false,
            is_running: false,
            last_bytes: None,
            changed_at: None,
            begun_again: Vec::new(),
            dark_since: None,
            failed_encode: false,
            resumed_at: None,
        }
    }

    /// Frames of the stream go to viewers as they come.
    pub fn passes_on(&self) -> bool {
        self.is_running && self.is_h264
    }

    pub fn is_running(&self) -> bool {
        self.is_running
    }

    pub fn changed_at(&self) -> Option<Instant> {
        self.changed_at
    }

    pub fn suspended(&mut self, until: Instant) {
        self.resumed_at = Some(until);
        self.opening.is_bad = true;
        self.dark_since = None;
    }

    /// The core wants something to be done to the stream.
    pub fn executed(
        &mut self,
        now: Instant,
        command: SourceCommand,
        tally: &mut Tally,
    ) -> RuleResult {
        rule!(!self.gave_up, "S18: {command:?} after it was given up");
        match command {
            SourceCommand::Open => {
                rule!(
                    self.process.is_none(),
                    "S18: a command is started while the former one runs"
                );
                rule!(self.is_over, "S18: it is opened twice");
                self.is_over = false;
                self.open_by = None;
                self.opening = Opening::default();
            }
            SourceCommand::Read => {
                rule!(self.kind == SourceKind::File, "S18: {:?} is read as a file", self.kind);
                let before = if self.reads.0 == Some(now) { self.reads.1 } else { 0 };
                self.reads = (Some(now), before + 1);
                rule!(
                    before < READS_AT_ONCE,
                    "S19: a file is read and read, and nothing else is done"
                );
            }
            SourceCommand::Close => self.is_over = true,
            SourceCommand::Camera(_) => rule!(false, "S18: a stream is treated as a camera"),
            SourceCommand::Kill(signal) => return self.killed(now, signal, tally),
            SourceCommand::GiveUp => {
                rule!(self.kind == SourceKind::Stdin, "S18: {:?} is given up", self.kind);
                rule!(self.opening.ended_at.is_some(), "S18: it is given up before its end");
                self.gave_up = true;
                tally.happened(Happening::GaveUp);
            }
        }
        Ok(())
    }

    fn killed(&mut self, now: Instant, signal: Signal, tally: &mut Tally) -> RuleResult {
        let Opening { at, ended_at, may_be_out, is_bad, .. } = self.opening;
        let passed = |since: Option<Instant>, time| since.is_some_and(|since| now >= since + time);
        let hangs = passed(may_be_out, HANGS_AFTER)
            || may_be_out.is_none() && passed(at, STARTS_WITHIN)
            || passed(ended_at, ENDS_WITHIN);
        let Some(signals) = &mut self.process else {
            return Err(format!("S18: {signal:?} to a command that is gone"));
        };
        let (expected, earliest) = match signals.last() {
            None => (Signal::Interrupt, now),
            Some((Signal::Interrupt, at)) => (Signal::Terminate, *at + PATIENCE),
            Some((_, at)) => (Signal::Kill, *at + PATIENCE),
        };
        rule!(signal == expected, "S18: {signal:?} after {signals:?}");
        rule!(now >= earliest, "S18: {signal:?} too soon after {signals:?}");
        rule!(hangs || is_bad || !signals.is_empty(), "S18: a command is killed that is well");
        if signal == Signal::Kill {
            tally.happened(Happening::CommandKilled);
        }
        signals.push((signal, now));
        Ok(())
    }

    /// Something has happened to the stream, and the core is about to be told.
    pub fn told(&mut self, now: Instant, told: &Told) {
        match told {
            Told::Opened => {
                self.opening.at = Some(now);
                self.gaps.restart();
                self.fruits.bytes = None;
                self.is_gone = false;
                self.process = (self.kind == SourceKind::Command).then(Vec::new);
            }
            Told::Bytes(piece) => self.written(now, piece),
            Told::Ended => {
                self.opening.ended_at = Some(now);
                // Only now the last picture is complete.
                self.last_bytes = Some(now);
                self.is_over |= self.kind != SourceKind::Command;
                if self.kind == SourceKind::Fifo {
                    self.open_by = Some(now + LONGEST_PAUSE);
                }
            }
            Told::Failed => {
                (self.is_over, self.is_gone) = (true, true);
                self.opening.is_bad = true;
                self.open_by = self.process.is_none().then_some(now + LONGEST_PAUSE);
            }
            Told::Exited => {
                (self.is_over, self.is_gone, self.process) = (true, true, None);
                self.open_by = Some(now + LONGEST_PAUSE);
            }
        }
    }

    fn written(&mut self, now: Instant, piece: &Piece) {
        let opening = &mut self.opening;
        self.last_bytes = Some(now);
        self.fruits.bytes = Some((self.fruits.bytes.map_or(now, |(first, _)| first), now));
        opening.bytes += piece.bytes.len() as u64;
        if !piece.begins.is_empty() {
            opening.under_way = 0;
        }
        opening.under_way += piece.bytes.len();
        opening.largest = opening.largest.max(opening.under_way);
        opening.is_bad |= piece.is_bad;
        for begun in &piece.begins {
            opening.begun = Some(begun.number);
            if begun.keyframe {
                opening.keyframe = Some((begun.number, 0));
            }
        }
        if let Some((_, bytes)) = &mut opening.keyframe {
            *bytes += piece.bytes.len();
        }
        if let Some(group) = &mut opening.group {
            group.bytes += piece.bytes.len();
        }
        if !opening.waiting.is_empty() {
            opening.goes_on_since.get_or_insert(now);
        }
        opening.waiting.extend(&piece.completes);
        let begun = opening.begun;
        let comes_out = |number: &u64| !self.is_h264 || begun.is_some_and(|begun| *number < begun);
        let out = opening.waiting.iter().copied().filter(comes_out).max();
        opening.waiting.retain(|number| !comes_out(number));
        let Some(last) = out else { return };
        (opening.complete, opening.last) = (Some(now), out);
        opening.may_be_out = opening.goes_on_since.take().or(Some(now));
        if let Some((_, bytes)) = opening.keyframe.take_if(|(keyframe, _)| *keyframe <= last) {
            opening.group =
                Some(GroupSeen { begun_at: now, kept_since: now + TAKEN_WITHIN, bytes });
        }
    }

    /// A camera has started.
    pub fn camera_started(&mut self, is_h264: bool) {
        self.is_h264 = is_h264;
        self.opening = Opening::default();
    }

    /// A camera has filled a buffer. `frame` is the number of a frame of H.264 that can be shown, whether it is a
    /// key frame, and its size.
    pub fn camera_filled(&mut self, now: Instant, frame: Option<(u64, bool, usize)>) {
        self.last_bytes = Some(now);
        let Some((number, keyframe, bytes)) = frame else { return };
        let opening = &mut self.opening;
        (opening.complete, opening.last, opening.begun) = (Some(now), Some(number), Some(number));
        if keyframe {
            opening.group =
                Some(GroupSeen { begun_at: now, kept_since: now + TAKEN_WITHIN, bytes });
        } else if let Some(group) = &mut opening.group {
            group.bytes += bytes;
        }
    }

    /// Since when the group can be given to who comes.
    pub fn group_kept_since(&self, now: Instant) -> Option<Instant> {
        let Opening { is_bad, ended_at, group, .. } = &self.opening;
        let group =
            group.filter(|_| !is_bad && ended_at.is_none() && self.kind != SourceKind::File)?;
        let is_kept = now < group.begun_at + GROUP_KEPT
            && now > group.kept_since
            && group.bytes < GROUP_KEPT_BYTES;
        (is_kept && self.passes_on()).then_some(group.kept_since)
    }

    /// The group is so long that it is not kept.
    pub fn lets_group_go(&self, now: Instant) -> bool {
        let is_long = |group: &GroupSeen| now > group.begun_at + GROUP_LET_GO;
        self.passes_on() && self.opening.group.as_ref().is_some_and(is_long)
    }

    /// The last frame that is there to be sent, which who watches has, and the last that has begun.
    pub fn last_taken(&self, now: Instant) -> Option<(u64, u64)> {
        let complete = self.opening.complete?;
        let taken = now > complete + TAKEN_WITHIN && self.group_kept_since(now).is_some();
        self.opening.last.zip(self.opening.begun).filter(|_| taken)
    }

    /// A picture is to be encoded, while somebody watches or not.
    pub fn encoded(&mut self, now: Instant, shows: Shows, tally: &mut Tally) -> RuleResult {
        if shows == Shows::Keyframe {
            rule!(
                self.is_h264 && self.is_running,
                "S11: a key frame for a file, of no stream of them"
            );
            return Ok(());
        }
        if shows != Shows::Words {
            rule!(!self.is_h264, "S11: a picture of a stream that is encoded already");
            return Ok(());
        }
        tally.happened(Happening::WordsShown);
        rule!(!self.is_running, "S20: words, while there are pictures");
        if self.dark_since.is_some() {
            self.dark_since = Some(now);
        }
        Ok(())
    }

    /// What must hold after each input, before its outputs: what the core thinks of the stream is so.
    pub fn check_state(&mut self, now: Instant, source: &Source) -> RuleResult {
        let is_running = *source.status() == SourceStatus::Running;
        if is_running != self.is_running {
            self.is_running = is_running;
            self.changed_at = Some(now);
            self.begun_again.push(now);
        }
        let Opening { bytes, complete, may_be_out, at, is_bad, ended_at, largest, .. } =
            self.opening;
        if at.is_some() {
            // After an error they are not even counted.
            let is_refused = is_bad && matches!(source.status(), SourceStatus::Failed { .. });
            let read = source.counters().bytes;
            rule!(read == bytes || is_refused, "S19: {read} of {bytes} bytes were read");
        }
        if at.is_some() {
            if self.gaps.note(now, source.counters().items) {
                self.fruits.bytes = None;
            }
        }
        let kept = source.buffered_bytes();
        // Memory grows in doubles.
        let most = if is_bad { BUFFER_MAX_BYTES } else { 4 * largest + 4_096 };
        rule!(kept <= most, "S19: {kept} bytes are kept, of pictures of at most {largest}");
        if self.kind == SourceKind::File {
            return Ok(());
        }
        rule!(!(is_running && self.is_gone), "L9: the stream passes for running, and is gone");
        self.check_law(now, source)?;
        if is_bad || at.is_none() {
            return Ok(());
        }
        let lately = may_be_out.is_some_and(|at| now < at + SILENT_AFTER);
        let taken = complete.is_some_and(|at| now > at + TAKEN_WITHIN);
        let goes_on = lately && taken && ended_at.is_none() && !self.is_over;
        let is_found_bad = is_damaged(source) && !self.is_found_good(now);
        rule!(
            is_running || !goes_on || is_found_bad,
            "L8: pictures come, and the stream is {:?}",
            source.status()
        );
        Ok(())
    }

    /// A picture of the stream was encoded in some codec, or could not be.
    pub fn encoding_ended(&mut self, now: Instant, fails: bool) {
        self.fruits.encoded(now, fails);
    }

    /// Bytes come: they are pictures that can be shown, or the stream does not run and says why.
    fn check_law(&self, now: Instant, source: &Source) -> RuleResult {
        let over = |since: Option<Instant>| since.is_some_and(|at| now > at + self.law_limit());
        let is_said = matches!(source.status(), SourceStatus::Failed { .. });
        let reads = self.opening.at.is_some() && self.opening.ended_at.is_none() && !self.is_over;
        let fruitless = over(Fruits::since(now, self.fruits.bytes)) && reads;
        rule!(is_said || !fruitless, "L10: bytes come, and the stream is {:?}", source.status());
        let unseen = over(Fruits::since(now, self.fruits.failed));
        rule!(
            is_said || !unseen,
            "L10: nothing can be shown of a stream that is {:?}",
            source.status()
        );
        Ok(())
    }

    /// Pictures are encoded for so long that the stream has to run.
    fn is_found_good(&self, now: Instant) -> bool {
        let Fruits { failed, last_failed, .. } = &self.fruits;
        failed.is_none() && last_failed.is_none_or(|at| now > at + FOUND_GOOD_WITHIN)
    }

    fn law_limit(&self) -> Duration {
        LAW_LIMIT.max(self.gaps.silent_after()) + SLACK
    }

    /// The limits of time. Somebody watches or not.
    pub fn check_time_limits(&mut self, now: Instant, is_watched: bool) -> RuleResult {
        let late = |limit: Instant| {
            now > limit + SLACK && self.resumed_at.is_none_or(|at| now > at + SLACK)
        };
        if let Some(limit) = self.open_by {
            rule!(!late(limit), "L8: the stream is not opened again");
        }
        let Opening { at, ended_at, complete, .. } = self.opening;
        if self.kind != SourceKind::File && self.is_running {
            // A picture that was under way when the host was suspended is complete afterwards.
            let last = self.last_bytes.max(self.changed_at).max(self.resumed_at);
            let silent = last.is_some_and(|at| late(at + self.gaps.silent_after()));
            rule!(!silent, "L9: the stream passes for running, and is silent");
        }
        if let Some(signals) = &self.process {
            let came = self.last_bytes.max(self.resumed_at);
            let shows = complete.and(came).map(|at| at + self.gaps.hangs_after());
            let starts = STARTS_WITHIN.max(3 * self.gaps.longest());
            let limit = shows.or(at.map(|at| at + starts));
            let limit = limit.into_iter().chain(ended_at.map(|at| at + ENDS_WITHIN)).min();
            let limit = signals.last().map(|(_, at)| *at + PATIENCE).or(limit);
            let hangs = limit.is_some_and(late);
            rule!(!hangs, "S18: a command hangs, and was sent {signals:?}");
        }
        if self.is_running || !is_watched {
            self.dark_since = None;
        } else {
            let since = *self.dark_since.get_or_insert(now);
            rule!(!late(since + WORDS_PERIOD), "L9: there is no picture, and no word of it");
        }
        Ok(())
    }
}

/// Whether pictures could not be shown, which is known to be over when some are encoded.
pub fn is_damaged(source: &Source) -> bool {
    matches!(source.status(), SourceStatus::Failed { cause: SourceCause::Damaged(_), .. })
}
