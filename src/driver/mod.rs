//! The thin driver: a mio loop with the only sockets, the only clock and the only blocking call.
//!
//! It turns readiness into [`Input`]s and [`Output`]s into system calls, and decides nothing. After
//! each input it drains the core at once, so that an answer to a datagram leaves before the next
//! one is read: a DTLS flight that waited for the loop would meet a browser's 50 ms timer.

pub mod children;
mod descriptors;
pub mod encode;
mod errors;
pub mod net;
pub mod panics;
pub mod publish;
mod ready;
mod service;
mod signals;
pub mod source;
#[cfg(test)]
pub mod test_folder;
mod tokens;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;
use mio::{Events, Poll, Token};
use signal_hook::consts::SIGCHLD;
use signal_hook_mio::v1_0::Signals;

use self::encode::{ContainedEncoder, EncodePictures};
pub use self::errors::RunError;
use self::errors::{Warnings, is_of_one, is_of_the_call};
use self::net::addresses::AddressWatch;
use self::net::connections::Connections;
use self::net::endpoints::Endpoint;
pub use self::net::endpoints::{BindError, Endpoints};
use self::net::{endpoints, udp};
use self::publish::sessions::Sessions;
use self::publish::targets::TargetLinks;
use self::ready::{ACCEPTS, CONNECTIONS, DATAGRAMS, Ready, Share};
use self::service::Service;
pub use self::source::SourceOrigin;
use self::source::link::SourceLink;
use self::tokens::{Owner, Tokens, listener_of, owner};
use crate::media::{Codec, SourcePicture};
use crate::publish::END_LIMIT;
use crate::publish::TargetId;
use crate::server::{ConnId, Input, Output, Server};
use crate::source::SourceCommand;
use crate::webrtc::Transmit;

/// Larger than any datagram that a browser sends; what is longer is cut and then fails its check.
const DATAGRAM_BYTES: usize = 2_048;
const READ_BYTES: usize = 16 * 1_024;
/// Reads of one descriptor that fail in a turn, before it has to wait: a signal interrupts a read now
/// and then.
const FAILURES_A_TURN: usize = 8;
/// After all viewers are closed: how long answers that are under way may still take.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(100);
/// How long until the kernel is asked again for what it could not do.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// What a drain of the core brought about, to be told to it afterwards.
enum Pending {
    Disconnected(ConnId),
    TransmitFailed(SocketAddr),
    Capture(Vec<Codec>),
    /// The last is whether its outcome is reported.
    Encode(SourcePicture, Instant, Vec<Codec>, bool),
    Snapshot(Option<usize>),
    Source(SourceCommand),
    Publish(TargetId, crate::publish::PublishCommand),
}

pub struct Driver<S> {
    poll: Poll,
    signals: Signals,
    watch: Option<AddressWatch>,
    /// The addresses that were asked for.
    bind: Vec<IpAddr>,
    port: u16,
    /// The host's names, and when to read them again.
    names: Vec<String>,
    names_due_at: Instant,
    /// By the tokens of their listeners.
    endpoints: BTreeMap<Token, Endpoint>,
    endpoint_tokens: Tokens,
    connections: Connections,
    ready: Ready,
    /// Sockets that the kernel could not serve, and when to read them again.
    troubled: BTreeSet<Token>,
    retry_at: Option<Instant>,
    /// Waits for events that failed one after the other.
    failed_waits: u32,
    warnings: Warnings,
    service: Service,
    server: Server,
    encoder: ContainedEncoder<S>,
    targets: TargetLinks,
    sessions: Sessions,
    /// The stream from outside.
    source: Option<SourceLink>,
    /// Collected until there are enough of them, or nothing else is to be done.
    transmits: Vec<Transmit>,
    pending: VecDeque<Pending>,
    deadline: Option<Instant>,
    /// The wall clock and the moment it was read, as the core knows them.
    wall_clock: (SystemTime, Instant),
    buffer: Vec<u8>,
}

