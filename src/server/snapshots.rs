//! Pictures over HTTP: who waits for a JPEG file, and who watches a stream of them.
//!
//! The source is asked once for a file, by [`Output::Snapshot`]. All who wait for it get the same one,
//! and so do all who ask before the next picture is captured.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::admission::{RETRY_AFTER, busy};
use super::client::Client;
use super::connections::Connection;
use super::{ConnId, Output, Server};
use crate::feed::Feed;
use crate::http::{self, Head, Response};
use crate::media::SnapshotError;
use crate::refusal::Reason;
use crate::web::proxies::Visitor;
use crate::web::{cors, snapshot};

/// Files of one picture: more widths than pages have use for, and a bound to what is kept of it and
/// to how long it is encoded.
const WIDTHS_MAX: usize = 8;
/// From one picture of a stream to the next, on average: they are taken from the ticks of the frame
/// clock.
const PART_PERIOD: Duration = Duration::from_millis(100);

/// The width that is asked for, or the picture's own.
type Width = Option<usize>;

#[derive(Debug, Default)]
pub(super) struct Snapshots {
    files: BTreeMap<Width, File>,
    waiting: BTreeMap<ConnId, Waiting>,
    /// Connections in the middle of a stream.
    streams: BTreeSet<ConnId>,
    /// When the streams' next picture is due.
    next_part_at: Option<Instant>,
    /// The next file of the picture's own width is for the streams, too.
    part_requested: bool,
}

#[derive(Debug)]
enum File {
    /// The source was asked for it. There may have been a newer picture since.
    Requested { of_newest: bool },
    /// A file of the newest picture.
    Encoded(Bytes),
}

/// A request without an answer yet.
#[derive(Debug)]
struct Waiting {
    width: Width,
    is_for_stream: bool,
    /// An answer with nothing but what a page of an allowed origin needs.
    cors: Response,
}

impl Snapshots {
    pub(super) fn any_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Those who watch a stream, or wait for its first picture.
    pub(super) fn mjpeg_clients(&self) -> usize {
        let waiting = self.waiting.values().filter(|waiting| waiting.is_for_stream);
        self.streams.len() + waiting.count()
    }

    /// There is a newer picture than the one that there are files of.
    pub(super) fn note_capture(&mut self) {
        self.files.retain(|_, file| matches!(file, File::Requested { .. }));
        for file in self.files.values_mut() {
            *file = File::Requested { of_newest: false };
        }
    }

    /// What a connection is in the middle of, once it was served. A request that has an answer waits
    /// no more, and a stream that has ended is none.
    pub(super) fn note_served(&mut self, id: ConnId, http: &http::Connection) {
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

    /// The connection is gone.
    pub(super) fn forget(&mut self, id: ConnId) {
        self.waiting.remove(&id);
        self.streams.remove(&id);
    }

    /// What must hold between any two inputs. Panics if it does not.
    pub(super) fn check_invariants(&self, connections: &BTreeMap<ConnId, Connection>) {
        let http_of = |id| &connections[id].http;
        assert!(self.waiting.keys().all(|id| http_of(id).awaits_response()), "one answer each");
        assert!(self.streams.iter().all(|id| http_of(id).is_streaming()), "streams go on");
        assert!(self.files.len() <= WIDTHS_MAX + 1, "files of one picture");
        let requested = |width| matches!(self.files.get(width), Some(File::Requested { .. }));
        let mut widths = self.waiting.values().map(|waiting| &waiting.width);
        assert!(widths.all(requested), "what is waited for was asked for");
        assert!(!self.part_requested || requested(&None), "the streams' picture was asked for");
    }
}

/// Requests for pictures.
impl Server {
    /// The answer to a request for one picture, or for a stream of them; `None` if it comes later.
    pub(super) fn show_picture(
        &mut self,
        now: Instant,
        id: ConnId,
        visitor: &Visitor,
        head: &Head,
        is_for_stream: bool,
    ) -> Result<Option<Response>, Response> {
        let width = if is_for_stream { None } else { snapshot::width(head)? };
        self.admit_picture(is_for_stream)?;
        // With the clock stopped nobody takes pictures: the last one may be of yesterday.
        let is_old = self.feed.is_none() && self.clock.can_tick_alone(now);
        match self.snapshots.files.get(&width) {
            Some(File::Encoded(jpeg)) if !is_old => {
                let jpeg = jpeg.clone();
                return Ok(Some(self.answer_with(now, id, &jpeg, is_for_stream)));
            }
            Some(File::Requested { .. }) => {}
            _ => {
                self.admit_file(now, self.client_of(visitor), is_old)?;
                if is_old && self.clock.tick_alone(now) {
                    self.snapshots.note_capture();
                    self.outbox.push_back(Output::Capture(Vec::new()));
                }
                self.request_file(width);
            }
        }
        let cors = cors::add_cors_headers(head, visitor, &self.config.access, Response::new(200));
        self.snapshots.waiting.insert(id, Waiting { width, is_for_stream, cors });
        Ok(None)
    }

