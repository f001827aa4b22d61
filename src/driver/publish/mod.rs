//! The one connection to a media server, and the lookup of its name: made, used and given up here as
//! [`Command`] says, and what happens to them is told.

pub mod resolver;
pub mod sessions;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use mio::{Registry, Token};
use rustix::process::Pid;

use self::resolver::Resolver;
use super::tcp::Connection;
use crate::publish::{Command, Event};

/// What has happened, as [`Event`] tells it to the core.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    Resolved(Vec<IpAddr>),
    Connected,
    /// So many bytes are in the buffer.
    Bytes(usize),
    Ended,
    Failed(String),
}

impl Report {
    pub fn event<'a>(&'a self, buffer: &'a [u8]) -> Event<'a> {
        match self {
            Report::Resolved(addresses) => Event::Resolved(addresses),
            Report::Connected => Event::Connected,
            Report::Bytes(bytes) => Event::Received(&buffer[..*bytes]),
            Report::Ended => Event::Ended,
            Report::Failed(reason) => Event::Failed(reason),
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
    peer: SocketAddr,
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
    /// Nothing is open. The connection is announced to the poll with the one token, and what a lookup has
    /// found with the other. `program` is this program, which is run for a lookup.
    pub fn new(program: &Path, connection_token: Token, resolver_token: Token) -> TargetIo {
        let resolver = Resolver::new(program, resolver_token);
        TargetIo { connection_token, link: None, resolver }
    }

    /// Does what the core wants.
    pub fn execute(&mut self, command: Command, registry: &Registry) -> Option<Report> {
        match command {
            Command::Resolve(name) => self.resolver.start(name, registry).err().map(Report::Failed),
            Command::Connect(peer) => self.connect(peer, registry).err().map(Report::Failed),
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
                let reason = why_not_made(link.peer, &error);
                self.link = None;
                Some(Report::Failed(reason))
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

    /// After word of the lookup: what it has found, once it has.
    pub fn read_lookup(&mut self) -> Option<Report> {
        Some(match self.resolver.read()? {
            Ok(addresses) => Report::Resolved(addresses),
            Err(reason) => Report::Failed(reason),
        })
    }

    /// Those that were not reaped yet.
    pub fn children(&self) -> impl Iterator<Item = Pid> {
        self.resolver.children()
    }

    /// A child of this process was reaped.
    pub fn note_reaped(&mut self, pid: Pid) {
        self.resolver.note_reaped(pid);
    }

    /// Whether there is a connection, or one is being made.
    pub fn has_connection(&self) -> bool {
        self.link.is_some()
    }

    /// An error is a clause, as [`Event::Failed`] has it.
    fn connect(&mut self, peer: SocketAddr, registry: &Registry) -> Result<(), String> {
        self.link = None;
        let mut connection = loop {
            match Connection::connect(peer) {
                Ok(connection) => break connection,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(why_not_made(peer, &error)),
            }
        };
        let registered = connection.register(registry, self.connection_token);
        registered.map_err(|error| why_not_made(peer, &error))?;
        self.link = Some(Link { peer, connection, state: State::Connecting });
        Ok(())
    }

    /// Writes what the kernel takes, once the connection is made.
    fn flush(&mut self) -> Option<Report> {
        let link = self.link.as_mut().filter(|link| link.state != State::Connecting)?;
        let error = link.connection.flush().err()?;
        Some(self.fail(&error))
    }

    /// Lets go of a connection that was made and is broken.
    fn fail(&mut self, error: &io::Error) -> Report {
        let link = self.link.take().expect("it has failed just now");
        let peer = link.peer;
        Report::Failed(match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                format!("{peer} has reset the connection")
            }
            ErrorKind::TimedOut => format!("{peer} does not answer any more"),
            _ => format!("the connection to {peer} is broken: {}", plain(error)),
        })
    }
}

fn why_not_made(peer: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => format!("{peer} refuses the connection"),
        ErrorKind::TimedOut => format!("{peer} does not answer"),
        _ => format!("{peer} cannot be reached: {}", plain(error)),
    }
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::HostUnreachable => "no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "no route to its network".to_owned(),
        ErrorKind::PermissionDenied => "this device does not allow it".to_owned(),
        _ => error.to_string(),
    }
}
