//! The pure core: everything that happens comes in as an [`Input`], everything to be done goes out
//! as an [`Output`].
//!
//! `Server` routes inputs to connections and viewers, fans frames out, and keeps the limits. It
//! never reads a clock, opens a socket, draws entropy, starts a thread or blocks.
//!
//! | room | noun |
//! |---|---|
//! | `demux` | finds the viewer a datagram belongs to |
//! | `http` | TCP connections, and what their requests ask of the server; pictures as files |
//! | [`video`] | a frame: when it is due, when it is a key frame, who gets it, when there are too many |
//! | [`limits`] | limits and rates, and the client that they count for |
//! | `viewers` | the table of viewers and everything that they are found by |
//! | `publish` | the media servers that the stream is published to |
//! | `paths` | which of our addresses a peer is offered |
//! | `timers`, `secrets`, [`stats`] | deadlines; credentials; what is counted |

mod config;
mod contract;
mod demux;
mod http;
pub mod limits;
mod paths;
mod publish;
mod secrets;
pub mod stats;
mod timers;
pub mod video;
mod viewers;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, SystemTime};

pub use self::config::Config;
pub use self::contract::{ConnId, Input, Output};
use self::http::connections::ConnectionEntry;
use self::http::snapshots::Snapshots;
use self::limits::admission::Admission;
use self::limits::guesses::Guesses;
use self::paths::addresses_towards;
use self::publish::Publishing;
use self::secrets::Secrets;
use self::stats::Counters;
use self::timers::Timers;
use self::video::fan_out::FanOut;
use self::video::frame_clock::FrameClock;
use self::video::group::Group;
use self::video::keyframes::Keyframes;
use self::video::overload::Overload;
use self::viewers::{ViewerEntry, ViewerRole, ViewerTable};
use crate::containment::contain;
use crate::media::Codec;
use crate::publish::TargetId;
use crate::source::Source;
use crate::web::assets::Page;
use crate::webrtc::viewer::Viewer;
use crate::webrtc::{AddressPair, EndReason, ViewerEffect, ViewerId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Frame,
    Source,
    Target(TargetId),
    Viewer(ViewerId),
    Connection(ConnId),
    File,
}

pub struct Server {
    config: Config,
    secrets: Secrets,
    started: Instant,
    /// The wall clock and the moment it was read.
    wall_clock: (SystemTime, Instant),
    connections: BTreeMap<ConnId, ConnectionEntry>,
    /// Connections that are out of the table while they are served.
    in_service: usize,
    viewers: ViewerTable,
    admission: Admission,
    guesses: Guesses,
    page: Page,
    clock: FrameClock,
    /// By codec.
    keyframes: [Keyframes; Codec::ALL.len()],
    overload: Overload,
    fan_outs: VecDeque<FanOut>,
    snapshots: Snapshots,
    source: Option<Source>,
    group: Group,
    targets: Publishing,
    /// When the source has failed, if there was no frame since.
    capture_failed_at: Option<Instant>,
    timers: Timers<Timer>,
    outbox: VecDeque<Output>,
    shutting_down: bool,
    counters: Counters,
}

impl Server {
    /// # Panics
    /// If `config.frames_per_second` is 0.
    pub fn new(mut config: Config, now: Instant) -> Server {
        config.access.addresses = config.own_addresses();
        let source = config.source.map(|source| Source::new(source, now));
        let mut timers = Timers::new();
        timers.set(Timer::Source, source.as_ref().and_then(Source::poll_timeout));
        let mut secrets = Secrets::new(config.entropy);
        let left = &config.left_sessions;
        let targets = Publishing::new(&config.targets, &config.announced, left, &mut secrets, now);
        for (id, deadline) in targets.deadlines() {
            timers.set(Timer::Target(id), deadline);
        }
        Server {
            secrets,
            targets,
            started: now,
            wall_clock: (config.wall_clock, now),
            connections: BTreeMap::new(),
            in_service: 0,
            viewers: ViewerTable::default(),
            admission: Admission::new(&config.limits),
            guesses: Guesses::new(),
            page: Page::new(config.title.as_deref()),
            clock: FrameClock::new(match config.source {
                Some(_) => video::source::NO_SIGNAL_FRAMES_PER_SECOND,
                None => config.frames_per_second,
            }),
            keyframes: Default::default(),
            overload: Overload::default(),
            fan_outs: VecDeque::new(),
            snapshots: Snapshots::default(),
            source,
            group: Group::default(),
            capture_failed_at: None,
            timers,
            outbox: VecDeque::new(),
            shutting_down: false,
            counters: Counters::default(),
            config,
        }
    }

