//! TCP connections and pictures over HTTP.
//!
//! [`Http`] owns the connections and the JPEG files. A request that needs the rest of the server comes out
//! as an [`HttpAsk`]: the server accepts, holds or rejects a head, and answers a request, at once or later.

pub(crate) mod connections;
mod file_share;
pub(crate) mod snapshots;

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use self::connections::{ConnectionEntry, ConnectionTable};
pub(crate) use self::connections::{CurrentRequest, HeldFor};
use self::snapshots::Snapshots;
use super::limits::admission::Limits;
use super::limits::client::{Client, oldest_of_largest};
use super::outbox::{Outbox, Timer};
use super::{ConnId, Output};
use crate::http::{
    Context, Head, HttpConnection, HttpError, HttpEvent, Request, Response, Verdict,
};
use crate::web::reason::Reason;
use crate::web::{headers, snapshot};

/// What a connection needs from the rest of the server.
#[derive(Debug)]
pub(crate) enum HttpAsk {
    /// [`Http::judge`] follows before the next poll.
    Head(Head),
    /// [`Http::respond`] follows, at once or later.
    Request(Request),
    /// If the error has a status, [`Http::respond`] follows before the next poll.
    Error(HttpError),
}

pub(crate) struct Http {
    connections: ConnectionTable,
    pub(crate) snapshots: Snapshots,
    /// The wall clock and the moment it was read.
    wall_clock: (SystemTime, Instant),
}

impl Http {
    pub(crate) fn new(wall_clock: SystemTime, now: Instant) -> Http {
        Http {
            connections: ConnectionTable::default(),
            snapshots: Snapshots::default(),
            wall_clock: (wall_clock, now),
        }
    }

    pub(crate) fn set_wall_clock(&mut self, wall: SystemTime, now: Instant) {
        self.wall_clock = (wall, now);
    }

    /// What the wall clock says, or has said, at this time.
    pub(crate) fn date(&self, at: Instant) -> SystemTime {
        let (wall, read_at) = self.wall_clock;
        let date = match at.checked_duration_since(read_at) {
            Some(passed) => wall.checked_add(passed),
            None => wall.checked_sub(read_at.saturating_duration_since(at)),
        };
        date.unwrap_or(wall)
    }

    fn context(&self, now: Instant) -> Context {
        Context { now, date: self.date(now), common_headers: headers::COMMON_HEADERS }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn ids(&self) -> Vec<ConnId> {
        self.connections.ids()
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut ConnectionEntry> {
        self.connections.get_mut(id)
    }

    /// Takes in a new connection, in another's place where the table is full.
    ///
    /// # Errors
    /// The client has too many connections, or none makes room: the reason.
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        id: ConnId,
        peer: SocketAddr,
        client: Client,
        limits: &Limits,
        outbox: &mut Outbox,
    ) -> Result<(), Reason> {
        let count = self.connections.count_of(client);
        let is_full = self.connections.len() >= limits.connections;
        let has_too_many = count >= limits.connections_per_address && !client.is_many;
        if has_too_many || is_full && !self.make_room(outbox) {
            return Err(Reason::Connections);
        }
        let http = HttpConnection::new(now);
        outbox.set_timer(Timer::Connection(id), http.poll_timeout());
        self.connections.insert(id, ConnectionEntry::new(http, peer, client, now));
        Ok(())
    }

    fn make_room(&mut self, outbox: &mut Outbox) -> bool {
        let Some(id) = self.connections.to_close() else { return false };
        self.forget(id, outbox);
        outbox.push(Output::Close(id));
        true
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, id: ConnId, outbox: &mut Outbox) {
        outbox.set_timer(Timer::Connection(id), None);
        self.connections.remove(id);
        self.snapshots.forget(id);
    }

    /// Answers on a connection that is not in the table, and ends it.
    pub(crate) fn refuse(
        &mut self,
        now: Instant,
        id: ConnId,
        refusal: Response,
        outbox: &mut Outbox,
    ) {
        let bytes = refusal.into_closing_bytes(&self.context(now));
        outbox.push(Output::Send(id, bytes));
        outbox.push(Output::Finish(id));
        outbox.push(Output::Close(id));
    }

    /// Writes what a connection wants to the outbox, up to the first thing that needs the server.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        id: ConnId,
        outbox: &mut Outbox,
    ) -> Option<HttpAsk> {
        let context = self.context(now);
        let connection = self.connections.get_mut(id)?;
        loop {
            match connection.http.poll(&context)? {
                HttpEvent::Head(head) => return Some(HttpAsk::Head(head)),
                HttpEvent::Request(request) => return Some(HttpAsk::Request(request)),
                HttpEvent::Error(error) => return Some(HttpAsk::Error(error)),
                HttpEvent::Send(bytes) => outbox.push(Output::Send(id, bytes)),
                HttpEvent::Finish => outbox.push(Output::Finish(id)),
                HttpEvent::Close => {
                    outbox.push(Output::Close(id));
                    self.forget(id, outbox);
                    return None;
                }
            }
        }
    }

