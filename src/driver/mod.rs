//! The thin driver: a mio loop with all sockets, the clock and the only blocking call.
//!
//! It turns readiness into [`Input`]s and [`Output`]s into system calls, and decides nothing itself.
//!
//! 1. [`Driver::turn`] waits until a descriptor is ready or the core's deadline has come.
//! 2. Each part reads its descriptors and returns a fact ([`reads`]).
//! 3. [`Driver::input`] tells the core the fact and drains it at once ([`effects`]): the answer to a datagram
//!    leaves before the next one is read. A DTLS flight that waited for the loop would meet the 50 ms timer of
//!    a browser.
//! 4. [`Driver::work`] then carries out what takes longer or brings facts of its own: pictures, and commands for
//!    the source and for media servers.
//!
//! Each part owns its fields and knows nothing of the driver: [`Endpoints`], [`Connections`], [`HostNames`],
//! [`Pictures`], [`SourceReader`], [`Targets`].

mod blocking;
mod clock;
mod effects;
pub mod encode;
mod errors;
mod local_time;
pub mod net;
pub mod panics;
mod poller;
pub mod process;
pub mod publish;
mod reads;
mod ready;
mod service;
pub mod source;
#[cfg(test)]
pub mod test_folder;
mod tokens;
mod v4l2;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Waker};

use self::clock::WallClock;
use self::encode::EncodePictures;
use self::encode::pictures::Pictures;
pub use self::errors::RunError;
use self::errors::Warnings;
use self::net::connections::Connections;
pub use self::net::endpoints::Endpoints;
use self::net::names::HostNames;
use self::poller::Poller;
use self::process::{PROGRAM, Signals};
use self::publish::sessions::Sessions;
use self::publish::targets::Targets;
use self::ready::Ready;
use self::service::Service;
pub use self::source::SourceOrigin;
use self::source::SourceReader;
use self::tokens::THREADS;
use crate::publish::END_LIMIT;
use crate::server::{Input, Output, Server};
use crate::source::Signal;

/// How long responses in progress may take after all viewers are disconnected.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(100);

/// The loop, its parts, and the core. `S` makes pictures and encodes them.
pub struct Driver<S> {
    poller: Poller,
    signals: Signals,
    ready: Ready,
    warnings: Warnings,
    service: Service,
    server: Server,
    /// Facts that a drain brought about. The core is told after the drain.
    facts: VecDeque<Input<'static>>,
    /// Outputs that are carried out after the drain.
    work: VecDeque<Output>,
    /// When the core wants to be called again.
    deadline: Option<Instant>,
    endpoints: Endpoints,
    connections: Connections,
    names: HostNames,
    wall_clock: WallClock,
    pictures: Pictures<S>,
    targets: Targets,
    source: Option<SourceReader>,
    /// For calls that block.
    waker: Arc<Waker>,
    /// What is read lies here until the core was told.
    buffer: Vec<u8>,
}

impl<S: EncodePictures> Driver<S> {
    /// A driver of the server that `make_server` makes of the bound addresses and both clocks.
    ///
    /// # Errors
    /// The kernel has no descriptor or memory left.
    pub fn new(
        mut endpoints: Endpoints,
        make_server: impl FnOnce(Vec<SocketAddr>, Instant, SystemTime) -> Server,
        encoder: S,
    ) -> io::Result<Driver<S>> {
        process::raise_file_limit();
        let poller = Poller::new()?;
        let signals = Signals::register(poller.registry())?;
        endpoints.register(poller.registry())?;
        let waker = Arc::new(Waker::new(poller.registry(), THREADS)?);
        let targets = Targets::new(&waker);
        let mut pictures = Pictures::new(encoder);
        pictures.set_registry(Arc::new(poller.registry().try_clone()?));
        let (now, wall) = (Instant::now(), SystemTime::now());
        Ok(Driver {
            poller,
            signals,
            ready: Ready::default(),
            warnings: Warnings::default(),
            service: Service::default(),
            server: make_server(endpoints.addresses(), now, wall),
            facts: VecDeque::new(),
            work: VecDeque::new(),
            deadline: None,
            endpoints,
            connections: Connections::new(),
            names: HostNames::new(now),
            wall_clock: WallClock::new(now, wall),
            pictures,
            targets,
            source: None,
            waker,
            buffer: vec![0; source::READ_BYTES],
        })
    }

