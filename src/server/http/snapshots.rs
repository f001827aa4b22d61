//! JPEG files of pictures: who waits for one, and who watches a stream of them.
//!
//! The encoder is asked once for a file, by [`Output::Snapshot`]. All who wait for it get the same one, and
//! so do all who ask before the next picture is captured. It makes one file at a time, and no more than its
//! [share](FileShare) of time allows: the widths that are asked for wait in line, that of the streams among
//! them, and each is of the picture that is the newest at its turn.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::file_share::FileShare;
use crate::http::HttpConnection;
use crate::media::{Frame, SnapshotError};
use crate::server::outbox::{Outbox, Timer};
use crate::server::video::Captured;
use crate::server::{ConnId, Output};
use crate::web::snapshot;

/// A request that would wait longer for a file is refused, and told when to ask again.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// From one picture of a stream to the next, on average: they are taken from the ticks of the frame
/// clock.
const PART_PERIOD: Duration = Duration::from_millis(100);

/// From one key frame that is decoded for files to the next.
const KEYFRAME_PERIOD: Duration = Duration::from_secs(1);

/// The width of a file, which is one of few, or the picture's own.
pub(crate) type Width = Option<usize>;

/// What has been counted since the start.
#[derive(Debug, Default, Clone, Copy)]
pub struct SnapshotCounters {
    /// Files that were made.
    pub made: u64,
    /// Answers with one picture, and pictures of streams.
    pub sent: u64,
    pub parts_sent: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    files: BTreeMap<Width, File>,
    /// The widths of files that the source was not asked for yet, the first in line first.
    line: VecDeque<Width>,
    /// The newest picture.
    newest: Option<Captured>,
    /// The last file was of the picture's own width.
    had_own_width: bool,
    share: FileShare,
    waiting: BTreeMap<ConnId, Waiting>,
    /// Of a stream that is encoded already.
    keyframe: Option<Keyframe>,
    /// Connections in the middle of a stream.
    streams: BTreeSet<ConnId>,
    /// When the streams' next picture is due.
    next_part_at: Option<Instant>,
    /// The next file of the picture's own width is for the streams, too.
    part_requested: bool,
    pub(crate) counters: SnapshotCounters,
}

/// How a file is to be had.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lookup<'a> {
    /// It is there, of a picture that was taken then.
    Made(&'a Bytes, Instant),
    /// It is in line, or being made.
    Coming,
    /// It is to be put in line.
    Unknown,
}

/// A file was made, or could not be.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) captured: Captured,
    /// Those who wait for it.
    pub(crate) waiting: BTreeMap<ConnId, Waiting>,
    /// The streams that it is the next picture of.
    pub(crate) streams: BTreeSet<ConnId>,
}

#[derive(Debug)]
enum File {
    /// In line.
    Wanted,
    /// The source was asked for it. There may have been a newer picture since.
    Requested { of_newest: bool, captured: Captured },
    /// A file of the newest picture, and when that was taken.
    Encoded(Bytes, Instant),
}

/// The newest key frame of a stream, but for those that come within [`KEYFRAME_PERIOD`].
#[derive(Debug)]
struct Keyframe {
    frame: Frame,
    came_at: Instant,
    /// It is the newest picture of the source.
    is_shown: bool,
}

/// A request without an answer yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) width: Width,
    /// What the request asks for, at most the width of the file.
    pub(crate) asked_width: Option<usize>,
    pub(crate) is_for_stream: bool,
    /// A refusal is read by a person.
    pub(crate) wants_page: bool,
    /// The headers for pages of other sites.
    pub(crate) cors: Vec<(&'static str, Cow<'static, str>)>,
}

impl Snapshots {
    pub(crate) fn any_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Connections in the middle of a stream.
    pub(crate) fn streams(&self) -> &BTreeSet<ConnId> {
        &self.streams
    }

    /// The newest picture.
    pub(crate) fn newest(&self) -> Option<Captured> {
        self.newest
    }

    /// Those who watch a stream, or wait for its first picture.
    pub(crate) fn mjpeg_clients(&self) -> usize {
        let waiting = self.waiting.values().filter(|waiting| waiting.is_for_stream);
        self.streams.len() + waiting.count()
    }

    /// Their connections, the oldest first.
    pub(super) fn stream_ids(&self) -> BTreeSet<ConnId> {
        let waiting = self.waiting.iter().filter(|(_, waiting)| waiting.is_for_stream);
        self.streams.iter().copied().chain(waiting.map(|(id, _)| *id)).collect()
    }

