//! Connections and their requests, which are answered by all parts: offers become viewers, sessions change
//! and end, pictures become files.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use str0m::IceCreds;

use super::http::snapshots::{FileState, Waiting};
use super::http::{CurrentRequest, HeldFor, HttpAsk};
use super::limits::admission::{Occupancy, Place, RETRY_AFTER, shutting_down, too_many_streams};
use super::limits::client::Client;
use super::stats::metrics;
use super::viewers::{ViewerRole, Watcher, WhepSession};
use super::{ConnId, Server};
use crate::containment::contain;
use crate::http::{Head, HttpConnection, Method, Request, Response, Verdict};
use crate::media::{Codec, SnapshotError};
use crate::sdp::offer::Offer;
use crate::web::auth::TokenVerdict;
use crate::web::endpoints::{self, Endpoint, Route};
use crate::web::proxies::Visitor;
use crate::web::reason::Reason;
use crate::web::refusal::{Refusal, wants_page};
use crate::web::{cors, guards, health, malformed, offer_api, snapshot, whep};
use crate::webrtc::viewer::Viewer;
use crate::webrtc::{EndReason, StreamNumbers, ViewerId};

impl Server {
    pub(super) fn connect(&mut self, now: Instant, id: ConnId, peer: SocketAddr) {
        let client = self.config.client_at(peer.ip());
        let limits = self.admission.limits();
        let connected = self.http.connect(now, id, peer, client, limits, &mut self.outbox);
        self.update_clock(now);
        if let Err(refusal) = connected {
            self.count_refusal(now, refusal.reason, peer.ip());
            self.http.refuse(now, id, refusal.into_response(false), &mut self.outbox);
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
        let peer = connection.peer();
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
                let refusal = Refusal::new(500, Reason::Internal, sentence);
                self.http.refuse(now, id, refusal.into_response(false), &mut self.outbox);
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
                    if let Some(response) = self.respond(now, id, &request) {
                        self.http.respond(id, response);
                    }
                }
                HttpAsk::Error(error) => {
                    self.count_refusal(now, Reason::Http(error), peer);
                    if let Some(refusal) = malformed::refusal(error) {
                        self.http.respond(id, refusal.into_response(false));
                    }
                }
            }
        }
    }

    /// Counts a refusal of a request on this connection. Returns its response.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        id: ConnId,
        wants_page: bool,
        refusal: Refusal,
    ) -> Response {
        if let Some(peer) = self.http.get_mut(id).map(|connection| connection.peer()) {
            self.count_refusal(now, refusal.reason, peer);
        }
        refusal.into_response(wants_page)
    }

    /// The response that refuses the request which waits on this connection, if there is one.
    pub(super) fn refuse_waiting(
        &mut self,
        now: Instant,
        id: ConnId,
        refusal: Refusal,
    ) -> Option<Response> {
        let awaits = self.http.get_mut(id).is_some_and(|entry| entry.http.awaits_response());
        awaits.then(|| self.refuse(now, id, false, refusal))
    }

    fn count_refusal(&mut self, now: Instant, reason: Reason, peer: IpAddr) {
        if self.admission.note_refusal(reason, self.config.client_at(peer), now) {
            let remedy = reason.remedy().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
            log::info!("refused {peer}: {reason}{remedy}");
        }
    }

    /// Decides on the head of a request: a client that asks too often waits, and so may one whose token is
    /// to be compared.
    pub(super) fn judge(&mut self, now: Instant, id: ConnId, head: &Head) -> Verdict {
        let Some(connection) = self.http.get_mut(id) else { return Verdict::Accept };
        let request = connection.request.take().unwrap_or_else(|| CurrentRequest {
            visitor: self.config.access.visitor(connection.peer(), head),
            endpoint: endpoints::find(head),
        });
        let CurrentRequest { visitor, endpoint } = &request;
        let client = self.config.client_of(visitor);
        connection.client = client;
        let held_for = connection.held_for.take();
        if held_for.is_none() {
            match self.admission.take_request(client, now) {
                Ok(Duration::ZERO) => {}
                // Whoever waits for the longest time is served then, too: those who give up early leave
                // turns behind, and take none from whoever stays.
                Ok(wait) | Err(wait) => {
                    connection.held_for = Some(HeldFor::Turn);
                    connection.request = Some(request);
                    return Verdict::Hold(now + wait);
                }
            }
        }
        let checked = guards::check(head, *endpoint, visitor, &self.config.access);
        let admitted = checked.and_then(|(endpoint, credential)| {
            let waited = held_for == Some(HeldFor::Comparison);
            let token = self.config.token.as_ref();
            let verdict = token.map_or(TokenVerdict::NotNeeded, |token| {
                self.admission.guesses.judge(client, token, &credential, waited, now)
            });
            match verdict {
                TokenVerdict::Postponed(_) => Ok(verdict),
                _ => guards::admit(head, endpoint, verdict).map(|()| verdict),
            }
        });
        match admitted {
            Ok(TokenVerdict::Postponed(at)) => {
                connection.held_for = Some(HeldFor::Comparison);
                connection.request = Some(request);
                Verdict::Hold(at)
            }
            Ok(_) => {
                connection.has_asked = true;
                connection.request = Some(request);
                Verdict::Accept
            }
            Err(refusal) => {
                connection.has_asked = true;
                let cors = cors::headers(head, *endpoint, visitor, &self.config.access);
                let mut response = self.refuse(now, id, wants_page(head), refusal);
                response.headers.extend(cors);
                Verdict::Reject(response)
            }
        }
    }

    /// The answer to a request, or `None` if it comes later: the connection then waits for it.
    pub(super) fn respond(
        &mut self,
        now: Instant,
        id: ConnId,
        request: &Request,
    ) -> Option<Response> {
        let admitted = self.http.get_mut(id).and_then(|connection| connection.request.take());
        let Some(CurrentRequest { visitor, endpoint: Some(endpoint) }) = admitted else {
            debug_assert!(false, "a request without an admitted head");
            return None;
        };
        let head = &request.head;
        let mut response = match self.serve(now, id, &visitor, endpoint, request) {
            Ok(response) => response?,
            Err(refusal) => self.refuse(now, id, wants_page(head), refusal),
        };
        let cors = cors::headers(head, Some(endpoint), &visitor, &self.config.access);
        response.headers.extend(cors);
        Some(response)
    }

    fn serve(
        &mut self,
        now: Instant,
        id: ConnId,
        visitor: &Visitor,
        endpoint: &Endpoint,
        request: &Request,
    ) -> Result<Option<Response>, Refusal> {
        let (head, access) = (&request.head, &self.config.access);
        let response = match endpoint.route {
            Route::WhepSession => self.whep_session(now, visitor, endpoint, request)?,
            _ if head.method == Method::Options => endpoint.options(),
            Route::Page => self.page.respond(head, visitor, access),
            Route::Asset(asset) => asset.respond(head, visitor, access),
            Route::Offer => self.offer(now, visitor, request)?,
            Route::Whep => self.whep(now, visitor, request)?,
            Route::Health => health::answer(self.video.fault(now)),
            Route::Metrics => Response::new(200)
                .with_body(metrics::CONTENT_TYPE, self.statistics(now).to_metrics().into_bytes())
                .with_header("Cache-Control", "no-store"),
            Route::Stats => offer_api::json(&self.statistics(now).to_json()),
            Route::Snapshot | Route::MotionJpeg => {
                return self.show_picture(now, id, visitor, endpoint, head);
            }
            Route::Server => endpoint.options(),
        };
        Ok(Some(response))
    }

    /// The page's offer. A page that sends its id, and offers a new connection, has given up the
    /// viewer that it was before: one that never connected, or whose close_notify was lost.
    fn offer(
        &mut self,
        now: Instant,
        visitor: &Visitor,
        request: &Request,
    ) -> Result<Response, Refusal> {
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
    ) -> Result<Response, Refusal> {
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
    ) -> Result<Response, Refusal> {
        if request.head.method != Method::Post {
            return Ok(whep::presence());
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
        endpoint: &Endpoint,
        request: &Request,
    ) -> Result<Response, Refusal> {
        let key = whep::session_key(&request.head);
        let id = key.and_then(|key| self.viewers.with_whep_key(key));
        let id = id.ok_or_else(whep::no_session)?;
        match request.head.method {
            Method::Patch => self.change_session(now, visitor, id, request),
            Method::Delete => {
                self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::PeerClosed));
                Ok(Response::new(200))
            }
            Method::Options => Ok(endpoint.options()),
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
    ) -> Result<Response, Refusal> {
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
    ) -> Result<(ViewerId, String), Refusal> {
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
    fn admit_viewer(&mut self, now: Instant, client: Client) -> Result<(), Refusal> {
        self.video.admit_viewer(now)?;
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
    fn admit_offer(&mut self, now: Instant, client: Client) -> Result<(), Refusal> {
        self.admit_while_running()?;
        self.admission.take_offer(client, now)
    }

    fn admit_while_running(&self) -> Result<(), Refusal> {
        if self.is_shutting_down { Err(shutting_down()) } else { Ok(()) }
    }

    /// The answer to a request for one picture, or for a stream of them; `None` if it comes later.
    fn show_picture(
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
        self.video.note_asked(now, &mut self.outbox);
        self.admit_picture(now, is_for_stream)?;
        let client = self.config.client_of(visitor);
        if is_for_stream {
            self.admit_stream(now, client)?;
        }
        match self.http.snapshots.lookup(width) {
            FileState::Made(jpeg, taken) if !self.video.newest_is_old(now) => {
                let jpeg = jpeg.clone();
                return Ok(Some(self.http.picture_response(now, id, &jpeg, taken, is_for_stream)));
            }
            FileState::Coming => {}
            FileState::Made(..) | FileState::Unknown => {
                self.admission.take_snapshot(client, now)?;
                self.http.snapshots.admit_file(now)?;
                self.http.snapshots.want_file(width);
            }
        }
        let cors = cors::headers(head, Some(endpoint), visitor, &self.config.access);
        let wants_page = wants_page(head);
        let waiting = Waiting { width, asked_width, is_for_stream, wants_page, cors };
        self.http.snapshots.wait(id, waiting);
        self.request_files(now);
        Ok(None)
    }

    fn admit_picture(&self, now: Instant, is_for_stream: bool) -> Result<(), Refusal> {
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

    /// Makes room for one more stream of pictures of this client.
    fn admit_stream(&mut self, now: Instant, client: Client) -> Result<(), Refusal> {
        let limits = self.admission.limits();
        if let Some(oldest) = self.http.stream_to_end(client, limits)? {
            let refusal = too_many_streams(limits);
            match self.refuse_waiting(now, oldest, refusal) {
                Some(response) => {
                    self.with_connection(now, oldest, |http| http.respond(response));
                }
                None => self.with_connection(now, oldest, |http| http.shutdown(now)),
            }
        }
        Ok(())
    }
}