    /// Sets where the stream comes from that the core asks for.
    pub fn set_origin(&mut self, origin: SourceOrigin) {
        let source = SourceReader::new(origin, Path::new(PROGRAM));
        self.source = Some(source.with_cameras(&self.waker, self.poller.registry()));
    }

    /// Sets where the sessions at media servers are kept.
    pub fn set_sessions(&mut self, sessions: Sessions) {
        self.targets.set_sessions(sessions);
    }

    /// Serves until a signal asks the program to exit.
    ///
    /// # Errors
    /// The loop ended for another reason.
    pub fn run(&mut self) -> Result<(), RunError> {
        let mut events = Events::with_capacity(256);
        self.follow_names();
        // The core may have outputs from the start.
        self.input(Input::Timeout);
        self.work();
        self.service.tell_ready();
        while !self.is_exit_requested() {
            self.service.tell_status(self.server.watching(), self.server.published());
            self.turn(&mut events)?;
        }
        self.shut_down(&mut events)
    }

    /// Waits for events and handles them, for a few milliseconds at most. The next turn then starts with the
    /// datagrams that have arrived meanwhile.
    fn turn(&mut self, events: &mut Events) -> Result<(), RunError> {
        self.wait(events).map_err(RunError::Wait)?;
        for event in &*events {
            self.handle_event(event);
        }
        self.ready.retry(Instant::now());
        for token in self.ready.sockets() {
            self.read_socket(token);
        }
        self.read_connections();
        if self.check_at().is_some_and(|at| at <= Instant::now()) {
            self.check_children();
        }
        self.take_due_frames();
        self.input(Input::Timeout);
        self.work();
        Ok(())
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let times = [self.deadline, self.ready.retry_at(), self.check_at(), self.pictures.due()];
        let next = times.into_iter().flatten().min();
        let until = next.map(|at| at.saturating_duration_since(Instant::now()));
        let limit = if self.ready.is_empty() { until } else { Some(Duration::ZERO) };
        self.poller.wait(events, limit, &mut self.warnings)
    }

    /// Tells the core a fact and drains it, then tells it the facts that the drain brought about.
    fn input(&mut self, input: Input<'_>) {
        let mut next = Some(input);
        while let Some(input) = next {
            self.server.handle_input(Instant::now(), input);
            self.drain();
            next = self.facts.pop_front();
        }
    }

    /// Whether a signal asks the program to exit, or the source has given up.
    fn is_exit_requested(&mut self) -> bool {
        let arrived = self.signals.take();
        if arrived.child_ended {
            self.check_children();
        }
        arrived.exit || self.source.as_ref().is_some_and(SourceReader::has_given_up)
    }

    /// When to check the source's command.
    fn check_at(&self) -> Option<Instant> {
        self.source.as_ref().and_then(SourceReader::check_at)
    }

    fn shut_down(&mut self, events: &mut Events) -> Result<(), RunError> {
        log::info!("shutting down: closing all viewers");
        self.service.tell_stopping();
        let start = Instant::now();
        // The core no longer controls the source.
        let mut source = self.source.take();
        if let Some(source) = &mut source {
            source.signal(Signal::Interrupt);
        }
        self.input(Input::Shutdown);
        self.work();
        while let Some(end) = self.shutdown_end(start) {
            self.deadline = Some(self.deadline.map_or(end, |deadline| deadline.min(end)));
            self.turn(events)?;
        }
        let Some(mut source) = source else { return Ok(()) };
        source.end(start);
        match source.has_given_up() {
            true => Err(RunError::NothingToShow(source.reason().to_owned())),
            false => Ok(()),
        }
    }

    /// When a shutdown that began at `start` stops waiting for responses and media servers. `None` if there is
    /// nothing to wait for, or its time is over.
    fn shutdown_end(&self, start: Instant) -> Option<Instant> {
        let unpublishing = self.server.is_unpublishing().then_some(END_LIMIT + SHUTDOWN_LIMIT);
        let responding = (!self.connections.is_empty()).then_some(SHUTDOWN_LIMIT);
        let end = start + unpublishing.max(responding)?;
        (Instant::now() < end).then_some(end)
    }
}