    /// There is a newer picture than the one that there are files of.
    pub(crate) fn note_capture(&mut self, captured: Captured) {
        self.newest = Some(captured);
        self.files.retain(|_, file| !matches!(file, File::Encoded(..)));
        for file in self.files.values_mut() {
            if let File::Requested { of_newest, .. } = file {
                *of_newest = false;
            }
        }
        if let Some(keyframe) = &mut self.keyframe {
            keyframe.is_shown = false;
        }
    }

    /// A stream that is passed on has a key frame, which is decoded if somebody asks for a file.
    pub(crate) fn note_keyframe(&mut self, now: Instant, frame: Frame) {
        if self.keyframe.as_ref().is_none_or(|last| last.came_at + KEYFRAME_PERIOD <= now) {
            self.note_capture(Captured { at: frame.captured, is_no_signal: false });
            self.keyframe = Some(Keyframe { frame, came_at: now, is_shown: false });
        }
    }

    pub(crate) fn forget_keyframe(&mut self) {
        self.keyframe = None;
    }

    /// The key frame that the next file is to be made of, if the decoder does not have it yet.
    pub(crate) fn keyframe_to_show(&mut self) -> Option<Frame> {
        let keyframe = self.keyframe.as_mut()?;
        let was_shown = std::mem::replace(&mut keyframe.is_shown, true);
        (!was_shown).then(|| keyframe.frame.clone())
    }