    /// Takes in what has happened. `now` never goes back.
    ///
    /// # Panics
    /// In debug builds, if the outputs of the last input have not been polled to their end.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let drained = self.outbox.is_empty() && self.fan_outs.is_empty();
        debug_assert!(drained, "outputs are polled before the next input");
        match input {
            Input::Timeout => {}
            Input::Connected(id, peer) => self.connected(now, id, peer),
            Input::Received(id, bytes) => {
                self.with_connection(now, id, |http| http.receive(bytes));
            }
            Input::Flushed(id) => self.with_connection(now, id, |http| http.flushed(now)),
            Input::HalfClosed(id) => self.with_connection(now, id, |http| http.half_closed()),
            Input::Disconnected(id) => self.forget_connection(now, id),
            Input::Datagram { source, destination, contents } => {
                let pair = AddressPair { local: destination, remote: source };
                if contain(|| self.handle_datagram(now, pair, contents)).is_err() {
                    self.counters.datagrams_dropped += 1;
                    self.recover(now);
                }
            }
            Input::TransmitFailed { destination } => self.transmit_failed(destination),
            Input::Frame(frame) => self.handle_frame(now, &frame),
            Input::CaptureFailed => self.capture_failed_at = Some(now),
            Input::Source(event) => self.handle_source(now, event),
            Input::PictureShown => self.handle_outcome(now, None),
            Input::PictureDamaged(damage) => self.handle_outcome(now, Some(damage)),
            Input::Publish(id, event) => self.handle_publish(now, id, event),
            Input::Addresses(addresses) => self.set_addresses(now, addresses),
            Input::Names(names) => self.config.access.host_names = names.to_vec(),
            Input::Snapshot { width, made, cost } => self.handle_snapshot(now, width, made, cost),
            Input::WallClock(wall) => self.wall_clock = (wall, now),
            Input::Shutdown => self.shut_down(now),
        }
        self.fire_timers(now);
        #[cfg(debug_assertions)]
        self.check_invariants(now);
    }

    /// What is to be done, in order. `Timeout` is the last until the next input.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.outbox.pop_front() {
                return output;
            }
            let Some(fan_out) = self.fan_outs.pop_front() else {
                return Output::Timeout(self.timers.next());
            };
            if let Some(rest) = self.send_to_next(fan_out) {
                self.fan_outs.push_front(rest);
            }
        }
    }

    /// How many viewers there are that have asked, half-open ones included.
    pub fn viewers(&self) -> usize {
        self.viewers.asked()
    }

    /// Whose an address is that has proved itself.
    pub fn viewer_at(&self, address: SocketAddr) -> Option<ViewerId> {
        self.viewers.at(address)
    }

    /// The names of the viewers' states, as in the statistics. Media servers are among them.
    pub fn viewer_states(&self) -> impl Iterator<Item = (ViewerId, &'static str)> {
        self.viewers.iter().map(|(id, entry)| (id, entry.viewer.state().name()))
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The stream from outside, if there is one.
    pub fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// What must hold between any two inputs.
    ///
    /// # Panics
    /// If it does not, which is a bug of ours, never of the network.
    pub fn check_invariants(&self, now: Instant) {
        let limits = &self.config.limits;
        self.viewers.check_invariants();
        assert!(self.viewers.asked() <= limits.viewers);
        assert!(self.viewers.half_open() <= limits.half_open);
        assert!(self.connections.len() <= limits.connections);
        assert_eq!(self.in_service, 0, "all are back in the table");
        assert!(self.snapshots.mjpeg_clients() <= limits.mjpeg_clients);
        self.snapshots.check_invariants(&self.connections);
        let ticks = self.wants_clock();
        assert_eq!(self.clock.deadline().is_some(), ticks, "frames while a viewer watches");
        let source = self.source.as_ref().and_then(Source::poll_timeout).is_some();
        let file = self.snapshots.poll_timeout().is_some();
        let own: usize = [ticks, source, file].into_iter().map(usize::from).sum();
        let targets = self.targets.deadlines().filter(|(_, deadline)| deadline.is_some()).count();
        let timers = self.viewers.len() + self.connections.len() + targets + own;
        assert_eq!(self.timers.len(), timers, "one timer each");
        assert!(self.timers.next().is_none_or(|next| next > now), "time moves on");
    }

    fn fire_timers(&mut self, now: Instant) {
        let (mut frame_due, mut source_due) = (false, false);
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                // After the others, one of which may be the end of the last viewer.
                Timer::Frame => frame_due = true,
                Timer::Source => source_due = true,
                Timer::Viewer(id) => {
                    if let Some(entry) = self.viewers.get_mut(id) {
                        entry.deadline = None;
                    }
                    self.with_viewer(now, id, |viewer| {
                        viewer.handle_timeout(now);
                        let next = viewer.poll_timeout();
                        debug_assert!(next.is_none_or(|next| next > now), "time moves on");
                    });
                }
                Timer::Connection(id) => {
                    self.with_connection(now, id, |http| http.handle_timeout(now));
                }
                Timer::Target(id) => self.with_target(now, id, |it| it.handle_timeout(now)),
                Timer::File => self.request_files(now),
            }
        }
        if source_due {
            self.source_timeout(now);
        }
        // A stream that has fallen silent starts the clock.
        if frame_due || source_due {
            self.tick(now);
        }
    }

    /// Changes a viewer, then does what it wants and sets its timer; an ended one is removed.
    fn with_viewer(&mut self, now: Instant, id: ViewerId, change: impl FnOnce(&mut Viewer)) {
        let Some((watched, entry)) = self.viewers.change(id, change) else { return };
        let keyframes = &mut self.keyframes[entry.viewer.codec() as usize];
        let (mut connected, mut wants_keyframe, mut lacks_certificate) = (false, false, false);
        let (mut checks, mut dropped_addresses) = (Vec::new(), Vec::new());
        while let Some(effect) = entry.viewer.poll_effect() {
            match effect {
                ViewerEffect::Transmit(transmit) => {
                    let check = demux::check_of(&transmit.contents);
                    checks.extend(check.map(|check| (check, transmit.destination)));
                    self.outbox.push_back(Output::Transmit(transmit));
                }
                ViewerEffect::Connected => connected = true,
                ViewerEffect::CertificateUnusable => lacks_certificate = true,
                ViewerEffect::KeyframeRequested => {
                    wants_keyframe = true;
                    keyframes.request();
                }
                ViewerEffect::AddressDropped(address) => dropped_addresses.push(address),
            }
        }
        let watches = entry.viewer.is_watching();
        let codec = entry.viewer.codec();
        let target = entry.target();
        let end_reason = entry.viewer.end_reason();
        if connected {
            log::info!("{id} is live at {}", entry.address());
            wants_keyframe = true;
            keyframes.viewer_joined();
            self.counters.viewers_served += u64::from(target.is_none());
        } else if watches && !watched {
            log::info!("{id} is back");
            wants_keyframe = true;
            keyframes.request();
        } else if watched && !watches && end_reason.is_none() {
            log::info!("{id} is silent, nothing is sent to it");
        }
        if lacks_certificate {
            log::warn!("{id} at {} cannot connect: {}", entry.address(), EndReason::Certificate);
        }
        match end_reason {
            Some(reason) => self.remove_viewer(now, id, reason),
            None => {
                let deadline = entry.viewer.poll_timeout();
                // A frame changes no deadline, and comes to many viewers.
                if deadline != entry.deadline {
                    entry.deadline = deadline;
                    self.timers.set(Timer::Viewer(id), deadline);
                }
            }
        }
        for (transaction, to) in checks {
            self.viewers.add_check(id, transaction, to);
        }
        for address in dropped_addresses {
            self.viewers.release_address(address, id);
        }
        if watched != watches {
            self.update_clock(now);
        }
        if let Some(target) = target.filter(|_| connected) {
            self.with_target(now, target, |it| it.connected(now));
        } else if let Some(target) = target.filter(|_| lacks_certificate) {
            self.with_target(now, target, |it| it.note_problem(EndReason::Certificate.into()));
        }
        if wants_keyframe && self.passes_on(codec) {
            self.send_group(now, id);
        } else if connected && self.source.is_some() {
            // Words come once a second only.
            self.clock.hasten(now);
            self.timers.set(Timer::Frame, self.clock.deadline());
        }
    }

    fn remove_viewer(&mut self, now: Instant, id: ViewerId, reason: EndReason) {
        self.timers.set(Timer::Viewer(id), None);
        let Some(entry) = self.viewers.remove(id) else { return };
        let seconds = entry.viewer.age(now).as_secs_f32();
        let sent = entry.viewer.stream().counters;
        let frames = sent.frames;
        if entry.target().is_none() {
            self.counters.count_end(reason, sent);
        }
        let failed = matches!(reason, EndReason::Failed | EndReason::ConnectTimeout);
        let failure = entry.viewer.failure().filter(|_| failed);
        log::info!(
            "{id} at {} is gone after {seconds:.1} s and {frames} frames: {reason}{}{}",
            entry.address(),
            failure.map_or(String::new(), |failure| format!(": {failure}")),
            entry.viewer.stream().reception
        );
        if let Some(target) = entry.target() {
            self.target_ended(now, target, reason, sent);
        }
    }

    /// After a panic: whatever it has left half done for a viewer, such as its timer, is done.
    fn recover(&mut self, now: Instant) {
        for id in self.viewers.ids() {
            self.with_viewer(now, id, |_| {});
        }
        self.update_clock(now);
    }

    fn set_addresses(&mut self, now: Instant, addresses: &[SocketAddr]) {
        self.config.addresses = addresses.to_vec();
        self.config.access.addresses = self.config.own_addresses();
        for id in self.viewers.ids() {
            let addresses = addresses_towards(self.address_of_peer(id), addresses);
            self.with_viewer(now, id, |viewer| viewer.set_addresses(now, &addresses));
        }
    }

    /// Where a viewer's request came from, or where the media server that it is was asked.
    fn address_of_peer(&self, id: ViewerId) -> Option<IpAddr> {
        match &self.viewers.get(id)?.origin {
            ViewerRole::Asked(asked) => Some(asked.peer),
            ViewerRole::Invited(target) => self.targets.address_of(*target),
        }
    }

    /// What the wall clock says, or has said, at this time.
    fn date(&self, at: Instant) -> SystemTime {
        let (wall, read_at) = self.wall_clock;
        let date = match at.checked_duration_since(read_at) {
            Some(passed) => wall.checked_add(passed),
            None => wall.checked_sub(read_at.saturating_duration_since(at)),
        };
        date.unwrap_or(wall)
    }

    fn shut_down(&mut self, now: Instant) {
        self.shutting_down = true;
        let asked = |(id, entry): (ViewerId, &ViewerEntry)| entry.asked().map(|_| id);
        let asked: Vec<ViewerId> = self.viewers.iter().filter_map(asked).collect();
        for id in asked {
            self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::Shutdown));
        }
        self.end_targets(now);
        let connections: Vec<ConnId> = self.connections.keys().copied().collect();
        for id in connections {
            let Some(entry) = self.connections.get(&id) else { continue };
            let awaiting = entry.http.awaits_response().then(|| entry.peer());
            let refusal = awaiting.map(|peer| self.refuse(now, peer, false, self.shutting_down()));
            self.with_connection(now, id, |http| {
                http.shutdown(now);
                if let Some(refusal) = refusal {
                    http.respond(refusal);
                }
            });
        }
    }
}
