//! TCP connections: each is an HTTP machine, whose requests are answered by the whole server.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::client::{Client, oldest_of_largest};
use super::{ConnId, Output, Server, Timer, catch_panic};
use crate::http::{self, Head, Response, Verdict};
use crate::refusal::Reason;
use crate::server::admission::RETRY_AFTER;
use crate::web::auth::TokenCheck;
use crate::web::routes;
use crate::work;

pub(super) struct Connection {
    pub(super) http: http::Connection,
    peer: SocketAddr,
    client: Client,
    last_used: Instant,
    /// Whether the driver reads it.
    is_read: bool,
    /// The request that waits has a turn.
    has_turn: bool,
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
        let connection =
            Connection { http, peer, client, last_used: now, is_read: true, has_turn: false };
        self.connections.insert(id, connection);
    }

    /// Answers on a connection that is in the table no more, or never was, and ends it.
    fn refuse_connection(&mut self, now: Instant, id: ConnId, refusal: Response) {
        let bytes = refusal.into_closing_bytes(self.date(now));
        self.outbox.extend([Output::Send(id, bytes), Output::Finish(id), Output::Close(id)]);
    }

    /// Closes the connection that is idle for longest, or else the oldest of the client that has
    /// most of them, if that is more than one.
    fn make_room(&mut self, now: Instant) -> bool {
        let idle = self.connections.iter().filter(|(_, c)| c.http.is_idle());
        let idle = idle.min_by_key(|(_, c)| c.last_used).map(|(id, _)| *id);
        let Some(id) = idle.or_else(|| self.oldest_of_largest_client()) else {
            return false;
        };
        self.forget_connection(now, id);
        self.outbox.push_back(Output::Close(id));
        true
    }

    fn oldest_of_largest_client(&self) -> Option<ConnId> {
        let connections = self.connections.iter().map(|(id, connection)| (*id, connection.client));
        oldest_of_largest(connections).filter(|(count, _)| *count > 1).map(|(_, id)| id)
    }

    pub(super) fn forget_connection(&mut self, now: Instant, id: ConnId) {
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
        let served = catch_panic(|| {
            change(&mut connection.http);
            self.serve(now, id, &mut connection)
        });
        match served {
            Some(true) => {
                self.snapshots.note_served(id, &connection.http);
                self.timers.set(Timer::Connection(id), connection.http.poll_timeout());
                let takes_bytes = connection.http.takes_bytes();
                if std::mem::replace(&mut connection.is_read, takes_bytes) != takes_bytes {
                    let change = if takes_bytes { Output::Resume } else { Output::Pause };
                    self.outbox.push_back(change(id));
                }
                self.connections.insert(id, connection);
            }
            Some(false) => self.forget_connection(now, id),
            None => {
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
    fn serve(&mut self, now: Instant, id: ConnId, connection: &mut Connection) -> bool {
        let peer = connection.peer.ip();
        let context = http::Context { now, date: self.date(now) };
        while let Some(event) = connection.http.poll(&context) {
            match event {
                http::Event::Head(head) => {
                    let verdict = self.judge(now, connection, &head);
                    connection.http.judge(head, verdict, now);
                }
                http::Event::Request(request) => {
                    let visitor = self.config.access.visitor(peer, &request.head);
                    if let Some(response) = self.respond(now, id, &visitor, &request) {
                        connection.http.respond(response);
                    }
                }
                http::Event::Refused(reason) => self.count_refusal(now, reason, peer),
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

    /// Decides on the head of a request: a client that asks too often waits.
    fn judge(&mut self, now: Instant, connection: &mut Connection, head: &Head) -> Verdict {
        let access = &self.config.access;
        let visitor = access.visitor(connection.peer.ip(), head);
        let client = self.client_of(&visitor);
        if !std::mem::take(&mut connection.has_turn) {
            match self.admission.take_request(client, now) {
                Ok(Duration::ZERO) => {}
                turn => {
                    connection.has_turn = turn.is_ok();
                    let (Ok(wait) | Err(wait)) = turn;
                    return Verdict::Hold(now + wait);
                }
            }
        }
        let guessed_wrong = Cell::new(false);
        let check = self.config.token.as_ref().map(|token| TokenCheck {
            token,
            wait: self.admission.wrong_token_wait(client, now),
            guessed_wrong: &guessed_wrong,
        });
        let admitted = routes::admit(head, &visitor, access, check);
        if guessed_wrong.get() {
            self.admission.note_wrong_token(client, now);
        }
        admitted.map_or_else(Verdict::Reject, |()| Verdict::Accept)
    }

    fn count_refusal(&mut self, now: Instant, reason: Reason, peer: IpAddr) {
        self.counters.count_refusal(reason);
        if self.admission.note_refusal(self.client_at(peer), now) {
            log::info!("refused {peer}: {}", reason.name());
        }
    }
}
