//! The TCP connections of clients: accepted, read, written and closed.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant, SystemTime};

use mio::{Interest, Token};
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::errors::is_of_one;
use super::tcp::{Connection, Flush};
use super::{Driver, FIRST_CONNECTION, Pending};
use crate::server::{ConnId, Input};
use crate::source::Source;

/// A wall clock this far from where it should be has been set.
const CLOCK_STEP: Duration = Duration::from_secs(1);

/// What the kernel keeps for a slow reader of a stream of pictures, about; on a local network it is
/// more than what is under way.
const SEND_BUFFER_BYTES: usize = 128 * 1_024;

impl<S: Source> Driver<S> {
    pub(super) fn accept(&mut self, token: Token) -> io::Result<()> {
        let Some(endpoint) = self.endpoints.get(&token) else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let (mut stream, peer) = endpoint.listener.accept()?;
        stream.set_nodelay(true)?;
        // What waits in the kernel is no longer the newest picture.
        let _ = set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
        let id = ConnId(self.next_connection);
        self.next_connection += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token_of(id), interest)?;
        self.connections.insert(id, Connection::new(stream));
        self.check_wall_clock();
        self.input(Input::Connected(id, peer));
        Ok(())
    }

    pub(super) fn read_connection(&mut self, id: ConnId) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = connection.read(&mut buffer);
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
            Ok(0) => Err(ErrorKind::WouldBlock.into()),
            read => read.map(|_| ()),
        }
    }

    pub(super) fn write(&mut self, token: Token) {
        if token.0 >= FIRST_CONNECTION {
            self.flush(ConnId((token.0 - FIRST_CONNECTION) as u64));
            self.input(Input::Timeout);
        }
    }

    /// Writes what the kernel takes.
    pub(super) fn flush(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.flush() {
            Ok(Flush::Idle | Flush::Blocked) => {}
            Ok(Flush::Flushed) => self.pending.push_back(Pending::Flushed(id)),
            Err(_) => {
                self.close(id);
                self.pending.push_back(Pending::Disconnected(id));
            }
        }
    }

    pub(super) fn close(&mut self, id: ConnId) {
        // Dropping the stream closes it and takes it out of the poll.
        self.connections.remove(&id);
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

fn token_of(id: ConnId) -> Token {
    Token(FIRST_CONNECTION + id.0 as usize)
}
