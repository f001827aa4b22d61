//! The one connection to a media server, and the lookup of its name: made, used and given up here as
//! [`PublishCommand`] says, and what happens to them is told.

pub mod resolver;
pub mod sessions;
pub mod targets;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use mio::{Registry, Token, Waker};

use self::resolver::Resolver;
use crate::driver::net::tcp::TcpLink;
use crate::publish::{PublishCause, PublishCommand, PublishEvent, PublishFailure};

/// What has happened, as [`PublishEvent`] tells it to the core.
#[derive(Debug, PartialEq, Eq)]
pub enum PublishReport {
    Resolved(Vec<IpAddr>),
    Connected,
    /// So many bytes are in the buffer.
    Bytes(usize),
    Ended,
    Failed(PublishFailure),
}

impl PublishReport {
    pub fn event<'a>(&'a self, buffer: &'a [u8]) -> PublishEvent<'a> {
        match self {
            PublishReport::Resolved(addresses) => PublishEvent::Resolved(addresses),
            PublishReport::Connected => PublishEvent::Connected,
            PublishReport::Bytes(bytes) => PublishEvent::Received(&buffer[..*bytes]),
            PublishReport::Ended => PublishEvent::Ended,
            PublishReport::Failed(failure) => PublishEvent::Failed(failure),
        }
    }
}

/// What is open for one media server.
pub struct TargetIo {
    connection_token: Token,
    link: Option<PublishLink>,
    resolver: Resolver,
}

/// A connection, and how far it has come.
struct PublishLink {
    connection: TcpLink,
    state: LinkState,
}

#[derive(PartialEq, Eq)]
enum LinkState {
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
    pub fn execute(
        &mut self,
        command: PublishCommand,
        registry: &Registry,
    ) -> Option<PublishReport> {
        match command {
            PublishCommand::Resolve(name) => {
                self.resolver.start(name).err().map(PublishReport::Failed)
            }
            PublishCommand::Connect(peer) => self.connect(peer, registry).err().map(failed),
            PublishCommand::ConnectElsewhere(peer) => {
                self.connect_elsewhere(peer, registry).err().map(failed)
            }
            PublishCommand::Send(bytes) => {
                self.link.as_mut()?.connection.push(bytes);
                self.flush()
            }
            PublishCommand::Close => {
                self.link = None;
                self.resolver.give_up();
                None
            }
        }
    }

    /// After word that the connection can be written: whether it is made, or broken.
    pub fn write(&mut self) -> Option<PublishReport> {
        let link = self.link.as_mut()?;
        if link.state != LinkState::Connecting {
            return self.flush();
        }
        match link.connection.is_made() {
            // Word of a connection that was given up, which had the same token.
            Ok(false) => None,
            Ok(true) => {
                link.state = LinkState::Connected;
                // Nothing is sent before, so that it fails here at the earliest.
                self.flush().or(Some(PublishReport::Connected))
            }
            Err(error) => {
                self.link = None;
                Some(failed(why_not_made(&error)))
            }
        }
    }

    /// After word that the connection can be read: what there is next, until there is nothing more for now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<PublishReport> {
        let link = self.link.as_mut().filter(|link| link.state == LinkState::Connected)?;
        loop {
            match link.connection.read(buffer) {
                Ok(0) => {
                    link.state = LinkState::Ended;
                    return Some(PublishReport::Ended);
                }
                Ok(bytes) => return Some(PublishReport::Bytes(bytes)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => return Some(self.fail(&error)),
            }
        }
    }

    /// After the waker: the result of the lookup, once it has returned.
    pub fn take_lookup(&mut self) -> Option<PublishReport> {
        Some(match self.resolver.take()? {
            Ok(addresses) => PublishReport::Resolved(addresses),
            Err(failure) => PublishReport::Failed(failure),
        })
    }

    /// Whether there is a connection, or one is being made.
    pub fn has_connection(&self) -> bool {
        self.link.is_some()
    }

    fn connect(&mut self, peer: SocketAddr, registry: &Registry) -> Result<(), PublishCause> {
        self.link = None;
        let mut connection = loop {
            match TcpLink::connect(peer) {
                Ok(connection) => break connection,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(why_not_made(&error)),
            }
        };
        let registered = connection.register(registry, self.connection_token);
        registered.map_err(|error| why_not_made(&error))?;
        self.link = Some(PublishLink { connection, state: LinkState::Connecting });
        Ok(())
    }

    fn connect_elsewhere(
        &mut self,
        peer: SocketAddr,
        registry: &Registry,
    ) -> Result<(), PublishCause> {
        match is_of_this_device(peer) {
            Ok(false) => self.connect(peer, registry),
            Ok(true) => Err(PublishCause::LeadsToThisDevice),
            Err(error) => Err(why_not_made(&error)),
        }
    }

    /// Writes what the kernel takes, once the connection is made.
    fn flush(&mut self) -> Option<PublishReport> {
        let link = self.link.as_mut().filter(|link| link.state != LinkState::Connecting)?;
        let error = link.connection.flush().err()?;
        Some(self.fail(&error))
    }

    /// Lets go of a connection that was made and is broken.
    fn fail(&mut self, error: &io::Error) -> PublishReport {
        self.link = None;
        failed(match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                PublishCause::ConnectionReset
            }
            ErrorKind::TimedOut => PublishCause::ConnectionSilent,
            _ => PublishCause::ConnectionBroken(error.into()),
        })
    }
}

fn failed(cause: PublishCause) -> PublishReport {
    PublishReport::Failed(cause.into())
}

fn why_not_made(error: &io::Error) -> PublishCause {
    match error.kind() {
        ErrorKind::ConnectionRefused => PublishCause::ConnectionRefused,
        ErrorKind::TimedOut => PublishCause::ConnectionTimedOut,
        _ => PublishCause::Unreachable(error.into()),
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
