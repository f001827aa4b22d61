//! A TCP connection of a client or to a media server, with a queue of what the kernel has not taken yet.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::set_socket_send_buffer_size;

pub struct TcpConnection {
    stream: TcpStream,
    queue: VecDeque<Bytes>,
    /// How many bytes of the queue's first entry are sent.
    sent: usize,
    /// Send a FIN after the queue.
    finish: bool,
}

/// The result of [`TcpConnection::flush`].
#[derive(Debug, PartialEq, Eq)]
pub enum Flush {
    /// There was nothing to write.
    Idle,
    /// The kernel has taken everything.
    Flushed,
    /// The rest waits until the socket is writable.
    Blocked,
}

impl TcpConnection {
    pub fn new(stream: TcpStream) -> TcpConnection {
        TcpConnection { stream, queue: VecDeque::new(), sent: 0, finish: false }
    }

    /// Starts to connect. When the socket becomes writable, the connection may be
    /// [established](TcpConnection::is_established).
    pub fn connect(peer: SocketAddr) -> io::Result<TcpConnection> {
        let stream = TcpStream::connect(peer)?;
        stream.set_nodelay(true)?;
        Ok(TcpConnection::new(stream))
    }

    /// Sets the options of an accepted connection: no Nagle delay, and a send buffer of about this size
    /// for a slow reader.
    pub fn set_options(&self, send_buffer_bytes: usize) -> io::Result<()> {
        // A picture that waits in the kernel grows old. The default buffer is only larger, so failure
        // is harmless.
        let _ = set_socket_send_buffer_size(&self.stream, send_buffer_bytes);
        self.stream.set_nodelay(true)
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Whether the connection is established; false while the handshake is under way.
    ///
    /// # Errors
    /// The connection failed.
    pub fn is_established(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    /// Appends bytes to the queue.
    pub fn push(&mut self, bytes: Bytes) {
        self.queue.push_back(bytes);
    }

    /// Sends a FIN after everything in the queue.
    pub fn finish(&mut self) {
        self.finish = true;
    }

    /// Writes as much of the queue as the kernel takes.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self) -> io::Result<Flush> {
        let had_queue = !self.queue.is_empty();
        while let Some(first) = self.queue.front() {
            match self.stream.write(&first[self.sent..]) {
                Ok(bytes) => {
                    self.sent += bytes;
                    if self.sent == first.len() {
                        self.sent = 0;
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Flush::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if std::mem::take(&mut self.finish) {
            // Fails only if the peer is gone, which the next read reports.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        Ok(if had_queue { Flush::Flushed } else { Flush::Idle })
    }
}
