//! One TCP connection, that of a client or one to a media server: what is written waits here until the
//! kernel takes it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::set_socket_send_buffer_size;

pub struct TcpLink {
    stream: TcpStream,
    queue: VecDeque<Bytes>,
    /// How much of the queue's first entry is sent already.
    sent: usize,
    finish: bool,
}

/// What a flush has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Flush {
    /// There was nothing to write.
    Idle,
    /// The kernel has taken everything.
    Flushed,
    /// The rest waits until the socket is writable.
    Blocked,
}

impl TcpLink {
    pub fn new(stream: TcpStream) -> TcpLink {
        TcpLink { stream, queue: VecDeque::new(), sent: 0, finish: false }
    }

    /// Begins to make a connection. The first word that it is writable may mean that it
    /// [is made](TcpLink::is_made).
    pub fn connect(peer: SocketAddr) -> io::Result<TcpLink> {
        let stream = TcpStream::connect(peer)?;
        stream.set_nodelay(true)?;
        Ok(TcpLink::new(stream))
    }

    /// Sets an accepted connection up: what is written leaves at once, and the kernel keeps about this
    /// much of what a slow reader has not taken.
    pub fn prepare(&self, send_buffer_bytes: usize) -> io::Result<()> {
        // What waits in the kernel is no longer the newest picture. Its usual size is only larger.
        let _ = set_socket_send_buffer_size(&self.stream, send_buffer_bytes);
        self.stream.set_nodelay(true)
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Whether the connection is made that was begun; not yet, if it is still under way.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn is_made(&self) -> io::Result<bool> {
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

    /// Puts bytes at the end of the queue.
    pub fn push(&mut self, bytes: Bytes) {
        self.queue.push_back(bytes);
    }

    /// Sends a FIN after what is in the queue.
    pub fn finish(&mut self) {
        self.finish = true;
    }

    /// Writes what the kernel takes.
    ///
    /// # Errors
    /// The connection is gone.
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
            // Fails only when the peer is gone, which a read will tell.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        Ok(if had_queue { Flush::Flushed } else { Flush::Idle })
    }
}
