//! TCP connections: each is an HTTP machine, whose requests are answered by the whole server.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::containment::contain;
use crate::http::{self, Head, Response, Verdict};
use crate::refusal::Reason;
use crate::server::limits::admission::RETRY_AFTER;
use crate::server::limits::client::{Client, oldest_of_largest};
use crate::server::{ConnId, Output, Server, Timer};
use crate::web::auth::{TokenCheck, TokenVerdict};
use crate::web::routes;
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
            let refusal =
                Response::problem(503, Reason::Connections, sentence).retry_after(RETRY_AFTER);
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
        };
        self.connections.insert(id, connection);
    }

    /// Answers on a connection that is in the table no more, or never was, and ends it.
    fn refuse_connection(&mut self, now: Instant, id: ConnId, refusal: Response) {
        let bytes = refusal.into_closing_bytes(self.date(now));
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
                let refusal = Response::problem(500, Reason::Internal, sentence);
                self.refuse_connection(now, id, refusal);
                self.recover(now);
            }
        }
        self.update_clock_of_streams(now);
    }

    /// Answers what a connection asks and does what it wants; whether it is still open.
    fn serve(&mut self, now: Instant, id: ConnId, connection: &mut ConnectionEntry) -> bool {
        let peer = connection.peer.ip();
        let context = http::Context { now, date: self.date(now) };
        while let Some(event) = connection.http.poll(&context) {
            match event {
                http::HttpEvent::Head(head) => {
                    let verdict = self.judge(now, connection, &head);
                    connection.http.judge(head, verdict, now);
                }
                http::HttpEvent::Request(request) => {
                    let visitor = self.config.access.visitor(peer, &request.head);
                    if let Some(response) = self.respond(now, id, &visitor, &request) {
                        connection.http.respond(response);
                    }
                }
                http::HttpEvent::Refused(reason) => self.count_refusal(now, reason, peer),
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
        let visitor = self.config.access.visitor(connection.peer.ip(), head);
        let client = self.client_of(&visitor);
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
        let guesses = &mut self.guesses;
        let mut turn = |place| guesses.turn(client, place, waited, now);
        let token = self.config.token.as_ref();
        let check = token.map(|token| TokenCheck { token, turn: &mut turn });
        let (token, admitted) = routes::admit(head, &visitor, &self.config.access, check);
        if let TokenVerdict::Postponed(at) = token {
            connection.held_for = Some(HeldFor::Comparison);
            return Verdict::Hold(at);
        }
        connection.has_asked = true;
        self.guesses.note(client, token, waited, now);
        match admitted {
            Ok(()) => Verdict::Accept,
            Err(refusal) => Verdict::Reject(refusal.for_reader(head.wants_page())),
        }
    }

    fn count_refusal(&mut self, now: Instant, reason: Reason, peer: IpAddr) {
        self.counters.count_refusal(reason);
        if self.admission.note_refusal(self.client_at(peer), now) {
            let remedy = reason.remedy().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
            log::info!("refused {peer}: {reason}{remedy}");
        }
    }
}
