//! The TCP connections of clients: accepted, read, written and closed.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant, SystemTime};

use mio::net::TcpStream;
use mio::{Registry, Token};

use super::tcp::{Flush, TcpLink};
use crate::driver::encode::EncodePictures;
use crate::driver::errors::is_of_one;
use crate::driver::tokens::Tokens;
use crate::driver::{Driver, Pending};
use crate::server::{ConnId, Input};

/// A wall clock this far from where it should be has been set.
const CLOCK_STEP: Duration = Duration::from_secs(1);

/// What the kernel keeps for a slow reader of a stream of pictures, about; on a local network it is
/// more than what is under way.
const SEND_BUFFER_BYTES: usize = 128 * 1_024;

/// All that are open.
pub struct Connections {
    links: BTreeMap<ConnId, ClientLink>,
    by_token: BTreeMap<Token, ConnId>,
    tokens: Tokens,
    next: u64,
}

/// One connection as the loop keeps it.
struct ClientLink {
    token: Token,
    connection: TcpLink,
    /// The core wants no bytes of it for now.
    is_paused: bool,
    /// The kernel has taken everything, which the core is to be told in the connection's turn.
    is_flushed: bool,
}

impl Connections {
    pub fn new() -> Connections {
        Connections {
            links: BTreeMap::new(),
            by_token: BTreeMap::new(),
            tokens: Tokens::of_connections(),
            next: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub fn pause(&mut self, id: ConnId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.is_paused = true;
        }
    }

    /// `None` if there are more than there are tokens for.
    fn add(&mut self, stream: TcpStream) -> Option<ConnId> {
        let token = self.tokens.take()?;
        let id = ConnId(self.next);
        self.next += 1;
        let connection = TcpLink::new(stream);
        self.links
            .insert(id, ClientLink { token, connection, is_paused: false, is_flushed: false });
        self.by_token.insert(token, id);
        Some(id)
    }

    fn is_flushed(&self, id: ConnId) -> bool {
        self.links.get(&id).is_some_and(|link| link.is_flushed)
    }

    fn at(&mut self, token: Token) -> Option<(ConnId, &mut ClientLink)> {
        let id = *self.by_token.get(&token)?;
        Some((id, self.links.get_mut(&id)?))
    }

    /// Closes a connection, whose token was this.
    fn remove(&mut self, id: ConnId) -> Option<Token> {
        // Dropping the stream closes it and takes it out of the poll.
        let token = self.links.remove(&id)?.token;
        self.by_token.remove(&token);
        self.tokens.put_back(token);
        Some(token)
    }

    /// Begins to wait for what happens to a connection.
    fn register(&mut self, id: ConnId, registry: &Registry) -> io::Result<()> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        link.connection.prepare(SEND_BUFFER_BYTES)?;
        link.connection.register(registry, link.token)
    }
}

impl<S: EncodePictures> Driver<S> {
    pub(crate) fn accept(&mut self, token: Token) -> io::Result<()> {
        let Some(endpoint) = self.endpoints.get(&token) else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let (stream, peer) = endpoint.listener.accept()?;
        let id = self.connections.add(stream).ok_or(ErrorKind::OutOfMemory)?;
        self.check_wall_clock();
        self.input(Input::Connected(id, peer));
        // One that was refused is gone already.
        let registered = self.connections.register(id, self.poll.registry());
        if registered.is_err() {
            self.close(id);
            self.input(Input::Disconnected(id));
        }
        registered
    }

    /// A connection's turn: one fact about it is told to the core, which answers one request at most.
    pub(crate) fn serve_connection(&mut self, token: Token) -> io::Result<()> {
        self.follow_names();
        let Some((id, link)) = self.connections.at(token) else {
            return Err(ErrorKind::WouldBlock.into());
        };
        if std::mem::take(&mut link.is_flushed) {
            self.input(Input::Flushed(id));
            return Ok(());
        }
        if link.is_paused {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = link.connection.read(&mut buffer);
        match &read {
            Ok(0) => self.input(Input::HalfClosed(id)),
            Ok(bytes) => self.input(Input::Received(id, &buffer[..*bytes])),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) if is_of_one(error) => {
                self.close(id);
                self.input(Input::Disconnected(id));
            }
            // It is read again later.
            Err(_) => {}
        }
        self.buffer = buffer;
        match read {
            // The end of a stream is read once.
            Ok(0) if !self.connections.is_flushed(id) => Err(ErrorKind::WouldBlock.into()),
            read => read.map(|_| ()),
        }
    }

    /// After word that a connection can be written.
    pub(crate) fn write(&mut self, token: Token) {
        if let Some((id, _)) = self.connections.at(token) {
            self.flush(id);
            self.handle_pending();
        }
    }

    /// Changes what a connection has to send, and writes what the kernel takes.
    pub(crate) fn write_to(&mut self, id: ConnId, change: impl FnOnce(&mut TcpLink)) {
        if let Some(link) = self.connections.links.get_mut(&id) {
            change(&mut link.connection);
            self.flush(id);
        }
    }

    fn flush(&mut self, id: ConnId) {
        let Some(link) = self.connections.links.get_mut(&id) else { return };
        match link.connection.flush() {
            Ok(Flush::Idle | Flush::Blocked) => {}
            Ok(Flush::Flushed) => {
                link.is_flushed = true;
                self.ready.insert(link.token);
            }
            Err(_) => {
                self.close(id);
                self.pending.push_back(Pending::Disconnected(id));
            }
        }
    }

    pub(crate) fn resume(&mut self, id: ConnId) {
        if let Some(link) = self.connections.links.get_mut(&id) {
            link.is_paused = false;
            // What has come meanwhile is no event.
            self.ready.insert(link.token);
        }
    }

    pub(crate) fn close(&mut self, id: ConnId) {
        if let Some(token) = self.connections.remove(id) {
            // Its next owner is not ready.
            self.ready.remove(token);
            self.troubled.remove(&token);
        }
    }

    fn check_wall_clock(&mut self) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let (wall_before, before) = self.wall_clock;
        let expected = wall_before + (now - before);
        let step = match wall.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        if step > CLOCK_STEP {
            self.wall_clock = (wall, now);
            self.input(Input::WallClock(wall));
        }
    }
}