    pub(crate) fn judge(&mut self, now: Instant, id: ConnId, head: Head, verdict: Verdict) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.http.judge(head, verdict, now);
        }
    }

    pub(crate) fn respond(&mut self, id: ConnId, response: Response) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.http.respond(response);
        }
    }

    /// A connection has nothing more to ask: what it is in the middle of, and its timer.
    pub(crate) fn settle(&mut self, id: ConnId, outbox: &mut Outbox) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        self.snapshots.note_served(id, &connection.http);
        outbox.set_timer(Timer::Connection(id), connection.http.poll_timeout());
        if let Some(takes_bytes) = connection.change_of_reading() {
            let change = if takes_bytes { Output::Resume } else { Output::Pause };
            outbox.push(change(id));
        }
    }

    /// Whether a stream of pictures takes the next one at once.
    pub(crate) fn any_stream_takes_part(&self) -> bool {
        self.snapshots.streams().iter().any(|id| self.takes_part(*id))
    }

    fn takes_part(&self, id: ConnId) -> bool {
        self.connections.get(id).is_some_and(|connection| connection.http.takes_part())
    }

    /// Makes room for one more stream of pictures, where there is none: the oldest stream of the client
    /// with most of them, to be ended. Only a client that has fewer then gets it: nobody gains a place by
    /// asking again.
    ///
    /// # Errors
    /// There is no place.
    pub(crate) fn stream_to_end(
        &self,
        client: Client,
        limits: &Limits,
    ) -> Result<Option<ConnId>, ()> {
        if self.snapshots.mjpeg_clients() < limits.mjpeg_clients {
            return Ok(None);
        }
        let ids = self.snapshots.stream_ids();
        let clients = ids.iter().filter_map(|id| Some((*id, self.connections.get(*id)?.client)));
        let own = clients.clone().filter(|(_, other)| *other == client).count();
        let largest = oldest_of_largest(clients).filter(|(count, _)| own + 1 < *count);
        largest.map(|(_, oldest)| Some(oldest)).ok_or(())
    }

    /// The streams of these that take the next picture now. It counts as sent.
    pub(crate) fn take_part(&mut self, id: ConnId) -> bool {
        let takes_part = self.takes_part(id);
        self.snapshots.counters.parts_sent += u64::from(takes_part);
        takes_part
    }

    /// A picture as the answer to a request. A stream begins with it.
    pub(crate) fn picture_response(
        &mut self,
        now: Instant,
        id: ConnId,
        jpeg: &Bytes,
        taken: Instant,
        is_for_stream: bool,
    ) -> Response {
        let date = self.date(taken);
        if is_for_stream {
            self.snapshots.begin_stream(now, id);
            return snapshot::stream(jpeg, date);
        }
        self.snapshots.counters.sent += 1;
        snapshot::picture(jpeg.clone(), date)
    }

    /// How many deadlines it has set.
    pub(crate) fn timers(&self) -> usize {
        self.connections() + usize::from(self.snapshots.poll_timeout().is_some())
    }

    /// What must hold between any two inputs.
    ///
    /// # Panics
    /// If it does not, which is a bug of ours.
    pub(crate) fn check_invariants(&self, limits: &Limits) {
        assert!(self.connections.len() <= limits.connections);
        assert!(self.snapshots.mjpeg_clients() <= limits.mjpeg_clients);
        self.snapshots.check_invariants(|id| self.connections.get(id).map(|entry| &entry.http));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 5_000))
    }

    fn client(host: u8) -> Client {
        Client::at(address(host).ip(), [])
    }

    struct Table {
        http: Http,
        outbox: Outbox,
        limits: Limits,
        now: Instant,
    }

    impl Table {
        fn new(connections: usize) -> Table {
            let now = Instant::now();
            let limits = Limits { connections, connections_per_address: 2, ..Limits::default() };
            Table {
                http: Http::new(SystemTime::UNIX_EPOCH, now),
                outbox: Outbox::new(),
                limits,
                now,
            }
        }

        fn connect(&mut self, id: u64, host: u8) -> Result<(), Reason> {
            let (now, client) = (self.now, client(host));
            let limits = &self.limits;
            self.http.connect(now, ConnId(id), address(host), client, limits, &mut self.outbox)
        }

        fn receive(&mut self, id: u64, bytes: &[u8]) -> Option<HttpAsk> {
            let connection = self.http.get_mut(ConnId(id)).unwrap();
            connection.change(self.now, |http| http.receive(bytes));
            self.http.poll(self.now, ConnId(id), &mut self.outbox)
        }
    }

    #[test]
    fn a_request_is_asked_about_twice_and_its_answer_is_sent() {
        let mut table = Table::new(4);
        table.connect(1, 1).unwrap();
        let Some(HttpAsk::Head(head)) = table.receive(1, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        else {
            panic!("the head comes first")
        };
        table.http.judge(table.now, ConnId(1), head, Verdict::Accept);
        let request = table.http.poll(table.now, ConnId(1), &mut table.outbox);
        assert!(matches!(request, Some(HttpAsk::Request(_))));
        assert!(table.http.poll(table.now, ConnId(1), &mut table.outbox).is_none());
        table.http.respond(ConnId(1), Response::new(204));
        assert!(table.http.poll(table.now, ConnId(1), &mut table.outbox).is_none());
        table.http.settle(ConnId(1), &mut table.outbox);
        assert!(matches!(table.outbox.pop(), Some(Output::Send(ConnId(1), _))));
        table.http.check_invariants(&table.limits);
    }

    #[test]
    fn a_full_table_makes_room_and_one_client_cannot_fill_it() {
        let mut table = Table::new(3);
        table.connect(1, 1).unwrap();
        table.connect(2, 1).unwrap();
        assert_eq!(table.connect(3, 1), Err(Reason::Connections), "two for each client");
        table.connect(4, 2).unwrap();
        table.connect(5, 3).unwrap();
        assert!(
            matches!(table.outbox.pop(), Some(Output::Close(ConnId(1)))),
            "the largest client's"
        );
        assert_eq!(table.http.ids(), [2, 4, 5].map(ConnId));
        assert_eq!(table.outbox.timers(), table.http.timers());
    }

    #[test]
    fn dates_follow_the_wall_clock() {
        let mut http = Http::new(SystemTime::UNIX_EPOCH, Instant::now());
        let now = Instant::now();
        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        http.set_wall_clock(later, now);
        let second = std::time::Duration::from_secs(1);
        assert_eq!((http.date(now + second), http.date(now)), (later + second, later));
        assert_eq!(http.date(now - second), later - second);
    }
}