impl<S: EncodePictures> Driver<S> {
    pub fn new(
        endpoints: Endpoints,
        make_server: impl FnOnce(Vec<SocketAddr>, Instant, SystemTime) -> Server,
        source: S,
    ) -> io::Result<Driver<S>> {
        descriptors::raise_limit();
        let poll = Poll::new()?;
        let signals = signals::listen(poll.registry())?;
        let targets = TargetLinks::new(poll.registry())?;
        let (now, wall) = (Instant::now(), SystemTime::now());
        let addresses = endpoints.addresses();
        let mut driver = Driver {
            poll,
            signals,
            watch: None,
            bind: endpoints.bind,
            port: addresses.first().map_or(0, SocketAddr::port),
            names: Vec::new(),
            names_due_at: now,
            endpoints: BTreeMap::new(),
            endpoint_tokens: Tokens::of_endpoints(),
            connections: Connections::new(),
            ready: Ready::default(),
            troubled: BTreeSet::new(),
            retry_at: None,
            failed_waits: 0,
            warnings: Warnings::default(),
            service: Service::default(),
            server: make_server(addresses, now, wall),
            encoder: ContainedEncoder::new(source),
            targets,
            sessions: Sessions::default(),
            source: None,
            transmits: Vec::with_capacity(udp::BATCH),
            pending: VecDeque::new(),
            deadline: None,
            wall_clock: (wall, now),
            buffer: vec![0; READ_BYTES],
        };
        for endpoint in endpoints.endpoints {
            driver.add_endpoint(endpoint)?;
        }
        if endpoints::follows_host(&driver.bind) {
            driver.watch_addresses();
        }
        Ok(driver)
    }

    /// Takes the stream from here that the core asks for.
    pub fn set_origin(&mut self, origin: SourceOrigin) {
        self.source = Some(SourceLink::new(origin));
    }

    /// Keeps the sessions at media servers here.
    pub fn set_sessions(&mut self, sessions: Sessions) {
        self.sessions = sessions;
    }

    /// Serves until a signal asks to end.
    ///
    /// # Errors
    /// There was another reason to end.
    pub fn run(&mut self) -> Result<(), RunError> {
        let mut events = Events::with_capacity(256);
        self.follow_names();
        // What the core wants from the start.
        self.input(Input::Timeout);
        self.service.tell_ready();
        while !self.stop_requested() {
            self.service.tell_status(self.server.watching(), self.server.published());
            self.turn(&mut events)?;
        }
        self.shut_down(&mut events)
    }

