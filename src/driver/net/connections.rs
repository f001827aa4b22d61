//! The TCP connections of clients.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Registry, Token};

use super::tcp::{Flush, TcpConnection};
use crate::driver::errors::is_transient;
use crate::driver::tokens::Tokens;
use crate::server::{ConnId, Input};

/// The kernel's send buffer for each client, about. On a local network this is more than the data in
/// flight; a slow reader of motion JPEG lags by no more than this.
const SEND_BUFFER_BYTES: usize = 128 * 1_024;

/// All open connections, by id and by token.
pub struct Connections {
    connections: BTreeMap<ConnId, ClientConnection>,
    by_token: BTreeMap<Token, ConnId>,
    tokens: Tokens,
    next_id: u64,
}

struct ClientConnection {
    token: Token,
    tcp: TcpConnection,
    /// The core wants no bytes for now.
    is_paused: bool,
    /// The kernel has taken everything. The connection reports it in its next turn.
    is_flushed: bool,
}

impl Connections {
    pub fn new() -> Connections {
        Connections {
            connections: BTreeMap::new(),
            by_token: BTreeMap::new(),
            tokens: Tokens::of_connections(),
            next_id: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Adds an accepted connection. `None` if there is no token left.
    pub fn add(&mut self, stream: TcpStream) -> Option<ConnId> {
        let token = self.tokens.take()?;
        let id = ConnId(self.next_id);
        self.next_id += 1;
        let tcp = TcpConnection::new(stream);
        let connection = ClientConnection { token, tcp, is_paused: false, is_flushed: false };
        self.connections.insert(id, connection);
        self.by_token.insert(token, id);
        Some(id)
    }

    /// Sets the socket's options and registers it with the poll. A connection that the core has closed is
    /// ignored.
    pub fn register(&mut self, id: ConnId, registry: &Registry) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        connection.tcp.set_options(SEND_BUFFER_BYTES)?;
        connection.tcp.register(registry, connection.token)
    }

    pub fn id(&self, token: Token) -> Option<ConnId> {
        self.by_token.get(&token).copied()
    }

    pub fn is_flushed(&self, id: ConnId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.is_flushed)
    }

    pub fn pause(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_paused = true;
        }
    }

    /// Returns the token of the connection, which may have bytes to read that no event reports.
    pub fn resume(&mut self, id: ConnId) -> Option<Token> {
        let connection = self.connections.get_mut(&id)?;
        connection.is_paused = false;
        Some(connection.token)
    }

    /// Closes a connection and returns the token that it had.
    pub fn close(&mut self, id: ConnId) -> Option<Token> {
        // Dropping the stream closes it, which takes it out of the poll.
        let token = self.connections.remove(&id)?.token;
        self.by_token.remove(&token);
        self.tokens.put_back(token);
        Some(token)
    }

    /// The next fact about a connection, one for each turn. After [`Input::Disconnected`] the caller
    /// [closes](Connections::close) it.
    ///
    /// # Errors
    /// `WouldBlock`: there is nothing to read, or the connection is paused. Any other error leaves the
    /// connection open; the read may succeed later.
    pub fn next_fact<'a>(&mut self, id: ConnId, buffer: &'a mut [u8]) -> io::Result<Input<'a>> {
        let connection = self.connections.get_mut(&id).ok_or(ErrorKind::WouldBlock)?;
        if std::mem::take(&mut connection.is_flushed) {
            return Ok(Input::Flushed(id));
        }
        if connection.is_paused {
            return Err(ErrorKind::WouldBlock.into());
        }
        match connection.tcp.read(buffer) {
            Ok(0) => Ok(Input::HalfClosed(id)),
            Ok(bytes) => Ok(Input::Received(id, &buffer[..bytes])),
            Err(error)
                if is_transient(&error)
                    && !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(Input::Disconnected(id))
            }
            Err(error) => Err(error),
        }
    }

    /// Queues bytes to send. [`flush`](Connections::flush) writes them.
    pub fn push(&mut self, id: ConnId, bytes: Bytes) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.tcp.push(bytes);
        }
    }

    /// Queues a FIN.
    pub fn finish(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.tcp.finish();
        }
    }

    /// Writes as much as the kernel takes. Returns the connection's token if the kernel has taken
    /// everything, which [`next_fact`](Connections::next_fact) reports.
    ///
    /// # Errors
    /// The connection is broken, and is for the caller to [close](Connections::close).
    pub fn flush(&mut self, id: ConnId) -> io::Result<Option<Token>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(None) };
        let is_flushed = connection.tcp.flush()? == Flush::Flushed;
        connection.is_flushed |= is_flushed;
        Ok(is_flushed.then_some(connection.token))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream as Client};

    use rustix::net::sockopt::set_socket_linger;

    use super::*;

    fn connected() -> (Connections, ConnId, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut connections = Connections::new();
        let id = connections.add(TcpStream::from_std(stream)).unwrap();
        (connections, id, client)
    }

    /// Waits for the next fact, and displays it.
    fn next(connections: &mut Connections, id: ConnId) -> String {
        let mut buffer = [0; 64];
        loop {
            match connections.next_fact(id, &mut buffer) {
                Ok(fact) => return format!("{fact:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_connection_reports_one_fact_a_turn_and_a_flush_before_bytes() {
        let (mut connections, id, mut client) = connected();
        client.write_all(b"ab").unwrap();
        assert_eq!(next(&mut connections, id), "Received(ConnId(0), [97, 98])");
        assert_eq!(connections.flush(id).unwrap(), None, "nothing was queued");
        connections.push(id, Bytes::from_static(b"answer"));
        connections.finish(id);
        let token = connections.flush(id).unwrap();
        assert_eq!(token.and_then(|token| connections.id(token)), Some(id));
        client.write_all(b"c").unwrap();
        assert_eq!(next(&mut connections, id), "Flushed(ConnId(0))");
        assert_eq!(next(&mut connections, id), "Received(ConnId(0), [99])");
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
        drop(client);
        assert_eq!(next(&mut connections, id), "HalfClosed(ConnId(0))");
        assert_eq!(connections.close(id), token);
        assert!(connections.is_empty() && connections.close(id).is_none());
    }

    #[test]
    fn a_paused_connection_is_not_read_and_a_reset_one_is_gone() {
        let (mut connections, id, mut client) = connected();
        connections.pause(id);
        client.write_all(b"a").unwrap();
        for _ in 0..100 {
            let error = connections.next_fact(id, &mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
        let token = connections.resume(id);
        assert!(token.is_some());
        assert_eq!(next(&mut connections, id), "Received(ConnId(0), [97])");
        set_socket_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(next(&mut connections, id), "Disconnected(ConnId(0))");
        assert_eq!(connections.close(id), token);
        assert_eq!((connections.resume(id), connections.flush(id).unwrap()), (None, None));
    }
}
