//! What requests ask of the server: offers become viewers, sessions change and end.

use std::time::Instant;

use str0m::IceCreds;

use crate::http::{Method, Request, Response};
use crate::media::Codec;
use crate::sdp::offer::Offer;
use crate::server::limits::client::Client;
use crate::server::viewers::{Asked, ViewerRole, WhepSession};
use crate::server::{ConnId, Server, stats::metrics};
use crate::web::endpoints::{Endpoint, Route};
use crate::web::proxies::Visitor;
use crate::web::refusal::Refusal;
use crate::web::{health, offer_api, whep};
use crate::webrtc::EndReason;
use crate::webrtc::ViewerId;
use crate::webrtc::viewer::Viewer;

impl Server {
    /// The answer to a request, or `None` if it comes later: the connection then waits for it.
    pub(crate) fn respond(
        &mut self,
        now: Instant,
        id: ConnId,
        visitor: &Visitor,
        endpoint: &'static Endpoint,
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
            Route::Health => health::answer(self.problem(now)),
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
        self.admit_offer(now, self.client_of(visitor))?;
        let mut offer = offer_api::read(&request.body)?;
        let client_id = offer_api::client_id(&request.head);
        if let Some(id) = self.viewer_of_session(&offer, self.client_of(visitor), client_id) {
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
        let is_own = self.viewers.get(id)?.asked()?.client == client;
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
        self.admit_offer(now, self.client_of(visitor))?;
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
        let session = entry.asked().and_then(|asked| asked.whep.as_ref());
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
        self.admit_offer(now, self.client_of(visitor))?;
        self.restart_ice(now, id, remote);
        let etag = self.secrets.etag();
        let entry = self.viewers.get_mut(id).ok_or_else(whep::no_session)?;
        let session = entry.asked_mut().and_then(|asked| asked.whep.as_mut());
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

    /// An offer in, an answer out, and a viewer more.
    fn add_viewer(
        &mut self,
        now: Instant,
        visitor: &Visitor,
        offer: &mut Offer,
    ) -> Result<(ViewerId, String), Refusal> {
        if let Some(source) = self.source.as_ref().filter(|source| source.is_encoded()) {
            if offer.format.codec != Codec::H264 {
                return Err(offer_api::refusal(&offer.lacks_h264()));
            }
            if let Some(profile_level_id) = source.info().profile_level_id {
                offer.prefer_profile(profile_level_id);
            }
        }
        let (client, peer) = (self.client_of(visitor), visitor.address);
        self.admit_viewer(now, client)?;
        let credentials = self.secrets.ice_credentials();
        let random = self.secrets.numbers();
        let local = self.config.local_parameters(Some(peer), credentials, random);
        let answered = Viewer::answer(offer, local, now);
        let (viewer, sdp) = answered.map_err(|error| offer_api::refusal(&error))?;
        let asked = Asked::new(peer, client, offer.session_key.clone());
        let id = self.viewers.add_viewer(viewer, ViewerRole::Asked(asked));
        log::info!("{id} asks from {peer}");
        self.with_viewer(now, id, |_| {});
        Ok((id, sdp))
    }
}
