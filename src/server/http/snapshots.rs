//! Pictures over HTTP: who waits for a JPEG file, and who watches a stream of them.
//!
//! The source is asked once for a file, by [`Output::Snapshot`]. All who wait for it get the same one,
//! and so do all who ask before the next picture is captured. It makes one file at a time, and no more
//! than its [share](FileShare) of time allows: the widths that are asked for wait in line, that of the
//! streams among them, and each is of the picture that is the newest at its turn.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::connections::ConnectionEntry;
use super::file_share::FileShare;
use crate::http::{self, Head, Response};
use crate::media::{Codec, Frame, SnapshotError, SourcePicture};
use crate::server::limits::admission::{RETRY_AFTER, busy};
use crate::server::limits::client::{Client, oldest_of_largest};
use crate::server::{ConnId, Output, Server, Timer};
use crate::source::Source;
use crate::web::endpoints::{Endpoint, Route};
use crate::web::proxies::Visitor;
use crate::web::reason::Reason;
use crate::web::refusal::{Refusal, wants_page};
use crate::web::{cors, snapshot};

/// Whoever would wait longer for a file is refused, and told when to ask again.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// From one picture of a stream to the next, on average: they are taken from the ticks of the frame
/// clock.
const PART_PERIOD: Duration = Duration::from_millis(100);

/// From one key frame that is decoded for files to the next.
const KEYFRAME_PERIOD: Duration = Duration::from_secs(1);

/// The width of a file, which is one of few, or the picture's own.
type Width = Option<usize>;

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
}

/// What is known of a picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Captured {
    pub at: Instant,
    /// It has the words in it that viewers see while there is no picture.
    pub is_words: bool,
}

#[derive(Debug)]
enum File {
    /// In line.
    Wanted,
    /// The source was asked for it. There may have been a newer picture since.
    Requested { of_newest: bool, taken: Captured },
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
struct Waiting {
    width: Width,
    /// What the request asks for, at most the width of the file.
    asked_width: Option<usize>,
    is_for_stream: bool,
    /// A refusal is read by a person.
    wants_page: bool,
    /// The headers for pages of other sites.
    cors: Vec<(&'static str, Cow<'static, str>)>,
}

impl Snapshots {
    pub(crate) fn any_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Those who watch a stream, or wait for its first picture.
    pub(crate) fn mjpeg_clients(&self) -> usize {
        let waiting = self.waiting.values().filter(|waiting| waiting.is_for_stream);
        self.streams.len() + waiting.count()
    }

    /// Their connections, the oldest first.
    fn stream_ids(&self) -> BTreeSet<ConnId> {
        let waiting = self.waiting.iter().filter(|(_, waiting)| waiting.is_for_stream);
        self.streams.iter().copied().chain(waiting.map(|(id, _)| *id)).collect()
    }

    /// There is a newer picture than the one that there are files of.
    pub(crate) fn note_capture(&mut self, taken: Captured) {
        self.newest = Some(taken);
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
            self.note_capture(Captured { at: frame.captured, is_words: false });
            self.keyframe = Some(Keyframe { frame, came_at: now, is_shown: false });
        }
    }

    pub(crate) fn forget_keyframe(&mut self) {
        self.keyframe = None;
    }

    /// Puts a file in line that is not on its way.
    fn want_file(&mut self, width: Width) {
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

    /// When it is the turn of the next in line, unless the source is making a file.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.share.free_at().filter(|_| !self.line.is_empty())
    }

