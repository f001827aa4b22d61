//! The network side of one media server: looks up its name and connects to it as [`PublishCommand`]s say, and
//! reports [`PublishEvent`]s.

pub mod resolver;
pub mod sessions;
pub(crate) mod targets;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use mio::{Registry, Token, Waker};

use self::resolver::Resolver;
use crate::driver::net::tcp::TcpConnection;
use crate::publish::{PublishCause, PublishCommand, PublishEvent};

/// The lookup and the connection of one media server.
pub struct TargetClient {
    connection_token: Token,
    connection: Option<TargetConnection>,
    resolver: Resolver,
}

struct TargetConnection {
    tcp: TcpConnection,
    progress: Progress,
}

#[derive(PartialEq, Eq)]
enum Progress {
    Connecting,
    Connected,
    /// The peer sends no more.
    Ended,
}

impl TargetClient {
    /// A client without a connection. The connection is registered with this token, and a lookup that has
    /// returned wakes the poll with this waker.
    pub fn new(connection_token: Token, waker: Arc<Waker>) -> TargetClient {
        TargetClient { connection_token, connection: None, resolver: Resolver::new(waker) }
    }

    /// Carries out a command of the core.
    pub fn execute(
        &mut self,
        command: PublishCommand,
        registry: &Registry,
    ) -> Option<PublishEvent<'static>> {
        match command {
            PublishCommand::Resolve(name) => {
                self.resolver.start(name).err().map(PublishEvent::Failed)
            }
            PublishCommand::Connect(peer) => self.connect(peer, registry).err().map(failed),
            PublishCommand::ConnectElsewhere(peer) => {
                self.connect_elsewhere(peer, registry).err().map(failed)
            }
            PublishCommand::Send(bytes) => {
                self.connection.as_mut()?.tcp.push(bytes);
                self.flush()
            }
            PublishCommand::Close => {
                self.connection = None;
                self.resolver.give_up();
                None
            }
        }
    }

    /// Handles a writable connection: reports whether it is established or broken, and writes on.
    pub fn write(&mut self) -> Option<PublishEvent<'static>> {
        let connection = self.connection.as_mut()?;
        if connection.progress != Progress::Connecting {
            return self.flush();
        }
        match connection.tcp.is_established() {
            // An event of an earlier connection with the same token.
            Ok(false) => None,
            Ok(true) => {
                connection.progress = Progress::Connected;
                // Nothing was sent before, so this is the first flush that can fail.
                self.flush().or(Some(PublishEvent::Connected))
            }
            Err(error) => {
                self.connection = None;
                Some(failed(connect_cause(&error)))
            }
        }
    }

    /// Reads on after an event. `None` if there is nothing more for now.
    pub fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Option<PublishEvent<'a>> {
        let is_connected = |it: &&mut TargetConnection| it.progress == Progress::Connected;
        let connection = self.connection.as_mut().filter(is_connected)?;
        loop {
            match connection.tcp.read(buffer) {
                Ok(0) => {
                    connection.progress = Progress::Ended;
                    return Some(PublishEvent::Ended);
                }
                Ok(bytes) => return Some(PublishEvent::Received(&buffer[..bytes])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => return Some(self.fail(&error)),
            }
        }
    }

    /// Takes the result of the lookup. `None` while it is under way.
    pub fn take_lookup(&mut self) -> Option<PublishEvent<'static>> {
        Some(match self.resolver.take()? {
            Ok(addresses) => PublishEvent::Resolved(addresses),
            Err(failure) => PublishEvent::Failed(failure),
        })
    }

    /// Whether a connection is open or being opened.
    #[cfg(feature = "testing")]
    pub fn has_connection(&self) -> bool {
        self.connection.is_some()
    }

    fn connect(&mut self, peer: SocketAddr, registry: &Registry) -> Result<(), PublishCause> {
        self.connection = None;
        let mut tcp = loop {
            match TcpConnection::connect(peer) {
                Ok(tcp) => break tcp,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(connect_cause(&error)),
            }
        };
        tcp.register(registry, self.connection_token).map_err(|error| connect_cause(&error))?;
        self.connection = Some(TargetConnection { tcp, progress: Progress::Connecting });
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
            Err(error) => Err(connect_cause(&error)),
        }
    }

    /// Writes as much as the kernel takes, once connected.
    fn flush(&mut self) -> Option<PublishEvent<'static>> {
        let is_connected = |it: &&mut TargetConnection| it.progress != Progress::Connecting;
        let connection = self.connection.as_mut().filter(is_connected)?;
        let error = connection.tcp.flush().err()?;
        Some(self.fail(&error))
    }

    /// Closes an established connection that is broken.
    fn fail(&mut self, error: &io::Error) -> PublishEvent<'static> {
        self.connection = None;
        failed(match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                PublishCause::ConnectionReset
            }
            ErrorKind::TimedOut => PublishCause::ConnectionSilent,
            _ => PublishCause::ConnectionBroken(error.into()),
        })
    }
}

fn failed(cause: PublishCause) -> PublishEvent<'static> {
    PublishEvent::Failed(cause.into())
}

/// Why a connection could not be established.
fn connect_cause(error: &io::Error) -> PublishCause {
    match error.kind() {
        ErrorKind::ConnectionRefused => PublishCause::ConnectionRefused,
        ErrorKind::TimedOut => PublishCause::ConnectionTimedOut,
        _ => PublishCause::Unreachable(error.into()),
    }
}

/// Whether an address belongs to this device, on whichever interface: the kernel sends to such an address from
/// the same address. Connecting a UDP socket finds out without sending a datagram.
///
/// # Errors
/// There is no route to the address, or no socket.
fn is_of_this_device(peer: SocketAddr) -> io::Result<bool> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip().to_canonical() == peer.ip().to_canonical())
}
