//! TCP connections: each is an HTTP machine, whose requests are answered by the whole server.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::{ConnId, Output, Server, Timer};
use crate::http::{self, Head, Response};
use crate::refusal::Reason;
use crate::server::admission::RETRY_AFTER;
use crate::web::auth::TokenCheck;
use crate::web::routes;

pub(super) struct Connection {
    http: http::Connection,
    peer: SocketAddr,
    last_used: Instant,
}

impl Server {
    pub(super) fn connected(&mut self, now: Instant, id: ConnId, peer: SocketAddr) {
        let limits = &self.config.limits;
        let of_peer = |c: &&Connection| c.peer.ip() == peer.ip();
        let from_address = self.connections.values().filter(of_peer).count();
        let full = self.connections.len() >= limits.connections;
        if from_address >= limits.connections_per_address || full && !self.close_oldest_idle() {
            self.count_refusal(now, Reason::Connections, peer);
            let sentence = "Too many connections. Close some tabs, or try again in a moment.";
            let refusal =
                Response::problem(503, Reason::Connections, sentence).retry_after(RETRY_AFTER);
            let bytes = refusal.into_closing_bytes(self.date(now));
            let outputs = [Output::Send(id, bytes), Output::Finish(id), Output::Close(id)];
            return self.outbox.extend(outputs);
        }
        let http = http::Connection::new(now);
        self.timers.set(Timer::Connection(id), http.poll_timeout());
        self.connections.insert(id, Connection { http, peer, last_used: now });
    }

    fn close_oldest_idle(&mut self) -> bool {
        let idle = self.connections.iter().filter(|(_, c)| c.http.is_idle());
        let Some((&id, _)) = idle.min_by_key(|(_, c)| c.last_used) else {
            return false;
        };
        self.forget_connection(id);
        self.outbox.push_back(Output::Close(id));
        true
    }

    pub(super) fn forget_connection(&mut self, id: ConnId) {
        self.timers.set(Timer::Connection(id), None);
        self.connections.remove(&id);
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
        change(&mut connection.http);
        while let Some(event) = self.poll_connection(now, &mut connection) {
            match event {
                http::Event::Request(request) => {
                    let response = self.respond(now, connection.peer, &request);
                    connection.http.respond(response);
                }
                http::Event::Refused(reason) => self.count_refusal(now, reason, connection.peer),
                http::Event::Send(bytes) => self.outbox.push_back(Output::Send(id, bytes)),
                http::Event::Finish => self.outbox.push_back(Output::Finish(id)),
                http::Event::Close => {
                    self.outbox.push_back(Output::Close(id));
                    self.timers.set(Timer::Connection(id), None);
                    return;
                }
            }
        }
        self.timers.set(Timer::Connection(id), connection.http.poll_timeout());
        self.connections.insert(id, connection);
    }

    fn poll_connection(&self, now: Instant, connection: &mut Connection) -> Option<http::Event> {
        let peer = connection.peer.ip();
        let admit = |head: &Head| {
            let addresses: Vec<IpAddr> = self.config.addresses.iter().map(|a| a.ip()).collect();
            let wait = || self.admission.wrong_token_wait(peer, now);
            let token = self.config.token.as_ref();
            let check = token.map(|token| TokenCheck { token, wait: wait() });
            routes::admit(head, &self.config.access, &addresses, check)
        };
        connection.http.poll(&http::Context { now, date: self.date(now), admit: &admit })
    }

    fn count_refusal(&mut self, now: Instant, reason: Reason, peer: SocketAddr) {
        self.counters.count_refusal(reason);
        if self.admission.note_refusal(reason, peer.ip(), now) {
            log::info!("refused {}: {}", peer.ip(), reason.name());
        }
    }
}
