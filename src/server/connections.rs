//! TCP connections: each is an HTTP machine, whose requests are answered by the whole server.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::client::{Client, oldest_of_largest};
use super::{ConnId, Output, Server, Timer, catch_panic};
use crate::http::{self, Head, Response};
use crate::refusal::Reason;
use crate::server::admission::RETRY_AFTER;
use crate::web::auth::{TokenPlace, TokenVerdict};
use crate::work;

pub(super) struct Connection {
    pub(super) http: http::Connection,
    peer: SocketAddr,
    /// Who is at the other end: the peer, or whom a trusted proxy has named in its last request.
    pub(super) client: Client,
    last_used: Instant,
    /// Where the token of the request is that is being read, if it is to be compared later.
    postponed: Option<TokenPlace>,
}

/// What a connection is in the middle of, the first to make room first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Between requests.
    Idle,
    /// In an unfinished head or body, or in what comes after a last answer: the peer is owed nothing.
    Receiving,
    Answering,
    /// Showing pictures to somebody.
    Streaming,
}

impl Connection {
    fn stage(&self) -> Stage {
        match &self.http {
            http if http.is_idle() => Stage::Idle,
            http if http.is_streaming() => Stage::Streaming,
            http if http.is_answering() => Stage::Answering,
            _ => Stage::Receiving,
        }
    }
}

impl Server {
    pub(super) fn connected(&mut self, now: Instant, id: ConnId, peer: SocketAddr) {
        let limits = &self.config.limits;
        let client = self.client_at(peer.ip());
        let of_client = |c: &&Connection| {
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
        let http = http::Connection::new(now);
        self.timers.set(Timer::Connection(id), http.poll_timeout());
        let connection = Connection { http, peer, client, last_used: now, postponed: None };
        self.connections.insert(id, connection);
    }

    /// Answers on a connection that is in the table no more, or never was, and ends it.
    fn refuse_connection(&mut self, now: Instant, id: ConnId, refusal: Response) {
        let bytes = refusal.into_closing_bytes(self.date(now));
        self.outbox.extend([Output::Send(id, bytes), Output::Finish(id), Output::Close(id)]);
    }

    /// Closes the connection that is idle for longest. Where none is, closes one that the peer is owed
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
        let stage = self.connections.values().map(Connection::stage).min()?;
        let at_stage = self.connections.iter().filter(|(_, c)| c.stage() == stage);
        if stage == Stage::Idle {
            return at_stage.min_by_key(|(_, c)| c.last_used).map(|(id, _)| *id);
        }
        let (count, id) = oldest_of_largest(at_stage.map(|(id, c)| (*id, c.client)))?;
        (count > 1 || stage < Stage::Streaming).then_some(id)
    }

    pub(super) fn forget_connection(&mut self, now: Instant, id: ConnId) {
        self.timers.set(Timer::Connection(id), None);
        self.connections.remove(&id);
        self.snapshots.forget(id);
        self.forget_postponed(now, id);
        self.update_clock_of_streams(now);
    }

    /// The first stream of pictures has begun, or the last one has ended.
    fn update_clock_of_streams(&mut self, now: Instant) {
        if self.clock.deadline().is_some() != self.is_watched() {
            self.update_clock(now);
        }
    }

    /// Changes a connection, then answers what it asks and does what it wants.
    pub(super) fn with_connection(
        &mut self,
        now: Instant,
        id: ConnId,
        change: impl FnOnce(&mut http::Connection),
    ) {
        // Out of the table while it is served: an answer is made by the whole server.
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        connection.last_used = now;
        let peer = connection.peer.ip();
        self.in_service += 1;
        let served = catch_panic(|| {
            change(&mut connection.http);
            self.serve(now, id, &mut connection)
        });
        self.in_service -= 1;
        match served {
            Some(true) => {
                self.snapshots.note_served(id, &connection.http);
                if !connection.http.awaits_response() {
                    self.forget_postponed(now, id);
                }
                self.timers.set(Timer::Connection(id), connection.http.poll_timeout());
                self.connections.insert(id, connection);
            }
            Some(false) => self.forget_connection(now, id),
            None => self.request_failed(now, id, peer),
        }
        self.update_clock_of_streams(now);
    }

    /// Something has panicked on a request: its connection ends, and all else goes on.
    pub(super) fn request_failed(&mut self, now: Instant, id: ConnId, peer: IpAddr) {
        self.forget_connection(now, id);
        self.count_refusal(now, Reason::Internal, peer);
        let sentence = "The server failed on this request. Its log says more; please report it.";
        let refusal = Response::problem(500, Reason::Internal, sentence);
        self.refuse_connection(now, id, refusal);
        self.recover(now);
    }

    /// Answers what a connection asks and does what it wants; whether it is still open.
    fn serve(&mut self, now: Instant, id: ConnId, connection: &mut Connection) -> bool {
        let peer = connection.peer;
        while let Some(event) = self.poll_connection(now, connection) {
            match event {
                http::Event::Request(request) => {
                    let visitor = self.config.access.visitor(peer.ip(), &request.head);
                    if let Some(place) = connection.postponed.take() {
                        self.postpone(now, id, place, visitor, request);
                    } else if let Some(response) = self.respond(now, id, &visitor, &request) {
                        connection.http.respond(response);
                    }
                }
                http::Event::Refused(reason) => self.count_refusal(now, reason, peer.ip()),
                http::Event::Send(bytes) => self.outbox.push_back(Output::Send(id, bytes)),
                http::Event::Finish => self.outbox.push_back(Output::Finish(id)),
                http::Event::Close => {
                    self.outbox.push_back(Output::Close(id));
                    return false;
                }
            }
        }
        true
    }

    fn poll_connection(
        &mut self,
        now: Instant,
        connection: &mut Connection,
    ) -> Option<http::Event> {
        // At most one head is read.
        let read = Cell::new(None);
        let admit = |head: &Head| {
            let visitor = self.config.access.visitor(connection.peer.ip(), head);
            let (verdict, admitted) = self.admit(now, &visitor, head);
            read.set(Some((self.client_of(&visitor), verdict)));
            admitted
        };
        let context = http::Context { now, date: self.date(now), admit: &admit };
        let event = connection.http.poll(&context);
        if let Some((client, verdict)) = read.get() {
            connection.client = client;
            self.guesses.note(client, verdict, now);
            connection.postponed = match verdict {
                TokenVerdict::Postponed(place) => Some(place),
                _ => None,
            };
        }
        event
    }

    fn count_refusal(&mut self, now: Instant, reason: Reason, peer: IpAddr) {
        self.counters.count_refusal(reason);
        if self.admission.note_refusal(self.client_at(peer), now) {
            log::info!("refused {peer}: {}", reason.name());
        }
    }
}
