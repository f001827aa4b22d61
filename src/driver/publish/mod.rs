//! The one connection to a media server, and the lookup of its name: made, used and given up here as
//! [`Command`] says, and what happens to them is told.

pub mod resolver;
pub mod sessions;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use mio::{Registry, Token, Waker};

use self::resolver::Resolver;
use super::tcp::Connection;
use crate::publish::{Cause, Command, Event, Failure};

/// What has happened, as [`Event`] tells it to the core.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    Resolved(Vec<IpAddr>),
    Connected,
    /// So many bytes are in the buffer.
    Bytes(usize),
    Ended,
    Failed(Failure),
}

impl Report {
    pub fn event<'a>(&'a self, buffer: &'a [u8]) -> Event<'a> {
        match self {
            Report::Resolved(addresses) => Event::Resolved(addresses),
            Report::Connected => Event::Connected,
            Report::Bytes(bytes) => Event::Received(&buffer[..*bytes]),
            Report::Ended => Event::Ended,
            Report::Failed(failure) => Event::Failed(failure),
        }
    }
}

/// What is open for one media server.
pub struct TargetIo {
    connection_token: Token,
    link: Option<Link>,
    resolver: Resolver,
}

/// A connection, and how far it has come.
struct Link {
    connection: Connection,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Connecting,
    Connected,
    /// The peer sends no more.
    Ended,
}

impl TargetIo {
    /// Nothing is open. The connection is registered with this token, and a lookup that has returned wakes
    /// the poll with this waker.
    pub fn new(connection_token: Token, waker: Arc<Waker>) -> TargetIo {
        TargetIo { connection_token, link: None, resolver: Resolver::new(waker) }
    }

    /// Does what the core wants.
    pub fn execute(&mut self, command: Command, registry: &Registry) -> Option<Report> {
        match command {
            Command::Resolve(name) => self.resolver.start(name).err().map(Report::Failed),
            Command::Connect(peer) => self.connect(peer, registry).err().map(failed),
            Command::ConnectElsewhere(peer) => {
                self.connect_elsewhere(peer, registry).err().map(failed)
            }
            Command::Send(bytes) => {
                self.link.as_mut()?.connection.push(bytes);
                self.flush()
            }
            Command::Close => {
                self.link = None;
                self.resolver.give_up();
                None
            }
        }
    }

    /// After word that the connection can be written: whether it is made, or broken.
    pub fn write(&mut self) -> Option<Report> {
        let link = self.link.as_mut()?;
        if link.state != State::Connecting {
            return self.flush();
        }
        match link.connection.is_made() {
            // Word of a connection that was given up, which had the same token.
            Ok(false) => None,
            Ok(true) => {
                link.state = State::Connected;
                // Nothing is sent before, so that it fails here at the earliest.
                self.flush().or(Some(Report::Connected))
            }
            Err(error) => {
                self.link = None;
                Some(failed(why_not_made(&error)))
            }
        }
    }

    /// After word that the connection can be read: what there is next, until there is nothing more for now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<Report> {
        let link = self.link.as_mut().filter(|link| link.state == State::Connected)?;
        loop {
            match link.connection.read(buffer) {
                Ok(0) => {
                    link.state = State::Ended;
                    return Some(Report::Ended);
                }
                Ok(bytes) => return Some(Report::Bytes(bytes)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => return Some(self.fail(&error)),
            }
        }
    }

    /// After the waker: the result of the lookup, once it has returned.
    pub fn take_lookup(&mut self) -> Option<Report> {
        Some(match self.resolver.take()? {
            Ok(addresses) => Report::Resolved(addresses),
            Err(failure) => Report::Failed(failure),
        })
    }

    /// Whether there is a connection, or one is being made.
    pub fn has_connection(&self) -> bool {
        self.link.is_some()
    }

    fn connect(&mut self, peer: SocketAddr, registry: &Registry) -> Result<(), Cause> {
        self.link = None;
        let mut connection = loop {
            match Connection::connect(peer) {
                Ok(connection) => break connection,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(why_not_made(&error)),
            }
        };
        let registered = connection.register(registry, self.connection_token);
        registered.map_err(|error| why_not_made(&error))?;
        self.link = Some(Link { connection, state: State::Connecting });
        Ok(())
    }

    fn connect_elsewhere(&mut self, peer: SocketAddr, registry: &Registry) -> Result<(), Cause> {
        match is_of_this_device(peer) {
            Ok(false) => self.connect(peer, registry),
            Ok(true) => Err(Cause::LeadsToThisDevice),
            Err(error) => Err(why_not_made(&error)),
        }
    }

    /// Writes what the kernel takes, once the connection is made.
    fn flush(&mut self) -> Option<Report> {
        let link = self.link.as_mut().filter(|link| link.state != State::Connecting)?;
        let error = link.connection.flush().err()?;
        Some(self.fail(&error))
    }

    /// Lets go of a connection that was made and is broken.
    fn fail(&mut self, error: &io::Error) -> Report {
        self.link = None;
        failed(match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                Cause::ConnectionReset
            }
            ErrorKind::TimedOut => Cause::ConnectionSilent,
            _ => Cause::ConnectionBroken(error.into()),
        })
    }
}

fn failed(cause: Cause) -> Report {
    Report::Failed(cause.into())
}

fn why_not_made(error: &io::Error) -> Cause {
    match error.kind() {
        ErrorKind::ConnectionRefused => Cause::ConnectionRefused,
        ErrorKind::TimedOut => Cause::ConnectionTimedOut,
        _ => Cause::Unreachable(error.into()),
    }
}

/// Whether an address is one of this device, whichever it is bound to: what is sent to such an address
/// comes from the same one. No datagram is sent to find out.
///
/// # Errors
/// There is no way to the address, or no socket.
fn is_of_this_device(peer: SocketAddr) -> io::Result<bool> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip().to_canonical() == peer.ip().to_canonical())
}
