//! Connections and their requests, which are answered by all parts: offers become viewers, sessions change
//! and end, pictures become files.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use str0m::IceCreds;

use super::http::snapshots::{Lookup, Waiting};
use super::http::{HeldFor, HttpAsk};
use super::limits::admission::{Occupancy, Place, RETRY_AFTER, busy};
use super::limits::client::Client;
use super::stats::metrics;
use super::video::NO_PICTURE;
use super::viewers::{ViewerRole, Watcher, WhepSession};
use super::{ConnId, Server};
use crate::containment::contain;
use crate::http::{Head, HttpConnection, Method, Request, Response, Verdict};
use crate::media::{Codec, SnapshotError};
use crate::refusal::Reason;
use crate::sdp::offer::Offer;
use crate::web::auth::{TokenCheck, TokenVerdict};
use crate::web::proxies::Visitor;
use crate::web::routes::{self, Route};
use crate::web::{assets, cors, health, offer_api, snapshot, whep};
use crate::webrtc::viewer::Viewer;
use crate::webrtc::{EndReason, StreamNumbers, ViewerId};

/// Connections.
impl Server {
    pub(super) fn connect(&mut self, now: Instant, id: ConnId, peer: SocketAddr) {
        let client = self.config.client_at(peer.ip());
        let limits = self.admission.limits();
        let connected = self.http.connect(now, id, peer, client, limits, &mut self.outbox);
        self.update_clock(now);
        if let Err(reason) = connected {
            self.count_refusal(now, reason, peer.ip());
            let sentence = "Too many connections. Close some tabs, or try again in a moment.";
            let refusal = Response::problem(503, reason, sentence).retry_after(RETRY_AFTER);
            self.http.refuse(now, id, refusal, &mut self.outbox);
        }
    }

    pub(super) fn disconnect(&mut self, now: Instant, id: ConnId) {
        self.http.forget(id, &mut self.outbox);
        self.update_clock(now);
    }

    /// Changes a connection, then answers what it asks.
    pub(super) fn with_connection(
        &mut self,
        now: Instant,
        id: ConnId,
        change: impl FnOnce(&mut HttpConnection),
    ) {
        let Some(connection) = self.http.get_mut(id) else { return };
        let peer = connection.peer.ip();
        let served = contain(|| {
            if let Some(connection) = self.http.get_mut(id) {
                connection.change(now, change);
            }
            self.answer(now, id, peer);
        });
        match served {
            Ok(()) => self.http.settle(id, &mut self.outbox),
            Err(_) => {
                self.http.forget(id, &mut self.outbox);
                self.count_refusal(now, Reason::Internal, peer);
                let sentence =
                    "The server failed on this request. Its log says more; please report it.";
                let refusal = Response::problem(500, Reason::Internal, sentence);
                self.http.refuse(now, id, refusal, &mut self.outbox);
                self.recover(now);
            }
        }
        self.update_clock(now);
    }

    fn answer(&mut self, now: Instant, id: ConnId, peer: IpAddr) {
        while let Some(ask) = self.http.poll(now, id, &mut self.outbox) {
            match ask {
                HttpAsk::Head(head) => {
                    let verdict = self.judge(now, id, &head);
                    self.http.judge(now, id, head, verdict);
                }
                HttpAsk::Request(request) => {
                    let visitor = self.config.access.visitor(peer, &request.head);
                    if let Some(response) = self.respond(now, id, &visitor, &request) {
                        self.http.respond(id, response);
                    }
                }
                HttpAsk::Refused(reason) => self.count_refusal(now, reason, peer),
            }
        }
    }

    fn count_refusal(&mut self, now: Instant, reason: Reason, peer: IpAddr) {
        if self.admission.note_refusal(reason, self.config.client_at(peer), now) {
            let remedy = reason.remedy().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
            log::info!("refused {peer}: {reason}{remedy}");
        }
    }
}