    pub(crate) fn lookup(&self, width: Width) -> Lookup<'_> {
        match self.files.get(&width) {
            Some(File::Encoded(jpeg, taken)) => Lookup::Made(jpeg, *taken),
            Some(File::Wanted | File::Requested { .. }) => Lookup::Coming,
            None => Lookup::Unknown,
        }
    }

    /// Whether one more file would be made soon enough.
    ///
    /// # Errors
    /// It would not: how long it would take.
    pub(crate) fn admit_file(&self, now: Instant) -> Result<(), Duration> {
        let wait = self.share.wait_behind(self.line.len(), now);
        if wait > MAX_WAIT { Err(wait) } else { Ok(()) }
    }

    /// A request waits for a file that is [coming](Lookup::Coming).
    pub(crate) fn wait(&mut self, id: ConnId, waiting: Waiting) {
        self.waiting.insert(id, waiting);
    }

    /// Puts a file in line that is not on its way.
    pub(crate) fn want_file(&mut self, width: Width) {
        if !matches!(self.files.get(&width), Some(File::Wanted | File::Requested { .. })) {
            self.files.insert(width, File::Wanted);
            self.line.push_back(width);
        }
    }

    /// The width whose turn it is. The picture's own, which is also that of the streams, has every second
    /// turn, so that nobody who asks for all other widths keeps it waiting.
    fn take_turn(&mut self, now: Instant) -> Option<Width> {
        if !self.share.is_free(now) {
            return None;
        }
        let own = self.line.iter().position(|width| width.is_none() && !self.had_own_width);
        let width = self.line.remove(own.unwrap_or_default())?;
        self.had_own_width = width.is_none();
        Some(width)
    }

    /// The width of the file whose turn it is, if somebody still wants it. `streams_take_part` is whether a
    /// stream takes its next picture at once. [`request`](Self::request) follows.
    pub(crate) fn next_file(&mut self, now: Instant, streams_take_part: bool) -> Option<Width> {
        loop {
            let width = self.take_turn(now)?;
            let is_part = width.is_none() && self.part_requested && streams_take_part;
            if width.is_none() {
                self.part_requested = is_part;
            }
            if is_part || self.waiting.values().any(|waiting| waiting.width == width) {
                return Some(width);
            }
            self.files.remove(&width);
        }
    }

    /// Asks the encoder for a file of the newest picture.
    pub(crate) fn request(&mut self, now: Instant, width: Width, outbox: &mut Outbox) {
        let captured = self.newest.unwrap_or(Captured { at: now, is_no_signal: false });
        self.files.insert(width, File::Requested { of_newest: true, captured });
        self.share.begin(now);
        outbox.push(Output::Snapshot { width });
    }

    pub(crate) fn set_timer(&self, outbox: &mut Outbox) {
        outbox.set_timer(Timer::File, self.poll_timeout());
    }

    /// After a picture was taken: whether the streams' next one is due, and one of them takes it. Its file
    /// is in line then.
    pub(crate) fn want_part(
        &mut self,
        now: Instant,
        tick_period: Duration,
        streams_take_part: bool,
    ) -> bool {
        let half_a_tick = tick_period / 2;
        let due = self.next_part_at.filter(|at| *at <= now + half_a_tick);
        let Some(due) = due.filter(|_| !self.part_requested && streams_take_part) else {
            return false;
        };
        let is_late = due + half_a_tick < now;
        self.next_part_at = Some(if is_late { now } else { due } + PART_PERIOD);
        self.part_requested = true;
        self.want_file(None);
        true
    }

    /// A file was made, or could not be, in the time that it has `cost`. `period` is from one picture to
    /// the next. Returns `None` if it was not asked for.
    pub(crate) fn complete(
        &mut self,
        now: Instant,
        width: Width,
        made: &Result<Bytes, SnapshotError>,
        cost: Duration,
        period: Duration,
    ) -> Option<Completed> {
        let Some(File::Requested { of_newest, captured }) = self.files.get(&width) else {
            return None;
        };
        let (of_newest, captured) = (*of_newest, *captured);
        self.files.remove(&width);
        self.share.end(now, cost, period);
        if let Err(SnapshotError::TooWide { picture_width }) = made {
            self.want_own_width(width, *picture_width);
        }
        let is_part = width.is_none() && std::mem::take(&mut self.part_requested);
        let streams = if is_part { self.streams.clone() } else { BTreeSet::new() };
        if let Ok(jpeg) = made {
            self.counters.made += 1;
            if of_newest {
                self.files.insert(width, File::Encoded(jpeg.clone(), captured.at));
            }
        }
        Some(Completed { captured, waiting: self.take_waiting(width), streams })
    }

    /// A connection is sent the first picture of a stream.
    pub(super) fn begin_stream(&mut self, now: Instant, id: ConnId) {
        self.counters.parts_sent += 1;
        if self.streams.is_empty() {
            self.next_part_at = Some(now + PART_PERIOD);
        }
        self.streams.insert(id);
    }

    /// When it is the turn of the next in line, unless a file is being made.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.share.free_at().filter(|_| !self.line.is_empty())
    }

    /// What a connection is in the middle of, once it was served. A request that has an answer waits
    /// no more, and a stream that has ended is none.
    pub(crate) fn note_served(&mut self, id: ConnId, http: &HttpConnection) {
        if !http.awaits_response() {
            self.waiting.remove(&id);
        }
        if !http.is_streaming() {
            self.streams.remove(&id);
        }
    }

    fn take_waiting(&mut self, width: Width) -> BTreeMap<ConnId, Waiting> {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (taken, others) = waiting.partition(|(_, waiting)| waiting.width == width);
        self.waiting = others;
        taken
    }

    /// A width is above that of the picture, which is no narrower than what some have asked for.
    fn want_own_width(&mut self, width: Width, picture_width: usize) {
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.width == width) {
            if waiting.asked_width.is_some_and(|asked| asked <= picture_width) {
                waiting.width = None;
            }
        }
        if self.waiting.values().any(|waiting| waiting.width.is_none()) {
            self.want_file(None);
        }
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, id: ConnId) {
        self.waiting.remove(&id);
        self.streams.remove(&id);
    }

    /// What must hold between any two inputs.
    ///
    /// # Panics
    /// If it does not, which is a bug of ours.
    pub(crate) fn check_invariants<'a>(
        &self,
        http_of: impl Fn(ConnId) -> Option<&'a HttpConnection>,
    ) {
        let awaits = |id: &ConnId| http_of(*id).is_some_and(HttpConnection::awaits_response);
        let streams = |id: &ConnId| http_of(*id).is_some_and(HttpConnection::is_streaming);
        assert!(self.waiting.keys().all(awaits), "one answer each");
        assert!(self.streams.iter().all(streams), "streams go on");
        assert!(self.files.len() <= snapshot::WIDTHS.len() + 1, "files of one picture");
        let in_line = |width| matches!(self.files.get(width), Some(File::Wanted));
        assert!(self.line.iter().all(in_line), "a place in line for each that is wanted");
        assert_eq!(self.files.keys().filter(|width| in_line(width)).count(), self.line.len());
        let comes = |width| in_line(width) || matches!(self.files[width], File::Requested { .. });
        let mut widths = self.waiting.values().map(|waiting| &waiting.width);
        assert!(widths.all(comes), "what is waited for was asked for");
        assert!(!self.part_requested || comes(&None), "the streams' picture was asked for");
    }
}