    /// Waits for something to happen, and handles what has, for a few milliseconds at most: then it is
    /// the turn of what has come in meanwhile, datagrams first.
    fn turn(&mut self, events: &mut Events) -> Result<(), RunError> {
        self.wait(events).map_err(RunError::Wait)?;
        for event in &*events {
            self.handle_event(event);
        }
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_at = None;
            std::mem::take(&mut self.troubled).into_iter().for_each(|it| self.ready.insert(it));
        }
        for token in self.ready.sockets() {
            match owner(token) {
                Owner::Datagrams => self.read(token, DATAGRAMS),
                Owner::Listener => self.read(token, ACCEPTS),
                Owner::Source => self.read_stream(),
                Owner::SourceStderr => self.read_stderr(),
                Owner::Target => self.read_target(token),
                Owner::Signals | Owner::Watch | Owner::Lookups | Owner::Connection => {}
            }
        }
        self.serve_connections();
        if self.check_at().is_some_and(|at| at <= Instant::now()) {
            self.check_children();
        }
        self.input(Input::Timeout);
        Ok(())
    }

    /// Serves each connection that is ready once, as far as the time allows; the others come first in
    /// the next turn.
    fn serve_connections(&mut self) {
        let end = Instant::now() + CONNECTIONS.time;
        for _ in 0..self.ready.connections() {
            let Some(token) = self.ready.next_connection() else { return };
            self.read(token, Share { reads: 1, ..CONNECTIONS });
            if Instant::now() >= end {
                return;
            }
        }
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let next = self.deadline.into_iter().chain(self.retry_at).chain(self.check_at()).min();
        let until = next.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = if self.ready.is_empty() { until } else { Some(Duration::ZERO) };
        let Err(error) = self.poll.poll(events, timeout) else {
            self.failed_waits = 0;
            return Ok(());
        };
        if is_of_the_call(&error) {
            return Err(error);
        }
        if !is_of_one(&error) {
            self.warnings.warn(&error, "waiting for events failed, retrying");
        }
        // A signal interrupts a wait now and then, and then there is something to do.
        self.failed_waits += 1;
        if self.failed_waits > 1 {
            std::thread::sleep(RETRY_AFTER);
        }
        Ok(())
    }

    /// Whether a signal asks to end, or there is nothing to go on for.
    fn stop_requested(&mut self) -> bool {
        let (mut stop, mut child_ended) = (false, false);
        for signal in self.signals.pending() {
            match signal {
                SIGCHLD => child_ended = true,
                _ => stop = true,
            }
        }
        if child_ended {
            self.check_children();
        }
        stop || self.source.as_ref().is_some_and(|stream| stream.gave_up)
    }

    /// When to look whether the command is gone.
    fn check_at(&self) -> Option<Instant> {
        self.source.as_ref().and_then(SourceLink::check_at)
    }

    fn shut_down(&mut self, events: &mut Events) -> Result<(), RunError> {
        log::info!("shutting down: closing all viewers");
        self.service.tell_stopping();
        let start = Instant::now();
        // The core has no more say in it.
        let mut stream = self.source.take();
        if let Some(stream) = &mut stream {
            stream.interrupt();
        }
        self.input(Input::Shutdown);
        while let Some(end) = self.goes_on_until(start) {
            self.deadline = Some(self.deadline.map_or(end, |deadline| deadline.min(end)));
            self.turn(events)?;
        }
        let Some(mut stream) = stream else { return Ok(()) };
        stream.end(start);
        match stream.gave_up {
            true => Err(RunError::NothingToShow(stream.into_reason())),
            false => Ok(()),
        }
    }

    /// Since the end has begun at `start`: until when something is still to be waited for, if anything.
    fn goes_on_until(&self, start: Instant) -> Option<Instant> {
        let unpublishing = self.server.is_unpublishing().then_some(END_LIMIT + SHUTDOWN_LIMIT);
        let answering = (!self.connections.is_empty()).then_some(SHUTDOWN_LIMIT);
        let end = start + unpublishing.max(answering)?;
        (Instant::now() < end).then_some(end)
    }

    /// Reaps children that have ended, and looks whether the command is gone.
    fn check_children(&mut self) {
        // Without a command, the children of this process are not ours. With one, the first process of a
        // container adopts all that lose their parents.
        if let Some(stream) = &mut self.source {
            children::reap(|pid, status| stream.note_reaped(pid, status));
        }
        self.check_command();
    }

    fn handle_event(&mut self, event: &Event) {
        let token = event.token();
        match owner(token) {
            Owner::Signals => return,
            Owner::Watch => return self.follow_addresses(),
            Owner::Lookups => return self.take_lookups(),
            Owner::Target if event.is_writable() => self.write_target(token),
            Owner::Connection if event.is_writable() => self.write(token),
            _ => {}
        }
        if event.is_readable() || event.is_read_closed() {
            self.ready.insert(token);
        }
    }

    /// Tells the core a fact, and does what it wants done, to the end.
    fn input(&mut self, input: Input) {
        self.server.handle_input(Instant::now(), input);
        self.drain();
        self.handle_pending();
    }

    /// Tells the core what its outputs have brought about, until they bring about nothing more.
    fn handle_pending(&mut self) {
        while let Some(pending) = self.pending.pop_front() {
            let now = Instant::now();
            match pending {
                Pending::Disconnected(id) => self.server.handle_input(now, Input::Disconnected(id)),
                Pending::TransmitFailed(destination) => {
                    self.server.handle_input(now, Input::TransmitFailed { destination });
                }
                Pending::Capture(codecs) => {
                    self.take_picture(&codecs);
                    continue;
                }
                Pending::Encode(picture, captured, codecs, is_reported) => {
                    self.show_picture(picture, captured, &codecs, is_reported);
                    continue;
                }
                Pending::Snapshot(width) => self.take_snapshot(width),
                Pending::Source(command) => {
                    self.execute(command);
                    continue;
                }
                Pending::Publish(id, command) => {
                    self.publish(id, command);
                    continue;
                }
            }
            self.drain();
        }
    }

    fn drain(&mut self) {
        loop {
            match self.server.poll_output() {
                Output::Transmit(transmit) => {
                    self.transmits.push(transmit);
                    if self.transmits.len() == udp::BATCH {
                        self.transmit();
                    }
                }
                Output::Send(id, bytes) => self.write_to(id, |link| link.push(bytes)),
                Output::Finish(id) => self.write_to(id, |link| link.finish()),
                Output::Pause(id) => self.connections.pause(id),
                Output::Resume(id) => self.resume(id),
                Output::Close(id) => self.close(id),
                Output::ForceKeyframe(codec) => self.encoder.force_keyframe(codec),
                Output::Capture(codecs) => self.pending.push_back(Pending::Capture(codecs)),
                Output::Encode { picture, captured, codecs, is_reported } => {
                    let encode = Pending::Encode(picture, captured, codecs, is_reported);
                    self.pending.push_back(encode);
                }
                Output::Snapshot { width } => self.pending.push_back(Pending::Snapshot(width)),
                Output::Source(command) => self.pending.push_back(Pending::Source(command)),
                Output::Publish(id, command) => {
                    self.pending.push_back(Pending::Publish(id, command));
                }
                Output::KeepSession(id, session) => {
                    if let Err(error) = self.sessions.keep(id, session) {
                        let what = "sessions at media servers cannot be stored for the next start";
                        self.warnings.warn(&error, what);
                    }
                }
                Output::Timeout(deadline) => {
                    self.transmit();
                    self.deadline = deadline;
                    return;
                }
            }
        }
    }
}