/// Requests.
impl Server {
    /// Decides on the head of a request: a client that asks too often waits, and so may one whose token is
    /// to be compared.
    pub(super) fn judge(&mut self, now: Instant, id: ConnId, head: &Head) -> Verdict {
        let Some(connection) = self.http.get_mut(id) else { return Verdict::Accept };
        let visitor = self.config.access.visitor(connection.peer.ip(), head);
        let client = self.config.client_of(&visitor);
        connection.client = client;
        let held_for = connection.held_for.take();
        if held_for.is_none() {
            match self.admission.take_request(client, now) {
                Ok(Duration::ZERO) => {}
                // Whoever waits for the longest time is served then, too: those who give up early leave
                // turns behind, and take none from whoever stays.
                Ok(wait) | Err(wait) => {
                    connection.held_for = Some(HeldFor::Turn);
                    return Verdict::Hold(now + wait);
                }
            }
        }
        let waited = held_for == Some(HeldFor::Comparison);
        let guesses = &mut self.admission.guesses;
        let mut turn = |place| guesses.turn(client, place, waited, now);
        let token = self.config.token.as_ref();
        let check = token.map(|token| TokenCheck { token, turn: &mut turn });
        let (token, admitted) = routes::admit(head, &visitor, &self.config.access, check);
        if let TokenVerdict::Postponed(at) = token {
            connection.held_for = Some(HeldFor::Comparison);
            return Verdict::Hold(at);
        }
        connection.has_asked = true;
        self.admission.guesses.note(client, token, waited, now);
        match admitted {
            Ok(()) => Verdict::Accept,
            Err(refusal) => Verdict::Reject(refusal.for_reader(head.wants_page())),
        }
    }

    /// The answer to a request, or `None` if it comes later: the connection then waits for it.
    pub(super) fn respond(
        &mut self,
        now: Instant,
        id: ConnId,
        visitor: &Visitor,
        request: &Request,
    ) -> Option<Response> {
        let access = &self.config.access;
        let answered = match routes::route(&request.head) {
            Ok(Route::Asset(asset)) => {
                Ok(assets::respond(asset, &self.page, &request.head, visitor, access))
            }
            Ok(Route::Offer) if request.head.method == Method::Options => Ok(offer_api::options()),
            Ok(Route::Offer) => self.offer(now, visitor, request),
            Ok(Route::Whep) => self.whep(now, visitor, request),
            Ok(Route::WhepSession(key)) => self.whep_session(now, visitor, key, request),
            Ok(Route::Health) => Ok(health::answer(self.video.problem(now))),
            Ok(Route::Metrics) => Ok(Response::new(200)
                .with_body(metrics::CONTENT_TYPE, self.statistics(now).to_metrics().into_bytes())
                .with_header("Cache-Control", "no-store")),
            Ok(Route::Stats) => Ok(offer_api::json(&self.statistics(now).to_json())),
            Ok(route @ (Route::Snapshot | Route::MotionJpeg)) => {
                let is_for_stream = route == Route::MotionJpeg;
                match self.show_picture(now, id, visitor, &request.head, is_for_stream) {
                    Ok(None) => return None,
                    Ok(Some(response)) => Ok(response),
                    Err(refusal) => Err(refusal),
                }
            }
            Ok(Route::Server) => Ok(routes::server_options()),
            Err(refusal) => Err(refusal),
        };
        let response = answered.unwrap_or_else(|refusal| refusal);
        let response = response.for_reader(request.head.wants_page());
        Some(cors::add_cors_headers(&request.head, visitor, &self.config.access, response))
    }

