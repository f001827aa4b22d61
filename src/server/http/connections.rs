//! TCP connections: each is an HTTP machine, whose requests are answered by the whole server.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::containment::contain;
use crate::http::{self, Head, Response, Verdict};
use crate::server::limits::admission::RETRY_AFTER;
use crate::server::limits::client::{Client, oldest_of_largest};
use crate::server::{ConnId, Output, Server, Timer};
use crate::web::auth::TokenVerdict;
use crate::web::endpoints::{self, Endpoint};
use crate::web::proxies::Visitor;
use crate::web::reason::Reason;
use crate::web::refusal::{Refusal, wants_page};
use crate::web::{cors, guards, headers, malformed};
use crate::work;

pub(crate) struct ConnectionEntry {
    pub(crate) http: http::HttpConnection,
    peer: SocketAddr,
    /// Who is at the other end: the peer, or whom a trusted proxy has named in its last request.
    pub(crate) client: Client,
    last_used: Instant,
    /// A request of it was admitted.
    has_asked: bool,
    /// Whether the driver reads it.
    is_read: bool,
    held_for: Option<HeldFor>,
    /// The request whose head has come, until it is answered.
    request: Option<CurrentRequest>,
}

/// What the head of a request says, read once.
struct CurrentRequest {
    visitor: Visitor,
    endpoint: Option<&'static Endpoint>,
}

/// What a request that is held has got, once its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeldFor {
    /// Its turn among the client's requests.
    Turn,
    /// And a comparison of its token.
    Comparison,
}

/// What a connection is in the middle of, the first to make room first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Between requests, after an answer: another connection serves its peer as well.
    Idle,
    /// Before the first head is whole or has its turn, in an unfinished head or body, or in what comes
    /// after a last answer: the peer is owed nothing.
    Receiving,
    Answering,
    /// Showing pictures to somebody.
    Streaming,
}

impl ConnectionEntry {
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer.ip()
    }

    fn stage(&self) -> Stage {
        match &self.http {
            http if http.is_idle() && self.has_asked => Stage::Idle,
            http if http.is_streaming() => Stage::Streaming,
            http if http.is_answering() => Stage::Answering,
            _ => Stage::Receiving,
        }
    }
}

impl Server {
    pub(crate) fn connected(&mut self, now: Instant, id: ConnId, peer: SocketAddr) {
        let limits = &self.config.limits;
        let client = self.client_at(peer.ip());
        let of_client = |c: &&ConnectionEntry| {
            work::step();
            c.client == client
        };
        let count = self.connections.values().filter(of_client).count();
        let full = self.connections.len() >= limits.connections;
        let too_many = count >= limits.connections_per_address && !client.is_many;
        if too_many || full && !self.make_room(now) {
            self.count_refusal(now, Reason::Connections, peer.ip());
            let sentence = "Too many connections. Close some tabs, or try again in a moment.";
            let refusal = Refusal::new(503, Reason::Connections, sentence).retry_after(RETRY_AFTER);
            return self.refuse_connection(now, id, refusal);
        }
        let http = http::HttpConnection::new(now);
        self.timers.set(Timer::Connection(id), http.poll_timeout());
        let connection = ConnectionEntry {
            http,
            peer,
            client,
            last_used: now,
            has_asked: false,
            is_read: true,
            held_for: None,
            request: None,
        };
        self.connections.insert(id, connection);
    }

    /// Answers on a connection that is in the table no more, or never was, and ends it.
    fn refuse_connection(&mut self, now: Instant, id: ConnId, refusal: Refusal) {
        let bytes = refusal.into_response(false).into_closing_bytes(&self.http_context(now));
        self.outbox.extend([Output::Send(id, bytes), Output::Finish(id), Output::Close(id)]);
    }

    /// Closes the connection that is idle for longest after an answer. Where none is, closes one that the peer is owed
    /// nothing on, or else one with an answer under way: the oldest of the client that has most of
    /// them. A stream of pictures makes room only for want of others, and not where each client has one.
    ///
    /// However many addresses hold back the rest of a request, a newcomer is thus let in, and has until
    /// as many others have come as there are places to send its own.
    fn make_room(&mut self, now: Instant) -> bool {
        let Some(id) = self.connection_to_close() else { return false };
        self.forget_connection(now, id);
        self.outbox.push_back(Output::Close(id));
        true
    }

    fn connection_to_close(&self) -> Option<ConnId> {
        let stage = self.connections.values().map(ConnectionEntry::stage).min()?;
        let at_stage = self.connections.iter().filter(|(_, c)| c.stage() == stage);
        if stage == Stage::Idle {
            return at_stage.min_by_key(|(_, c)| c.last_used).map(|(id, _)| *id);
        }
        let (count, id) = oldest_of_largest(at_stage.map(|(id, c)| (*id, c.client)))?;
        (count > 1 || stage < Stage::Streaming).then_some(id)
    }

    pub(crate) fn forget_connection(&mut self, now: Instant, id: ConnId) {
        self.timers.set(Timer::Connection(id), None);
        self.connections.remove(&id);
        self.snapshots.forget(id);
        self.update_clock_of_streams(now);
    }

    /// The first stream of pictures has begun, or the last one has ended.
    fn update_clock_of_streams(&mut self, now: Instant) {
        if self.clock.deadline().is_some() != self.is_watched() {
            self.update_clock(now);
        }
    }