    fn admit_picture(&self, is_for_stream: bool) -> Result<(), Response> {
        if self.shutting_down {
            return Err(self.shutting_down());
        }
        if self.feed.as_ref().is_some_and(Feed::is_encoded) {
            return Err(snapshot::refusal(SnapshotError::NoPictures, RETRY_AFTER));
        }
        let most = self.config.limits.mjpeg_clients;
        if is_for_stream && self.snapshots.mjpeg_clients() >= most {
            let sentence = format!(
                "{most} streams of pictures are watched already. Watch the video at /, or close one."
            );
            return Err(busy(Reason::MjpegClients, RETRY_AFTER, &sentence));
        }
        Ok(())
    }

    /// Whether a file more may be encoded, of a new picture or of the same.
    fn admit_file(
        &mut self,
        now: Instant,
        client: Client,
        of_new_picture: bool,
    ) -> Result<(), Response> {
        let stays = |file: &&File| !of_new_picture || matches!(file, File::Requested { .. });
        if self.snapshots.files.values().filter(stays).count() >= WIDTHS_MAX {
            let sentence = "Pictures of too many widths are asked for at once. Ask for fewer.";
            return Err(busy(Reason::SnapshotRate, RETRY_AFTER, sentence));
        }
        self.admission.take_snapshot(client, now).map_err(|wait| {
            let sentence = "Your address asks for pictures too often. Watch /stream.mjpg instead.";
            busy(Reason::SnapshotRate, wait, sentence)
        })
    }

    fn request_file(&mut self, width: Width) {
        if let Entry::Vacant(file) = self.snapshots.files.entry(width) {
            file.insert(File::Requested { of_newest: true });
            self.outbox.push_back(Output::Snapshot { width });
        }
    }

    /// After a picture of the frame clock: if the streams' next one is due, and one of them takes it,
    /// its file is asked for.
    pub(super) fn request_part(&mut self, now: Instant) {
        let half_a_tick = self.clock.period() / 2;
        let due = self.snapshots.next_part_at.filter(|at| *at <= now + half_a_tick);
        let mut streams = self.snapshots.streams.iter();
        let takes_part = |id| self.connections.get(id).is_some_and(|c| c.http.takes_part());
        let (Some(due), true) = (due, streams.any(takes_part)) else {
            return;
        };
        let is_late = due + half_a_tick < now;
        self.snapshots.next_part_at = Some(if is_late { now } else { due } + PART_PERIOD);
        self.snapshots.part_requested = true;
        self.request_file(None);
    }
}

/// Files from the source.
impl Server {
    pub(super) fn handle_snapshot(
        &mut self,
        now: Instant,
        width: Width,
        made: Result<Bytes, SnapshotError>,
    ) {
        let Some(File::Requested { of_newest }) = self.snapshots.files.get(&width) else {
            return;
        };
        let of_newest = *of_newest;
        self.snapshots.files.remove(&width);
        let is_part = width.is_none() && std::mem::take(&mut self.snapshots.part_requested);
        let streams = if is_part { self.snapshots.streams.clone() } else { BTreeSet::new() };
        if let Ok(jpeg) = &made {
            self.counters.jpegs_made += 1;
            if of_newest {
                self.snapshots.files.insert(width, File::Encoded(jpeg.clone()));
            }
        }
        self.counters.pictures_damaged += u64::from(made == Err(SnapshotError::Damaged));
        for (id, waiting) in self.snapshots.take_waiting(width) {
            let mut response = match &made {
                Ok(jpeg) => self.answer_with(now, id, jpeg, waiting.is_for_stream),
                Err(error) => snapshot::refusal(*error, RETRY_AFTER),
            };
            response.headers.extend(waiting.cors.headers);
            self.with_connection(now, id, |http| http.respond(response));
        }
        if let Ok(jpeg) = made {
            self.send_part(now, streams, &jpeg);
        }
    }

    fn answer_with(&mut self, now: Instant, id: ConnId, jpeg: &Bytes, is_stream: bool) -> Response {
        if !is_stream {
            self.counters.snapshots_sent += 1;
            return snapshot::picture(jpeg.clone());
        }
        self.counters.mjpeg_parts_sent += 1;
        if self.snapshots.streams.is_empty() {
            self.snapshots.next_part_at = Some(now + PART_PERIOD);
        }
        self.snapshots.streams.insert(id);
        snapshot::stream(jpeg)
    }

    fn send_part(&mut self, now: Instant, streams: BTreeSet<ConnId>, jpeg: &[u8]) {
        let part = snapshot::part(jpeg);
        for id in streams {
            if self.connections.get(&id).is_some_and(|connection| connection.http.takes_part()) {
                self.counters.mjpeg_parts_sent += 1;
                self.with_connection(now, id, |http| http.send_part(part.clone(), now));
            }
        }
    }
}