    /// What a connection is in the middle of, once it was served. A request that has an answer waits
    /// no more, and a stream that has ended is none.
    pub(crate) fn note_served(&mut self, id: ConnId, http: &http::HttpConnection) {
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

    /// What must hold between any two inputs. Panics if it does not.
    pub(crate) fn check_invariants(&self, connections: &BTreeMap<ConnId, ConnectionEntry>) {
        let http_of = |id| &connections[id].http;
        assert!(self.waiting.keys().all(|id| http_of(id).awaits_response()), "one answer each");
        assert!(self.streams.iter().all(|id| http_of(id).is_streaming()), "streams go on");
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

/// Requests for pictures.
impl Server {
    /// The answer to a request for one picture, or for a stream of them; `None` if it comes later.
    pub(crate) fn show_picture(
        &mut self,
        now: Instant,
        id: ConnId,
        visitor: &Visitor,
        endpoint: &Endpoint,
        head: &Head,
    ) -> Result<Option<Response>, Refusal> {
        let is_for_stream = endpoint.route == Route::MotionJpeg;
        let asked_width = if is_for_stream { None } else { snapshot::width(head)? };
        let width = asked_width.map(snapshot::width_of_file);
        self.admit_picture(now, is_for_stream)?;
        if is_for_stream {
            self.admit_stream(now, self.client_of(visitor))?;
        }
        match self.snapshots.files.get(&width) {
            Some(File::Encoded(jpeg, taken)) if !self.newest_picture_is_old(now) => {
                let (jpeg, taken) = (jpeg.clone(), *taken);
                return Ok(Some(self.answer_with(now, id, &jpeg, taken, is_for_stream)));
            }
            Some(File::Wanted | File::Requested { .. }) => {}
            _ => {
                self.admit_file(now, self.client_of(visitor))?;
                self.snapshots.want_file(width);
            }
        }
        let cors = cors::headers(head, Some(endpoint), visitor, &self.config.access);
        let wants_page = wants_page(head);
        let waiting = Waiting { width, asked_width, is_for_stream, wants_page, cors };
        self.snapshots.waiting.insert(id, waiting);
        self.request_files(now);
        Ok(None)
    }

    /// With the clock stopped nobody takes pictures: the last one may be of yesterday.
    fn newest_picture_is_old(&self, now: Instant) -> bool {
        self.source.is_none() && self.clock.can_tick_alone(now)
    }

    fn admit_picture(&self, now: Instant, is_for_stream: bool) -> Result<(), Refusal> {
        if self.shutting_down {
            return Err(self.shutting_down());
        }
        if !is_for_stream && !self.tries_newest_picture() {
            self.check_problem(now)?;
        }
        if is_for_stream && self.source.as_ref().is_some_and(Source::is_encoded) {
            return Err(snapshot::refusal(SnapshotError::NoPictures, RETRY_AFTER));
        }
        Ok(())
    }

    /// There is no picture while [`health`](crate::web::health) says so: the last one may be of yesterday.
    /// Streams show the words that viewers see.
    fn check_problem(&self, now: Instant) -> Result<(), Refusal> {
        let problem = self.problem(now);
        problem.map_or(Ok(()), |sentence| Err(snapshot::no_picture(sentence, RETRY_AFTER)))
    }

    /// Whether the newest picture is one of a stream whose pictures could not be shown.
    fn tries_newest_picture(&self) -> bool {
        let is_picture = self.snapshots.newest.is_some_and(|newest| !newest.is_words);
        is_picture && self.source.as_ref().is_some_and(Source::tries_pictures)
    }

    /// Whether there is a place for a stream more. Where there is none, the oldest stream of the client
    /// that has most of them makes room for a client that has fewer then: nobody gains a place by asking
    /// again.
    fn admit_stream(&mut self, now: Instant, client: Client) -> Result<(), Refusal> {
        let most = self.config.limits.mjpeg_clients;
        if self.snapshots.mjpeg_clients() < most {
            return Ok(());
        }
        let refusal = || {
            let sentence = format!(
                "{most} streams of pictures are watched already. Watch the video at /, or close one."
            );
            busy(Reason::MjpegClients, RETRY_AFTER, sentence)
        };
        let ids = self.snapshots.stream_ids();
        let clients = ids.iter().filter_map(|id| Some((*id, self.connections.get(id)?.client)));
        let own = clients.clone().filter(|(_, other)| *other == client).count();
        let largest = oldest_of_largest(clients).filter(|(count, _)| own + 1 < *count);
        let Some((_, oldest)) = largest else { return Err(refusal()) };
        match self.connections.get(&oldest) {
            Some(entry) if entry.http.awaits_response() => {
                let response = self.refuse(now, entry.peer(), false, refusal());
                self.with_connection(now, oldest, |http| http.respond(response));
            }
            _ => self.with_connection(now, oldest, |http| http.shutdown(now)),
        }
        Ok(())
    }

    /// Whether a file more may be made.
    fn admit_file(&mut self, now: Instant, client: Client) -> Result<(), Refusal> {
        self.admission.take_snapshot(client, now).map_err(|wait| {
            let sentence = "Your address asks for pictures too often. Watch /stream.mjpg instead.";
            busy(Reason::SnapshotRate, wait, sentence)
        })?;
        let wait = self.snapshots.share.wait_behind(self.snapshots.line.len(), now);
        if wait > MAX_WAIT {
            let sentence = "More pictures are asked for than this device makes beside the video. Ask \
                            again later, or watch the video at /.";
            return Err(busy(Reason::SnapshotRate, wait, sentence));
        }
        Ok(())
    }

    /// Asks the source for the files whose turn it is.
    pub(crate) fn request_files(&mut self, now: Instant) {
        while let Some(width) = self.snapshots.take_turn(now) {
            let takes_part =
                width.is_none() && self.snapshots.part_requested && self.any_stream_takes_part();
            if width.is_none() {
                self.snapshots.part_requested = takes_part;
            }
            let mut waiting = self.snapshots.waiting.values();
            if !takes_part && waiting.all(|waiting| waiting.width != width) {
                self.snapshots.files.remove(&width);
                continue;
            }
            if self.newest_picture_is_old(now) && self.clock.tick_alone(now) {
                self.snapshots.note_capture(Captured { at: now, is_words: false });
                self.outbox.push_back(Output::Capture(Vec::new()));
            }
            self.show_keyframe();
            let taken = self.snapshots.newest.unwrap_or(Captured { at: now, is_words: false });
            self.snapshots.files.insert(width, File::Requested { of_newest: true, taken });
            self.snapshots.share.begin(now);
            self.outbox.push_back(Output::Snapshot { width });
        }
        self.timers.set(Timer::File, self.snapshots.poll_timeout());
    }

    /// Gives the source the key frame that a file is to be made of.
    fn show_keyframe(&mut self) {
        let passes_on = self.passes_on(Codec::H264);
        let Some(keyframe) = self.snapshots.keyframe.as_mut().filter(|_| passes_on) else { return };
        if !std::mem::replace(&mut keyframe.is_shown, true) {
            let frame = keyframe.frame.clone();
            let (captured, codecs) = (frame.captured, Vec::new());
            self.outbox.push_back(Output::Encode {
                picture: SourcePicture::Keyframe(frame),
                captured,
                codecs,
                is_reported: false,
            });
        }
    }

    fn any_stream_takes_part(&self) -> bool {
        let mut streams = self.snapshots.streams.iter();
        streams.any(|id| self.connections.get(id).is_some_and(|c| c.http.takes_part()))
    }

    /// After a picture of the frame clock: if the streams' next one is due, and one of them takes it,
    /// its file gets in line.
    pub(crate) fn request_part(&mut self, now: Instant) {
        let half_a_tick = self.clock.period() / 2;
        let due = self.snapshots.next_part_at.filter(|at| *at <= now + half_a_tick);
        let Some(due) = due.filter(|_| !self.snapshots.part_requested) else { return };
        if !self.any_stream_takes_part() {
            return;
        }
        let is_late = due + half_a_tick < now;
        self.snapshots.next_part_at = Some(if is_late { now } else { due } + PART_PERIOD);
        self.snapshots.part_requested = true;
        self.snapshots.want_file(None);
        self.request_files(now);
    }
}

/// Files from the source.
impl Server {
    pub(crate) fn handle_snapshot(
        &mut self,
        now: Instant,
        width: Width,
        made: Result<Bytes, SnapshotError>,
        cost: Duration,
    ) {
        let Some(File::Requested { of_newest, taken }) = self.snapshots.files.get(&width) else {
            return;
        };
        let (of_newest, taken) = (*of_newest, *taken);
        self.snapshots.files.remove(&width);
        self.snapshots.share.end(now, cost, self.picture_period());
        if let Err(SnapshotError::TooWide { picture_width }) = made {
            self.snapshots.want_own_width(width, picture_width);
        }
        let is_part = width.is_none() && std::mem::take(&mut self.snapshots.part_requested);
        let streams = if is_part { self.snapshots.streams.clone() } else { BTreeSet::new() };
        if let Ok(jpeg) = &made {
            self.counters.jpegs_made += 1;
            if of_newest {
                self.snapshots.files.insert(width, File::Encoded(jpeg.clone(), taken.at));
            }
        }
        if !taken.is_words {
            self.note_file(now, made.as_ref().err().copied());
        }
        let problem = self.check_problem(now);
        for (id, waiting) in self.snapshots.take_waiting(width) {
            let answer = match &made {
                Ok(jpeg) => match problem.clone().err().filter(|_| !waiting.is_for_stream) {
                    Some(refusal) => Err(refusal),
                    None => Ok(self.answer_with(now, id, jpeg, taken.at, waiting.is_for_stream)),
                },
                Err(error) => {
                    let refusal = snapshot::refusal(*error, RETRY_AFTER);
                    let is_asked_wrongly = matches!(error, SnapshotError::TooWide { .. });
                    let known = problem.clone().err().filter(|_| !is_asked_wrongly);
                    Err(known.unwrap_or(refusal))
                }
            };
            let Some(peer) = self.connections.get(&id).map(ConnectionEntry::peer) else { continue };
            let mut response = answer
                .unwrap_or_else(|refusal| self.refuse(now, peer, waiting.wants_page, refusal));
            response.headers.extend(waiting.cors);
            self.with_connection(now, id, |http| http.respond(response));
        }
        if let Ok(jpeg) = made {
            self.send_part(now, streams, &jpeg, taken.at);
        }
        self.request_files(now);
    }

    /// A picture of the stream has become a file, or not. That is how it is known to be good while nobody
    /// watches the video.
    fn note_file(&mut self, now: Instant, error: Option<SnapshotError>) {
        let damage = match error {
            None => None,
            Some(SnapshotError::Damaged(damage)) => Some(damage),
            Some(_) => return,
        };
        if !self.viewers.counts().any_watching() {
            self.handle_outcome(now, damage);
        } else {
            self.counters.pictures_damaged += u64::from(damage.is_some());
        }
    }

    fn answer_with(
        &mut self,
        now: Instant,
        id: ConnId,
        jpeg: &Bytes,
        taken: Instant,
        is_stream: bool,
    ) -> Response {
        let taken = self.date(taken);
        if !is_stream {
            self.counters.snapshots_sent += 1;
            return snapshot::picture(jpeg.clone(), taken);
        }
        self.counters.mjpeg_parts_sent += 1;
        if self.snapshots.streams.is_empty() {
            self.snapshots.next_part_at = Some(now + PART_PERIOD);
        }
        self.snapshots.streams.insert(id);
        snapshot::stream(jpeg, taken)
    }

    fn send_part(&mut self, now: Instant, streams: BTreeSet<ConnId>, jpeg: &[u8], taken: Instant) {
        let part = snapshot::part(jpeg, self.date(taken));
        for id in streams {
            if self.connections.get(&id).is_some_and(|connection| connection.http.takes_part()) {
                self.counters.mjpeg_parts_sent += 1;
                self.with_connection(now, id, |http| http.send_part(part.clone(), now));
            }
        }
    }
}