    /// Changes a connection, then answers what it asks and does what it wants.
    pub(crate) fn with_connection(
        &mut self,
        now: Instant,
        id: ConnId,
        change: impl FnOnce(&mut http::HttpConnection),
    ) {
        // Out of the table while it is served: an answer is made by the whole server.
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        connection.last_used = now;
        let peer = connection.peer.ip();
        self.in_service += 1;
        let served = contain(|| {
            change(&mut connection.http);
            self.serve(now, id, &mut connection)
        });
        self.in_service -= 1;
        match served {
            Ok(true) => {
                self.snapshots.note_served(id, &connection.http);
                self.timers.set(Timer::Connection(id), connection.http.poll_timeout());
                let takes_bytes = connection.http.takes_bytes();
                if std::mem::replace(&mut connection.is_read, takes_bytes) != takes_bytes {
                    let change = if takes_bytes { Output::Resume } else { Output::Pause };
                    self.outbox.push_back(change(id));
                }
                self.connections.insert(id, connection);
            }
            Ok(false) => self.forget_connection(now, id),
            Err(_) => {
                self.forget_connection(now, id);
                self.count_refusal(now, Reason::Internal, peer);
                let sentence = "The server failed on this request. Its log says more; please \
                                report it.";
                let refusal = Refusal::new(500, Reason::Internal, sentence);
                self.refuse_connection(now, id, refusal);
                self.recover(now);
            }
        }
        self.update_clock_of_streams(now);
    }

    /// Answers what a connection asks and does what it wants; whether it is still open.
    fn serve(&mut self, now: Instant, id: ConnId, connection: &mut ConnectionEntry) -> bool {
        let peer = connection.peer.ip();
        let context = self.http_context(now);
        while let Some(event) = connection.http.poll(&context) {
            match event {
                http::HttpEvent::Head(head) => {
                    let verdict = self.judge(now, connection, &head);
                    connection.http.judge(head, verdict, now);
                }
                http::HttpEvent::Request(request) => {
                    let Some(CurrentRequest { visitor, endpoint: Some(endpoint) }) =
                        connection.request.take()
                    else {
                        debug_assert!(false, "a request without an admitted head");
                        continue;
                    };
                    let head = &request.head;
                    let mut response = match self.respond(now, id, &visitor, endpoint, &request) {
                        Ok(Some(response)) => response,
                        Ok(None) => continue,
                        Err(refusal) => self.refuse(now, peer, wants_page(head), refusal),
                    };
                    let access = &self.config.access;
                    response.headers.extend(cors::headers(head, Some(endpoint), &visitor, access));
                    connection.http.respond(response);
                }
                http::HttpEvent::Error(error) => {
                    self.count_refusal(now, Reason::Http(error), peer);
                    if let Some(refusal) = malformed::refusal(error) {
                        connection.http.respond(refusal.into_response(false));
                    }
                }
                http::HttpEvent::Send(bytes) => self.outbox.push_back(Output::Send(id, bytes)),
                http::HttpEvent::Finish => self.outbox.push_back(Output::Finish(id)),
                http::HttpEvent::Close => {
                    self.outbox.push_back(Output::Close(id));
                    return false;
                }
            }
        }
        true
    }

    /// Decides on the head of a request: a client that asks too often waits, and so may one whose token
    /// is to be compared.
    fn judge(&mut self, now: Instant, connection: &mut ConnectionEntry, head: &Head) -> Verdict {
        let peer = connection.peer();
        let request = connection.request.take().unwrap_or_else(|| CurrentRequest {
            visitor: self.config.access.visitor(peer, head),
            endpoint: endpoints::find(head),
        });
        let (endpoint, visitor) = (request.endpoint, &request.visitor);
        let client = self.client_of(visitor);
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
        let checked = guards::check(head, endpoint, visitor, &self.config.access);
        let admitted = checked.and_then(|(endpoint, credential)| {
            let waited = held_for == Some(HeldFor::Comparison);
            let token = self.config.token.as_ref();
            let verdict = token.map_or(TokenVerdict::NotNeeded, |token| {
                self.guesses.judge(client, token, &credential, waited, now)
            });
            match verdict {
                TokenVerdict::Postponed(_) => Ok(verdict),
                _ => guards::admit(head, endpoint, verdict).map(|()| verdict),
            }
        });
        if let Ok(TokenVerdict::Postponed(at)) = admitted {
            connection.held_for = Some(HeldFor::Comparison);
            connection.request = Some(request);
            return Verdict::Hold(at);
        }
        connection.has_asked = true;
        match admitted {
            Ok(_) => {
                connection.request = Some(request);
                Verdict::Accept
            }
            Err(refusal) => {
                let cors = cors::headers(head, endpoint, visitor, &self.config.access);
                let mut response = self.refuse(now, peer, wants_page(head), refusal);
                response.headers.extend(cors);
                Verdict::Reject(response)
            }
        }
    }

    /// Counts a refusal of a request from this peer, and makes its response.
    pub(crate) fn refuse(
        &mut self,
        now: Instant,
        peer: IpAddr,
        wants_page: bool,
        refusal: Refusal,
    ) -> Response {
        self.count_refusal(now, refusal.reason, peer);
        refusal.into_response(wants_page)
    }

    fn http_context(&self, now: Instant) -> http::Context {
        http::Context { now, date: self.date(now), common_headers: headers::COMMON_HEADERS }
    }

    fn count_refusal(&mut self, now: Instant, reason: Reason, peer: IpAddr) {
        self.counters.count_refusal(reason);
        if self.admission.note_refusal(self.client_at(peer), now) {
            let remedy = reason.remedy().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
            log::info!("refused {peer}: {reason}{remedy}");
        }
    }
}
