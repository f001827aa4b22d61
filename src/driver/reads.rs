//! Events to facts: what is ready is read within its share of the turn, and the core is told.

use std::io::{self, ErrorKind};
use std::time::{Instant, SystemTime};

use mio::Token;
use mio::event::Event;

use super::Driver;
use super::encode::EncodePictures;
use super::errors::is_transient;
use super::process;
use super::ready::{ACCEPTS, CONNECTIONS, DATAGRAMS, SOURCE_READS, Share};
use super::tokens::{Owner, SOURCE, SOURCE_STDERR, owner};
use crate::driver::source::SourceReader;
use crate::driver::source::camera::CameraStream;
use crate::server::Input;
use crate::source::SourceEvent;
use crate::source::camera::CameraEvent;

/// Larger than any datagram of a browser. A longer one is truncated, and then fails its authentication.
const DATAGRAM_BYTES: usize = 2_048;
/// The most that is read from a TCP connection at once.
const TCP_READ_BYTES: usize = 16 * 1_024;
/// Failed reads of one descriptor in a turn after which it waits. A signal may interrupt a read now and then.
const FAILURES_PER_TURN: usize = 8;

impl<S: EncodePictures> Driver<S> {
    pub(super) fn handle_event(&mut self, event: &Event) {
        let token = event.token();
        let fact = match owner(token) {
            Owner::Signals => return,
            Owner::Watch => return self.follow_addresses(),
            Owner::Threads => return self.take_results(),
            Owner::Devices => return self.note_devices(),
            Owner::Encoder => return self.take_frames(),
            Owner::Target if event.is_writable() => self.targets.write(token),
            Owner::Connection if event.is_writable() => {
                self.connections.id(token).and_then(|id| self.flush(id))
            }
            _ => None,
        };
        if let Some(fact) = fact {
            self.input(fact);
            self.work();
        }
        // A camera whose stream has failed reports nothing but an error (EPOLLERR).
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.ready.insert(token);
        }
    }

    /// Reads what is ready, except for connections.
    pub(super) fn read_socket(&mut self, token: Token) {
        match owner(token) {
            Owner::Datagrams => self.read(token, DATAGRAMS, Self::receive),
            Owner::Listener => self.read(token, ACCEPTS, Self::accept),
            Owner::Source => self.read_source(),
            Owner::SourceStderr => self.read_stderr(),
            Owner::Target => self.read_target(token),
            Owner::Signals
            | Owner::Watch
            | Owner::Threads
            | Owner::Devices
            | Owner::Encoder
            | Owner::Connection => {}
        }
    }

    /// Reads each connection that is ready once, as far as the time allows. The next turn goes on with the rest.
    pub(super) fn read_connections(&mut self) {
        let end = Instant::now() + CONNECTIONS.time;
        for _ in 0..self.ready.connections() {
            let Some(token) = self.ready.next_connection() else { return };
            self.read(token, Share { reads: 1, ..CONNECTIONS }, Self::read_connection);
            if Instant::now() >= end {
                return;
            }
        }
    }

    /// Reads a socket until there is nothing more for now, or its share of the turn is used up.
    fn read(
        &mut self,
        token: Token,
        share: Share,
        read_once: impl Fn(&mut Self, Token) -> io::Result<()>,
    ) {
        let end = Instant::now() + share.time;
        let (mut reads, mut failures) = (0, 0);
        while reads < share.reads && failures < FAILURES_PER_TURN {
            let read = read_once(self, token);
            self.work();
            match read {
                Ok(()) => reads += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.ready.remove(token);
                }
                Err(error) if is_transient(&error) => failures += 1,
                Err(error) => {
                    self.warnings.warn(&error, "reading a socket failed, retrying");
                    return self.ready.postpone(token, Instant::now());
                }
            }
            if Instant::now() >= end {
                break;
            }
        }
        if reads == 0 {
            self.ready.postpone(token, Instant::now());
        }
    }

    fn receive(&mut self, token: Token) -> io::Result<()> {
        let mut datagram = [0; DATAGRAM_BYTES];
        let (bytes, source, destination) = self.endpoints.receive(token, &mut datagram)?;
        self.input(Input::Datagram { source, destination, contents: &datagram[..bytes] });
        Ok(())
    }

    fn accept(&mut self, token: Token) -> io::Result<()> {
        let (stream, peer) = self.endpoints.accept(token)?;
        let id = self.connections.add(stream).ok_or(ErrorKind::OutOfMemory)?;
        if let Some(wall) = self.wall_clock.step(Instant::now(), SystemTime::now()) {
            self.input(Input::WallClock(wall));
        }
        self.input(Input::Connected(id, peer));
        let registered = self.connections.register(id, self.poller.registry());
        if registered.is_err() {
            self.close(id);
            self.input(Input::Disconnected(id));
        }
        registered
    }

    /// Tells the core one fact about a connection. The core answers at most one request with it.
    fn read_connection(&mut self, token: Token) -> io::Result<()> {
        self.follow_names();
        let id = self.connections.id(token).ok_or(ErrorKind::WouldBlock)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let fact = self.connections.next_fact(id, &mut buffer[..TCP_READ_BYTES]);
        let read = fact.map(|fact| {
            if matches!(fact, Input::Disconnected(_)) {
                self.close(id);
            }
            let is_end = matches!(fact, Input::HalfClosed(_));
            self.input(fact);
            is_end
        });
        self.buffer = buffer;
        match read? {
            // The end of a stream is read once.
            true if !self.connections.is_flushed(id) => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    }

    /// Reads the source until there is nothing more for now, or its share of the turn is used up.
    fn read_source(&mut self) {
        if let Some(stream) = self.source.as_mut().and_then(SourceReader::take_stream) {
            return self.read_camera(stream);
        }
        let end = Instant::now() + SOURCE_READS.time;
        for _ in 0..SOURCE_READS.reads {
            let Some(source) = &mut self.source else { return self.ready.remove(SOURCE) };
            let mut buffer = std::mem::take(&mut self.buffer);
            let event = source.read(&mut buffer).unwrap_or(SourceEvent::Paused);
            let is_paused = event == SourceEvent::Paused;
            if is_paused {
                self.ready.remove(SOURCE);
            }
            self.input(Input::Source(event));
            self.buffer = buffer;
            self.work();
            if is_paused || Instant::now() >= end {
                return;
            }
        }
    }

    /// Tells the core what a camera has filled, then gives its buffers back.
    fn read_camera(&mut self, mut stream: CameraStream) {
        self.ready.remove(SOURCE);
        let mut read = stream.fill();
        if let Ok(true) = read {
            let pictures = stream.pictures();
            self.input(Input::Source(SourceEvent::Camera(CameraEvent::Pictures(&pictures))));
            read = stream.give_back().map(|()| true);
        }
        let source = self.source.as_mut();
        let event = source.and_then(|source| source.put_stream(stream, read.map(drop)));
        self.tell_of_camera(event);
    }

    fn tell_of_camera(&mut self, event: Option<CameraEvent<'static>>) {
        if let Some(event) = event {
            self.input(Input::Source(SourceEvent::Camera(event)));
        }
        self.work();
    }

    /// Notices that a frame of the hardware encoder is overdue.
    pub(super) fn take_due_frames(&mut self) {
        if self.pictures.due().is_some_and(|at| at <= Instant::now()) {
            self.take_frames();
        }
    }

    /// Tells the core the frames of the hardware encoder, or what has become of their pictures.
    fn take_frames(&mut self) {
        self.pictures.take_frames();
        self.work();
    }

    fn note_devices(&mut self) {
        let event = self.source.as_mut().and_then(SourceReader::take_change);
        self.tell_of_camera(event);
    }

    fn read_stderr(&mut self) {
        self.ready.remove(SOURCE_STDERR);
        if let Some(source) = &mut self.source {
            source.read_stderr(Instant::now());
        }
    }

    /// Reaps children that have ended, and checks the source's command.
    pub(super) fn check_children(&mut self) {
        // Without a command, the children of this process are not ours. With one, the first process of a container
        // (PID 1) adopts all orphans.
        let Some(source) = &mut self.source else { return };
        process::reap(|pid, status| source.note_reaped(pid, status));
        if source.check_child(Instant::now()) {
            self.ready.insert(SOURCE);
        }
    }

    /// Reads once from a media server.
    fn read_target(&mut self, token: Token) {
        let mut buffer = std::mem::take(&mut self.buffer);
        match self.targets.read(token, &mut buffer[..TCP_READ_BYTES]) {
            Some(fact) => self.input(fact),
            None => self.ready.remove(token),
        }
        self.buffer = buffer;
        self.work();
    }

    /// Tells the core the results of calls that have returned.
    fn take_results(&mut self) {
        while let Some(fact) = self.targets.take_lookup() {
            self.input(fact);
        }
        while let Some(event) = self.take_camera_event() {
            if matches!(event, CameraEvent::Started(_)) {
                // Pictures that came before the registration may cause no event.
                self.ready.insert(SOURCE);
            }
            self.tell_of_camera(Some(event));
        }
    }

    fn take_camera_event(&mut self) -> Option<CameraEvent<'static>> {
        self.source.as_mut()?.take_camera_event(self.poller.registry())
    }

    /// Follows the host's addresses, and tells the core if they have changed.
    fn follow_addresses(&mut self) {
        let Some(closed) = self.endpoints.follow_host(self.poller.registry()) else { return };
        closed.into_iter().for_each(|token| self.ready.forget(token));
        self.input(Input::Addresses(&self.endpoints.addresses()));
        self.work();
    }

    /// Reads the host's names if they are due, and tells the core if they have changed.
    pub(super) fn follow_names(&mut self) {
        let Some(names) = self.names.update(Instant::now()) else { return };
        let names = names.to_vec();
        self.input(Input::Names(&names));
    }
}