    /// The page's offer. A page that sends its id, and offers a new connection, has given up the
    /// viewer that it was before: one that never connected, or whose close_notify was lost.
    fn offer(
        &mut self,
        now: Instant,
        visitor: &Visitor,
        request: &Request,
    ) -> Result<Response, Response> {
        self.admit_offer(now, self.config.client_of(visitor))?;
        let mut offer = offer_api::read(&request.body)?;
        let client_id = offer_api::client_id(&request.head);
        if let Some(id) = self.viewer_of_session(&offer, self.config.client_of(visitor), client_id)
        {
            return self.renegotiate(now, id, &mut offer);
        }
        if let Some(id) = client_id.and_then(|client_id| self.viewers.with_client_id(client_id)) {
            self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::PeerClosed));
        }
        let (id, sdp) = self.add_viewer(now, visitor, &mut offer)?;
        if let Some(client_id) = client_id {
            self.viewers.set_client_id(id, client_id);
        }
        Ok(offer_api::answer(&sdp))
    }

    /// The viewer whose connection a further offer is of. An offer is readable on its way (plain
    /// HTTP): only its own client, or the page that knows its id, is answered by that viewer.
    fn viewer_of_session(
        &self,
        offer: &Offer,
        client: Client,
        client_id: Option<&str>,
    ) -> Option<ViewerId> {
        let id = self.viewers.with_session_key(&offer.session_key)?;
        let is_own = self.viewers.get(id)?.watcher()?.client == client;
        let is_page = client_id.is_some_and(|it| self.viewers.with_client_id(it) == Some(id));
        (is_own || is_page).then_some(id)
    }

    /// The answer to a further offer of a connection that is a viewer already.
    fn renegotiate(
        &mut self,
        now: Instant,
        id: ViewerId,
        offer: &mut Offer,
    ) -> Result<Response, Response> {
        let entry = self.viewers.get(id).ok_or_else(whep::no_session)?;
        offer.prefer_payload_type(entry.viewer.stream().format.payload_type);
        if !entry.viewer.matches_format(offer) {
            return Err(offer_api::format_changed());
        }
        if !entry.viewer.has_remote_credentials(&offer.peer.credentials) {
            if !entry.viewer.can_restart_with(&offer.peer.credentials.ufrag) {
                return Err(offer_api::ufrag_changed());
            }
            self.restart_ice(now, id, offer.peer.credentials.clone());
        }
        let entry = self.viewers.get_mut(id).ok_or_else(whep::no_session)?;
        Ok(offer_api::answer(&entry.viewer.answer_to(offer)))
    }

    fn whep(
        &mut self,
        now: Instant,
        visitor: &Visitor,
        request: &Request,
    ) -> Result<Response, Response> {
        match request.head.method {
            Method::Post => {}
            Method::Options => return Ok(whep::options(whep::ENDPOINT_METHODS)),
            _ => return Ok(whep::presence()),
        }
        self.admit_offer(now, self.config.client_of(visitor))?;
        let mut offer = whep::read_offer(&request.body)?;
        let (id, sdp) = self.add_viewer(now, visitor, &mut offer)?;
        let (key, etag) = (self.secrets.hexadecimal(16), self.secrets.etag());
        let mid = offer.video().mid.clone();
        let response = whep::created(&key, &etag, sdp);
        self.viewers.set_whep(id, WhepSession { key, etag, mid });
        Ok(response)
    }

    fn whep_session(
        &mut self,
        now: Instant,
        visitor: &Visitor,
        key: &str,
        request: &Request,
    ) -> Result<Response, Response> {
        let id = self.viewers.with_whep_key(key).ok_or_else(whep::no_session)?;
        match request.head.method {
            Method::Patch => self.change_session(now, visitor, id, request),
            Method::Delete => {
                self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::PeerClosed));
                Ok(Response::new(200))
            }
            Method::Options => Ok(whep::options(whep::SESSION_METHODS)),
            _ => Ok(whep::presence()),
        }
    }

    /// Trickle ICE, which tells us nothing that we need, or an ICE restart.
    fn change_session(
        &mut self,
        now: Instant,
        visitor: &Visitor,
        id: ViewerId,
        request: &Request,
    ) -> Result<Response, Response> {
        let entry = self.viewers.get(id).ok_or_else(whep::no_session)?;
        let session = entry.watcher().and_then(|watcher| watcher.whep.as_ref());
        let session = session.ok_or_else(whep::no_session)?;
        whep::check_match(&request.head, &session.etag)?;
        let remote = whep::read_fragment(&request.body)?;
        let Some(remote) = remote.filter(|remote| !entry.viewer.has_remote_credentials(remote))
        else {
            return Ok(Response::new(204));
        };
        if !entry.viewer.can_restart_with(&remote.ufrag) {
            return Err(offer_api::ufrag_changed());
        }
        self.admit_offer(now, self.config.client_of(visitor))?;
        self.restart_ice(now, id, remote);
        let etag = self.secrets.etag();
        let entry = self.viewers.get_mut(id).ok_or_else(whep::no_session)?;
        let session = entry.watcher_mut().and_then(|watcher| watcher.whep.as_mut());
        let session = session.ok_or_else(whep::no_session)?;
        session.etag.clone_from(&etag);
        let mid = session.mid.clone();
        let candidates = entry.viewer.local().candidates();
        Ok(whep::restarted(&etag, mid.as_deref(), &entry.viewer.local().credentials, &candidates))
    }

    /// An ICE restart with the viewer's new credentials and new ones of ours.
    fn restart_ice(&mut self, now: Instant, id: ViewerId, remote: IceCreds) {
        let local = self.secrets.ice_credentials();
        log::info!("{id} restarts ICE");
        self.with_viewer(now, id, |viewer| viewer.restart_ice(now, local, remote));
        self.viewers.update_ufrag(id);
    }

    /// Answers an offer and adds its viewer.
    fn add_viewer(
        &mut self,
        now: Instant,
        visitor: &Visitor,
        offer: &mut Offer,
    ) -> Result<(ViewerId, String), Response> {
        if let Some(source) = self.video.encoded_source() {
            if offer.format.codec != Codec::H264 {
                return Err(offer_api::refusal(&offer.lacks_h264()));
            }
            if let Some(profile_level_id) = source.info().profile_level_id {
                offer.prefer_profile(profile_level_id);
            }
        }
        let (client, peer) = (self.config.client_of(visitor), visitor.address);
        self.admit_viewer(now, client)?;
        let credentials = self.secrets.ice_credentials();
        let numbers = StreamNumbers::new(self.secrets.numbers());
        let local = self.config.local_parameters(Some(peer), credentials, numbers);
        let answered = Viewer::answer(offer, local, now);
        let (viewer, sdp) = answered.map_err(|error| offer_api::refusal(&error))?;
        let watcher = Watcher::new(peer, client, offer.session_key.clone());
        let id = self.viewers.add_viewer(viewer, ViewerRole::Viewer(watcher));
        log::info!("{id}: offer from {peer}");
        self.with_viewer(now, id, |_| {});
        Ok((id, sdp))
    }

    /// Makes room for one more viewer of this client.
    fn admit_viewer(&mut self, now: Instant, client: Client) -> Result<(), Response> {
        if self.video.has_failed(now) {
            let refusal = Response::problem(409, Reason::NoSource, NO_PICTURE);
            return Err(refusal.retry_after(RETRY_AFTER));
        }
        let occupancy = Occupancy {
            viewers: self.viewers.watchers(),
            of_client: self.viewers.count_of(client),
            half_open: self.viewers.half_open(),
        };
        if self.admission.place_for(client, occupancy)? == Place::OfHalfOpen
            && let Some(id) = self.viewers.half_open_to_end()
        {
            self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::Displaced));
        }
        Ok(())
    }

    /// Whether an offer of this client is read at all, or an ICE restart made.
    fn admit_offer(&mut self, now: Instant, client: Client) -> Result<(), Response> {
        self.admit_while_running()?;
        self.admission.take_offer(client, now)
    }

    fn admit_while_running(&self) -> Result<(), Response> {
        if self.is_shutting_down { Err(shutting_down()) } else { Ok(()) }
    }

    /// The answer to a request for one picture, or for a stream of them; `None` if it comes later.
    fn show_picture(
        &mut self,
        now: Instant,
        id: ConnId,
        visitor: &Visitor,
        head: &Head,
        is_for_stream: bool,
    ) -> Result<Option<Response>, Response> {
        let asked_width = if is_for_stream { None } else { snapshot::width(head)? };
        let width = asked_width.map(snapshot::width_of_file);
        self.admit_picture(now, is_for_stream)?;
        let client = self.config.client_of(visitor);
        if is_for_stream {
            self.admit_stream(now, client)?;
        }
        match self.http.snapshots.lookup(width) {
            Lookup::Made(jpeg, taken) if !self.video.newest_is_old(now) => {
                let jpeg = jpeg.clone();
                return Ok(Some(self.http.picture_response(now, id, &jpeg, taken, is_for_stream)));
            }
            Lookup::Coming => {}
            Lookup::Made(..) | Lookup::Unknown => {
                self.admit_file(now, client)?;
                self.http.snapshots.want_file(width);
            }
        }
        let cors = cors::add_cors_headers(head, visitor, &self.config.access, Response::new(200));
        let wants_page = head.wants_page();
        let waiting = Waiting { width, asked_width, is_for_stream, wants_page, cors };
        self.http.snapshots.wait(id, waiting);
        self.request_files(now);
        Ok(None)
    }

    fn admit_picture(&self, now: Instant, is_for_stream: bool) -> Result<(), Response> {
        self.admit_while_running()?;
        if is_for_stream && self.video.encoded_source().is_some() {
            return Err(snapshot::refusal(SnapshotError::NoPictures, RETRY_AFTER));
        }
        // Streams show the sentence that viewers see. The newest picture may be one of a source whose
        // pictures could not be shown.
        let is_picture = self.http.snapshots.newest().is_some_and(|newest| !newest.is_no_signal);
        if is_for_stream || is_picture && self.video.tries_pictures() {
            return Ok(());
        }
        self.check_problem(now)
    }

    /// There is no picture while [`health`] says so: the last one may be of yesterday.
    pub(super) fn check_problem(&self, now: Instant) -> Result<(), Response> {
        let problem = self.video.problem(now);
        problem.map_or(Ok(()), |sentence| Err(snapshot::no_picture(&sentence, RETRY_AFTER)))
    }

    /// Makes room for one more stream of pictures of this client.
    fn admit_stream(&mut self, now: Instant, client: Client) -> Result<(), Response> {
        let limits = self.admission.limits();
        let most = limits.mjpeg_clients;
        let refusal = || {
            let sentence = format!(
                "{most} clients are already reading /stream.mjpg. Watch the video at /, or close one of them."
            );
            busy(Reason::MjpegClients, RETRY_AFTER, &sentence)
        };
        let to_end = self.http.stream_to_end(client, limits).map_err(|()| refusal())?;
        if let Some(oldest) = to_end {
            self.with_connection(now, oldest, |http| match http.awaits_response() {
                true => http.respond(refusal()),
                false => http.shutdown(now),
            });
        }
        Ok(())
    }

    /// Whether one more file may be made.
    fn admit_file(&mut self, now: Instant, client: Client) -> Result<(), Response> {
        self.admission.take_snapshot(client, now).map_err(|wait| {
            let sentence = "Your address requests pictures too often. Use /stream.mjpg instead.";
            busy(Reason::SnapshotRate, wait, sentence)
        })?;
        self.http.snapshots.admit_file(now).map_err(|wait| {
            let sentence = "This device cannot encode so many pictures besides the video. Try again \
                            later, or watch the video at /.";
            busy(Reason::SnapshotRate, wait, sentence)
        })
    }
}

pub(super) fn shutting_down() -> Response {
    busy(Reason::ShuttingDown, RETRY_AFTER, "The server is shutting down.")
}