/// Sockets.
impl<S: EncodePictures> Driver<S> {
    /// Reads a socket until it is dry, or has had its share of the turn.
    fn read(&mut self, token: Token, share: Share) {
        let end = Instant::now() + share.time;
        let (mut reads, mut failures) = (0, 0);
        while reads < share.reads && failures < FAILURES_A_TURN {
            let read = match owner(token) {
                Owner::Listener => self.accept(token),
                Owner::Datagrams => self.receive(token),
                _ => self.serve_connection(token),
            };
            match read {
                Ok(()) => reads += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.ready.remove(token);
                }
                Err(error) if is_of_one(&error) => failures += 1,
                Err(error) => {
                    self.warnings.warn(&error, "reading a socket failed, retrying");
                    return self.read_later(token);
                }
            }
            if Instant::now() >= end {
                break;
            }
        }
        if reads == 0 {
            self.read_later(token);
        }
    }

    /// The kernel tells of readiness once, and could not serve the socket then.
    fn read_later(&mut self, token: Token) {
        self.ready.remove(token);
        self.troubled.insert(token);
        self.retry_at.get_or_insert(Instant::now() + RETRY_AFTER);
    }

    fn receive(&mut self, token: Token) -> io::Result<()> {
        let Some(endpoint) = self.endpoints.get(&listener_of(token)) else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let mut datagram = [0; DATAGRAM_BYTES];
        let (bytes, source) = endpoint.udp.receive(&mut datagram)?;
        let destination = endpoint.address;
        self.input(Input::Datagram { source, destination, contents: &datagram[..bytes] });
        Ok(())
    }

    /// Sends what has been collected.
    fn transmit(&mut self) {
        let transmits = std::mem::take(&mut self.transmits);
        for alike in transmits.chunk_by(|a, b| a.source == b.source) {
            let warnings = &mut self.warnings;
            let failed = |to, error: io::Error| {
                log::debug!("to {to}: {error}");
                if !is_of_one(&error) {
                    warnings.warn(&error, "sending datagrams failed");
                }
                self.pending.push_back(Pending::TransmitFailed(to));
            };
            match self.endpoints.values_mut().find(|e| e.address == alike[0].source) {
                Some(endpoint) => endpoint.udp.send(alike, failed),
                None => {
                    let to = alike.iter().map(|transmit| transmit.destination);
                    self.pending.extend(to.map(Pending::TransmitFailed));
                }
            }
        }
        self.transmits = transmits;
        self.transmits.clear();
    }
}
