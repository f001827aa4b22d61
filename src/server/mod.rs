//! The pure core: everything that happens comes in as an [`Input`], everything to be done goes out
//! as an [`Output`].
//!
//! `Server` routes inputs to connections and viewers, finds viewers by address and then by our own
//! ICE user fragment, fans frames out, and keeps the limits. It never reads a clock, opens a
//! socket, draws entropy, starts a thread or blocks.

pub mod admission;
pub mod frame_clock;
mod keyframes;
mod timers;

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use is::stun::StunMessage;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use str0m::IceCreds;
use str0m::config::{CryptoProvider, DtlsCert};

use crate::http::{self, Head, Method, Request, Response};
use crate::media::{Codec, Frame};
use crate::sdp::offer::{self, Offer, OfferError};
use crate::server::admission::{Limits, RateLimit};
use crate::server::frame_clock::FrameClock;
use crate::server::keyframes::Keyframes;
use crate::server::timers::Schedule;
use crate::web::auth::{self, Lock, Token};
use crate::web::routes::{self, Hosts, Route};
use crate::web::whep;
use crate::webrtc::payload::Packets;
use crate::webrtc::viewer::{Effect, Viewer, ViewerId};
use crate::webrtc::{AddressPair, EndReason, LocalParameters, State, Transmit, resend_packets};

/// A TCP connection. The driver mints one for each that it accepts and never uses it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// What the server is made of.
pub struct Config {
    /// From the operating system's generator. All credentials come from it.
    pub entropy: [u8; 32],
    /// What str0m computes with.
    pub crypto: Arc<CryptoProvider>,
    /// The process's own certificate, for all viewers.
    pub certificate: DtlsCert,
    /// The UDP addresses that datagrams come from and go to.
    pub addresses: Vec<SocketAddr>,
    pub hosts: Hosts,
    /// What viewers have to know, if anything.
    pub token: Option<Token>,
    pub limits: Limits,
    pub frames_per_second: u32,
    /// What the stream is held to, in bits per second, if anything.
    pub bitrate: Option<u32>,
    /// Whether pictures carry their capture time, for the page to know.
    pub stamped: bool,
    /// The wall clock at the start.
    pub wall_clock: SystemTime,
}

/// Facts. They borrow.
#[derive(Debug)]
pub enum Input<'a> {
    /// Only time has passed.
    Timeout,
    /// A TCP connection was accepted.
    Connected(ConnId, SocketAddr),
    Received(ConnId, &'a [u8]),
    /// All that was sent on the connection has been taken by the kernel.
    Flushed(ConnId),
    /// The peer will send no more, but may still read.
    HalfClosed(ConnId),
    /// The connection is gone, and the driver has let go of it.
    Disconnected(ConnId),
    /// `destination` is one of the configured addresses.
    Datagram {
        source: SocketAddr,
        destination: SocketAddr,
        contents: &'a [u8],
    },
    /// A datagram for `destination` could not be sent.
    TransmitFailed {
        destination: SocketAddr,
    },
    /// One encoded access unit.
    Frame(Frame),
    /// No frame comes of a capture: the source is broken, or not there.
    CaptureFailed,
    /// The host's addresses have changed to these.
    Addresses(&'a [SocketAddr]),
    /// The wall clock was set.
    WallClock(SystemTime),
    /// Say goodbye to everybody.
    Shutdown,
}

/// Effects. They own.
#[derive(Debug)]
pub enum Output {
    Send(ConnId, Cow<'static, [u8]>),
    /// After what was sent: send no more, but go on reading.
    Finish(ConnId),
    /// Let go of the connection now.
    Close(ConnId),
    Transmit(Transmit),
    /// Make the codec's next frame a key frame.
    ForceKeyframe(Codec),
    /// Take a picture, encode it in each of these codecs, and bring each as [`Input::Frame`].
    Capture(Vec<Codec>),
    /// Nothing more for now: come back then, or when something happens. `None` is for ever.
    Timeout(Option<Instant>),
}

/// The addresses that one viewer may be reached at, kept for finding it. A phone that changes
/// networks uses a few.
const ADDRESSES_PER_VIEWER: usize = 8;
/// 90 kHz, the RTP clock of all video (RFC 6184, section 8.1).
const RTP_CLOCK_HZ: u128 = 90_000;
/// A source that has failed may be back after this long; somebody has to watch for that to be tried.
const SOURCE_AWAY: Duration = Duration::from_secs(2);
/// What a refused client is told to wait when it is not known better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The header with a page's name, which it has drawn at random.
const PAGE: &str = "ballcast-page";
/// A longer name is none.
const MAX_PAGE_NAME_BYTES: usize = 64;

/// Refusals of one address that are logged; all are counted.
const REFUSAL_LINES_PER_SECOND: u32 = 1;
/// Wrong tokens of one address that are looked at, one after the other, and how long until one more
/// is.
const WRONG_TOKENS: u32 = 5;
const WRONG_TOKEN_INTERVAL: Duration = Duration::from_secs(12);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Frame,
    Viewer(ViewerId),
    Connection(ConnId),
}

struct Connection {
    http: http::Connection,
    peer: SocketAddr,
    last_used: Instant,
}

struct Seat {
    viewer: Viewer,
    /// Where its offer came from; the caps count by it.
    client: IpAddr,
    ufrag: String,
    /// If it came by WHEP.
    session: Option<Session>,
    /// The name of the page that it is.
    page: Option<String>,
    /// Whose offers are its own.
    connection: offer::Connection,
    /// Addresses that proved themselves by an authenticated check, oldest first.
    addresses: Vec<SocketAddr>,
    /// What the schedule has for it.
    deadline: Option<Instant>,
}

/// A viewer as a resource of WHEP.
struct Session {
    /// What its URL ends with, 128 random bits.
    key: String,
    /// Changes with each ICE restart.
    etag: String,
    /// Of the video.
    mid: String,
}

/// How many viewers there are of a kind, so that nobody has to look at all of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Census {
    /// By codec.
    watching: [usize; Codec::ALL.len()],
    half_open: usize,
}

impl Census {
    fn add(&mut self, viewer: &Viewer) {
        self.watching[viewer.codec() as usize] += usize::from(viewer.is_watching());
        self.half_open += usize::from(viewer.state() == State::HalfOpen);
    }

    fn remove(&mut self, viewer: &Viewer) {
        self.watching[viewer.codec() as usize] -= usize::from(viewer.is_watching());
        self.half_open -= usize::from(viewer.state() == State::HalfOpen);
    }

    fn is_watched(&self, codec: Codec) -> bool {
        self.watching[codec as usize] > 0
    }

    fn somebody_watches(&self) -> bool {
        self.watching.iter().any(|watching| *watching > 0)
    }
}

/// A frame on its way to the viewers, in the order of their ids. One viewer's packets are made when
/// those of the one before it are sent: what is under way never takes much memory.
struct FanOut {
    now: Instant,
    frame: Packets,
    next: ViewerId,
    /// Somebody watches, and did not get the frame.
    missed: bool,
}

#[derive(Debug, Default)]
struct Counters {
    frames_captured: u64,
    keyframes: u64,
    encode_total: Duration,
    encode_max: Duration,
    viewers_served: u64,
    datagrams_dropped: u64,
    transmits_failed: u64,
    refusals: BTreeMap<&'static str, u64>,
}

pub struct Server {
    config: Config,
    random: ChaCha20Rng,
    started: Instant,
    /// The wall clock and the moment it was read.
    wall_clock: (SystemTime, Instant),
    connections: BTreeMap<ConnId, Connection>,
    viewers: BTreeMap<ViewerId, Seat>,
    census: Census,
    /// How many viewers each address has.
    by_client: BTreeMap<IpAddr, usize>,
    by_address: BTreeMap<SocketAddr, ViewerId>,
    by_ufrag: BTreeMap<String, ViewerId>,
    by_session: BTreeMap<String, ViewerId>,
    by_page: BTreeMap<String, ViewerId>,
    by_connection: BTreeMap<offer::Connection, ViewerId>,
    next_viewer: u64,
    offers: RateLimit,
    refusal_lines: RateLimit,
    wrong_tokens: RateLimit,
    clock: FrameClock,
    /// By codec.
    keyframes: [Keyframes; Codec::ALL.len()],
    fan_out: Option<FanOut>,
    /// When the source has failed, if there was no frame since.
    source_failed: Option<Instant>,
    schedule: Schedule<Timer>,
    outbox: VecDeque<Output>,
    shutting_down: bool,
    counters: Counters,
}

impl Server {
    pub fn new(config: Config, now: Instant) -> Server {
        Server {
            random: ChaCha20Rng::from_seed(config.entropy),
            started: now,
            wall_clock: (config.wall_clock, now),
            connections: BTreeMap::new(),
            viewers: BTreeMap::new(),
            census: Census::default(),
            by_client: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_ufrag: BTreeMap::new(),
            by_session: BTreeMap::new(),
            by_page: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            next_viewer: 1,
            offers: RateLimit::per_second(config.limits.offers_per_second),
            refusal_lines: RateLimit::per_second(REFUSAL_LINES_PER_SECOND),
            wrong_tokens: RateLimit::new(WRONG_TOKENS, WRONG_TOKEN_INTERVAL),
            clock: FrameClock::new(config.frames_per_second),
            keyframes: Default::default(),
            fan_out: None,
            source_failed: None,
            schedule: Schedule::new(),
            outbox: VecDeque::new(),
            shutting_down: false,
            counters: Counters::default(),
            config,
        }
    }

    /// Takes in what has happened. `now` never goes back. The outputs of the last input must have
    /// been polled to their end.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let drained = self.outbox.is_empty() && self.fan_out.is_none();
        debug_assert!(drained, "outputs are polled before the next input");
        match input {
            Input::Timeout => {}
            Input::Connected(id, peer) => self.connected(now, id, peer),
            Input::Received(id, bytes) => {
                self.with_connection(now, id, |http| http.receive(bytes));
            }
            Input::Flushed(id) => self.with_connection(now, id, |http| http.flushed(now)),
            Input::HalfClosed(id) => self.with_connection(now, id, |http| http.half_closed()),
            Input::Disconnected(id) => self.forget_connection(id),
            Input::Datagram { source, destination, contents } => {
                self.datagram(now, source, destination, contents);
            }
            Input::TransmitFailed { destination } => self.transmit_failed(destination),
            Input::Frame(frame) => self.frame(now, &frame),
            Input::CaptureFailed => self.source_failed = Some(now),
            Input::Addresses(addresses) => self.config.addresses = addresses.to_vec(),
            Input::WallClock(wall) => self.wall_clock = (wall, now),
            Input::Shutdown => self.shutdown(now),
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
            let Some(fan_out) = self.fan_out.take() else {
                return Output::Timeout(self.schedule.next());
            };
            self.fan_out = self.send_to_next(fan_out);
        }
    }

    /// How many viewers there are, half-open ones included.
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// Whose an address is that has proved itself.
    pub fn viewer_at(&self, address: SocketAddr) -> Option<ViewerId> {
        self.by_address.get(&address).copied()
    }

    /// The names of the viewers' states, as in the statistics.
    pub fn viewer_states(&self) -> impl Iterator<Item = (ViewerId, &'static str)> {
        self.viewers.iter().map(|(id, seat)| (*id, seat.viewer.state().name()))
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What must hold between any two inputs. A violation is a bug of ours, never of the network.
    pub fn check_invariants(&self, now: Instant) {
        let Server { viewers, connections, .. } = self;
        let limits = &self.config.limits;
        assert!(viewers.len() <= limits.viewers);
        let mut census = Census::default();
        viewers.values().for_each(|seat| census.add(&seat.viewer));
        assert_eq!(self.census, census);
        assert_eq!(self.by_client.values().sum::<usize>(), viewers.len());
        assert!(self.census.half_open <= limits.half_open);
        assert!(connections.len() <= limits.connections);
        assert_eq!(self.by_ufrag.len(), viewers.len());
        let sessions = viewers.values().filter(|seat| seat.session.is_some()).count();
        assert_eq!(self.by_session.len(), sessions);
        let pages = viewers.values().filter(|seat| seat.page.is_some()).count();
        assert_eq!(self.by_page.len(), pages, "one page is one viewer");
        assert!(self.by_connection.values().all(|id| viewers.contains_key(id)));
        let known = viewers.values().map(|seat| seat.addresses.len()).sum::<usize>();
        assert_eq!(self.by_address.len(), known);
        for (address, id) in &self.by_address {
            assert!(viewers[id].addresses.contains(address));
        }
        let watching = self.census.somebody_watches();
        assert_eq!(self.clock.deadline().is_some(), watching, "frames while somebody watches");
        assert!(viewers.values().all(|seat| seat.viewer.end_reason().is_none()));
        let timers = viewers.len() + connections.len() + usize::from(watching);
        assert_eq!(self.schedule.len(), timers, "one timer each");
        assert!(self.schedule.next().is_none_or(|next| next > now), "time moves on");
    }

    fn fire_timers(&mut self, now: Instant) {
        let mut frame_due = false;
        while let Some(timer) = self.schedule.take_due(now) {
            match timer {
                // After the others, one of which may be the end of the last viewer.
                Timer::Frame => frame_due = true,
                Timer::Viewer(id) => {
                    if let Some(seat) = self.viewers.get_mut(&id) {
                        seat.deadline = None;
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
            }
        }
        if frame_due {
            self.tick(now);
        }
    }
}

/// Frames.
impl Server {
    fn tick(&mut self, now: Instant) {
        if self.clock.tick(now) {
            let codecs = Codec::ALL.into_iter().filter(|codec| self.census.is_watched(*codec));
            let codecs: Vec<Codec> = codecs.collect();
            for codec in &codecs {
                if self.keyframes[*codec as usize].take(now) {
                    self.outbox.push_back(Output::ForceKeyframe(*codec));
                }
            }
            self.outbox.push_back(Output::Capture(codecs));
        }
        self.schedule.set(Timer::Frame, self.clock.deadline());
    }

    /// Starts the frame clock when the first viewer watches, and stops it after the last.
    fn settle_clock(&mut self, now: Instant) {
        if self.census.somebody_watches() {
            self.clock.start(now);
        } else {
            self.clock.stop();
        }
        self.schedule.set(Timer::Frame, self.clock.deadline());
    }

    fn frame(&mut self, now: Instant, frame: &Frame) {
        self.source_failed = None;
        let counters = &mut self.counters;
        counters.frames_captured += 1;
        counters.keyframes += u64::from(frame.is_keyframe());
        counters.encode_total += frame.cost;
        counters.encode_max = counters.encode_max.max(frame.cost);

        let timestamp = self.rtp_time(frame.captured);
        let frame = Packets::new(frame, timestamp);
        self.fan_out = Some(FanOut { now, frame, next: ViewerId(0), missed: false });
    }

    /// Sends a frame to one viewer; what is left to do then.
    fn send_to_next(&mut self, mut fan_out: FanOut) -> Option<FanOut> {
        let FanOut { now, frame, next, missed } = &mut fan_out;
        let mut rest = self.viewers.range(*next..);
        let Some((&id, _)) = rest.find(|(_, seat)| seat.viewer.codec() == frame.codec) else {
            // The source may have been late with a key frame, or a viewer have lost one on our side.
            if *missed {
                self.keyframes[frame.codec as usize].request();
            }
            return None;
        };
        *next = ViewerId(id.0 + 1);
        self.with_viewer(*now, id, |viewer| {
            viewer.write(*now, frame);
            *missed |= viewer.awaits_keyframe();
        });
        Some(fan_out)
    }

    fn rtp_time(&self, captured: Instant) -> u32 {
        let since_start = captured.saturating_duration_since(self.started);
        (since_start.as_nanos() * RTP_CLOCK_HZ / 1_000_000_000) as u32
    }
}

/// Viewers.
impl Server {
    /// Changes a viewer, then does what it wants and sets its timer; an ended one is let go.
    fn with_viewer(&mut self, now: Instant, id: ViewerId, change: impl FnOnce(&mut Viewer)) {
        let Some(seat) = self.viewers.get_mut(&id) else {
            return;
        };
        let watched = seat.viewer.is_watching();
        let keyframes = &mut self.keyframes[seat.viewer.codec() as usize];
        self.census.remove(&seat.viewer);
        change(&mut seat.viewer);
        self.census.add(&seat.viewer);
        let mut connected = false;
        while let Some(effect) = seat.viewer.poll_effect() {
            match effect {
                Effect::Transmit(transmit) => self.outbox.push_back(Output::Transmit(transmit)),
                Effect::Connected => connected = true,
                Effect::KeyframeRequested => keyframes.request(),
            }
        }
        let watches = seat.viewer.is_watching();
        if connected {
            log::info!("{id} is live at {}", remote_name(seat));
            keyframes.viewer_joined();
            self.counters.viewers_served += 1;
        } else if watches && !watched {
            log::info!("{id} is back");
            keyframes.request();
        } else if watched && !watches && seat.viewer.end_reason().is_none() {
            log::info!("{id} is silent, nothing is sent to it");
        }
        match seat.viewer.end_reason() {
            Some(ending) => self.release(now, id, ending),
            None => {
                let deadline = seat.viewer.poll_timeout();
                // A frame changes no deadline, and comes to many viewers.
                if deadline != seat.deadline {
                    seat.deadline = deadline;
                    self.schedule.set(Timer::Viewer(id), deadline);
                }
            }
        }
        if watched != watches {
            self.settle_clock(now);
        }
    }

    fn release(&mut self, now: Instant, id: ViewerId, ending: EndReason) {
        self.schedule.set(Timer::Viewer(id), None);
        let Some(seat) = self.viewers.remove(&id) else {
            return;
        };
        self.by_ufrag.remove(&seat.ufrag);
        if let Some(session) = &seat.session {
            self.by_session.remove(&session.key);
        }
        if let Some(page) = &seat.page {
            self.by_page.remove(page);
        }
        // Another may have taken its name since.
        if self.by_connection.get(&seat.connection) == Some(&id) {
            self.by_connection.remove(&seat.connection);
        }
        if let Entry::Occupied(mut count) = self.by_client.entry(seat.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        for address in &seat.addresses {
            self.by_address.remove(address);
        }
        let seconds = seat.viewer.age(now).as_secs_f32();
        let frames = seat.viewer.counters().frames;
        log::info!(
            "{id} at {} is gone after {seconds:.1} s and {frames} frames: {ending}{}",
            remote_name(&seat),
            seat.viewer.reception()
        );
    }

    fn datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        contents: &[u8],
    ) {
        let pair = AddressPair { local: destination, remote: source };
        // The first byte tells what it is (RFC 7983, section 7), the second RTCP from RTP (RFC 5761,
        // section 4), which no viewer sends.
        let recipient = match contents {
            [0..=3, ..] => self.stun(now, pair, contents),
            [20..=63, ..] | [128..=191, 192..=223, ..] => self.viewer_at(source).inspect(|id| {
                self.with_viewer(now, *id, |viewer| {
                    viewer.handle_datagram(now, pair, contents);
                });
            }),
            _ => None,
        };
        if recipient.is_none() {
            self.counters.datagrams_dropped += 1;
        }
    }

    /// Who a STUN message is for: a binding request names the viewer by our user fragment and must
    /// prove that it may, anything else comes from an address that has proved itself before.
    fn stun(&mut self, now: Instant, pair: AddressPair, contents: &[u8]) -> Option<ViewerId> {
        let message = StunMessage::parse(contents).ok()?;
        let known = self.viewer_at(pair.remote);
        let id = if message.is_binding_request() {
            *self.by_ufrag.get(message.split_username()?.0)?
        } else {
            known?
        };
        let viewer = &self.viewers[&id].viewer;
        if !viewer.authenticates(now, pair.local, contents) {
            return None;
        }
        let answers = message.is_successful_binding_response();
        if answers && viewer.has_moved(now, pair.remote) {
            self.with_viewer(now, id, |viewer| viewer.drop_selected_pair(now));
        }
        if known != Some(id) {
            self.learn_address(pair.remote, id);
        }
        self.with_viewer(now, id, |viewer| viewer.handle_stun(now, pair, contents));
        Some(id)
    }

    fn learn_address(&mut self, address: SocketAddr, id: ViewerId) {
        if let Some(before) = self.by_address.insert(address, id)
            && let Some(seat) = self.viewers.get_mut(&before)
        {
            seat.addresses.retain(|known| *known != address);
        }
        let Some(seat) = self.viewers.get_mut(&id) else {
            return;
        };
        seat.addresses.push(address);
        if seat.addresses.len() > ADDRESSES_PER_VIEWER {
            let oldest = seat.addresses.remove(0);
            self.by_address.remove(&oldest);
        }
    }

    fn transmit_failed(&mut self, destination: SocketAddr) {
        self.counters.transmits_failed += 1;
        let id = self.by_address.get(&destination);
        if let Some(seat) = id.and_then(|id| self.viewers.get_mut(id)) {
            seat.viewer.shut_gate();
            self.keyframes[seat.viewer.codec() as usize].request();
        }
    }

    fn shutdown(&mut self, now: Instant) {
        self.shutting_down = true;
        let viewers: Vec<ViewerId> = self.viewers.keys().copied().collect();
        for id in viewers {
            self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::Shutdown));
        }
        let connections: Vec<ConnId> = self.connections.keys().copied().collect();
        for id in connections {
            self.with_connection(now, id, |http| http.shutdown(now));
        }
    }
}

/// HTTP.
impl Server {
    fn connected(&mut self, now: Instant, id: ConnId, peer: SocketAddr) {
        let limits = &self.config.limits;
        let of_peer = |c: &&Connection| c.peer.ip() == peer.ip();
        let from_address = self.connections.values().filter(of_peer).count();
        let full = self.connections.len() >= limits.connections;
        if from_address >= limits.connections_per_address || full && !self.close_oldest_idle() {
            self.count_refusal(now, "connections", peer);
            let sentence = "Too many connections. Close some tabs, or try again in a moment.";
            let refusal = Response::problem(503, "connections", sentence).retry_after(RETRY_AFTER);
            let farewell = refusal.into_farewell(self.date(now));
            let outputs = [Output::Send(id, farewell), Output::Finish(id), Output::Close(id)];
            return self.outbox.extend(outputs);
        }
        let http = http::Connection::new(now);
        self.schedule.set(Timer::Connection(id), http.poll_timeout());
        self.connections.insert(id, Connection { http, peer, last_used: now });
    }

    fn close_oldest_idle(&mut self) -> bool {
        let idle = self.connections.iter().filter(|(_, c)| c.http.is_idle());
        let Some((&id, _)) = idle.min_by_key(|(_, c)| c.last_used) else {
            return false;
        };
        self.forget_connection(id);
        self.outbox.push_back(Output::Close(id));
        true
    }

    fn forget_connection(&mut self, id: ConnId) {
        self.schedule.set(Timer::Connection(id), None);
        self.connections.remove(&id);
    }

    /// Changes a connection, then answers what it asks and does what it wants.
    fn with_connection(
        &mut self,
        now: Instant,
        id: ConnId,
        change: impl FnOnce(&mut http::Connection),
    ) {
        // Out of the table while it is served: an answer is made by the whole server.
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        connection.last_used = now;
        change(&mut connection.http);
        while let Some(event) = self.poll_connection(now, &mut connection) {
            match event {
                http::Event::Request(request) => {
                    let response = self.respond(now, connection.peer, &request);
                    connection.http.respond(response);
                }
                http::Event::Refused(reason) => self.count_refusal(now, reason, connection.peer),
                http::Event::Send(bytes) => self.outbox.push_back(Output::Send(id, bytes)),
                http::Event::Finish => self.outbox.push_back(Output::Finish(id)),
                http::Event::Close => {
                    self.outbox.push_back(Output::Close(id));
                    self.schedule.set(Timer::Connection(id), None);
                    return;
                }
            }
        }
        self.schedule.set(Timer::Connection(id), connection.http.poll_timeout());
        self.connections.insert(id, connection);
    }

    fn poll_connection(&self, now: Instant, connection: &mut Connection) -> Option<http::Event> {
        let peer = connection.peer.ip();
        let admit = |head: &Head| {
            let addresses: Vec<IpAddr> = self.config.addresses.iter().map(|a| a.ip()).collect();
            let wait = || self.wrong_tokens.wait(peer, now);
            let lock = self.config.token.as_ref().map(|token| Lock { token, wait: wait() });
            routes::admit(head, &self.config.hosts, &addresses, lock)
        };
        connection.http.poll(&http::Context { now, date: self.date(now), admit: &admit })
    }

    fn date(&self, now: Instant) -> SystemTime {
        let (wall, read_at) = self.wall_clock;
        let passed = now.saturating_duration_since(read_at);
        wall.checked_add(passed).unwrap_or(wall)
    }

    fn respond(&mut self, now: Instant, peer: SocketAddr, request: &Request) -> Response {
        let response = match routes::route(&request.head) {
            Ok(Route::Asset(asset)) => routes::asset(asset, &request.head),
            Ok(Route::Offer) => self.offer(now, peer, request).unwrap_or_else(|refusal| refusal),
            Ok(Route::Whep) => self.whep(now, peer, request).unwrap_or_else(|refusal| refusal),
            Ok(Route::WhepSession(key)) => {
                self.whep_session(now, key, request).unwrap_or_else(|refusal| refusal)
            }
            Ok(Route::Stats) => json_response(&self.stats(now)),
            Ok(Route::Server) => routes::server_options(),
            Err(refusal) => refusal,
        };
        routes::share(&request.head, &self.config.hosts, response)
    }

    /// The page's own way: JSON in, JSON out. A page that says its name, and has made a connection
    /// anew, has given up the viewer that it was before: one that never connected, or left without
    /// being heard.
    fn offer(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        request: &Request,
    ) -> Result<Response, Response> {
        let offer = offer_of(&request.body)?;
        if let Some(sdp) = self.renegotiate(now, &offer) {
            return Ok(answer_response(&sdp));
        }
        let page = request.head.header(PAGE).filter(|name| name.len() <= MAX_PAGE_NAME_BYTES);
        if let Some(id) = page.and_then(|name| self.by_page.get(name)).copied() {
            self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::PeerClosed));
        }
        self.admit_viewer(now, peer.ip())?;
        let (id, sdp) = self.seat(now, peer, &offer)?;
        if let (Some(page), Some(seat)) = (page, self.viewers.get_mut(&id)) {
            seat.page = Some(page.to_owned());
            self.by_page.insert(page.to_owned(), id);
        }
        Ok(answer_response(&sdp))
    }

    /// The answer to a further offer of a connection that is a viewer already.
    fn renegotiate(&mut self, now: Instant, offer: &Offer) -> Option<String> {
        let id = *self.by_connection.get(&offer.connection)?;
        let seat = self.viewers.get(&id).filter(|seat| seat.viewer.matches_format(offer))?;
        if !seat.viewer.has_remote_credentials(&offer.peer.credentials) {
            self.restart_ice(now, id, offer.peer.credentials.clone());
        }
        let seat = self.viewers.get_mut(&id)?;
        Some(seat.viewer.answer_to(offer))
    }

    fn whep(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        request: &Request,
    ) -> Result<Response, Response> {
        match request.head.method {
            Method::Post => {}
            Method::Options => return Ok(whep::options(whep::ENDPOINT_METHODS)),
            _ => return Ok(whep::presence()),
        }
        let malformed = |_| OfferError::Malformed("it is not text in UTF-8".into());
        let sdp = str::from_utf8(&request.body).map_err(malformed);
        let offer = sdp.and_then(Offer::parse).map_err(|error| offer_refusal(&error))?;
        self.admit_viewer(now, peer.ip())?;
        let (id, sdp) = self.seat(now, peer, &offer)?;
        let (key, etag) = (self.hexadecimal(16), self.etag());
        let mid = offer.video().mid.clone().unwrap_or_default();
        let response = whep::created(&key, &etag, sdp);
        self.by_session.insert(key.clone(), id);
        if let Some(seat) = self.viewers.get_mut(&id) {
            seat.session = Some(Session { key, etag, mid });
        }
        Ok(response)
    }

    fn whep_session(
        &mut self,
        now: Instant,
        key: &str,
        request: &Request,
    ) -> Result<Response, Response> {
        let id = *self.by_session.get(key).ok_or_else(whep::no_session)?;
        match request.head.method {
            Method::Patch => self.change_session(now, id, request),
            Method::Delete => {
                self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::PeerClosed));
                Ok(Response::new(200))
            }
            Method::Options => Ok(whep::options(whep::SESSION_METHODS)),
            _ => Ok(whep::presence()),
        }
    }

    /// Trickle ICE, which tells us nothing that we need, or an ICE restart.
    fn change_session(
        &mut self,
        now: Instant,
        id: ViewerId,
        request: &Request,
    ) -> Result<Response, Response> {
        let etag = self.etag();
        let Some(seat) = self.viewers.get_mut(&id) else { return Err(whep::no_session()) };
        let Some(session) = &mut seat.session else { return Err(whep::no_session()) };
        whep::check_match(&request.head, &session.etag)?;
        let remote = whep::read_fragment(&request.body)?;
        let Some(remote) = remote.filter(|remote| !seat.viewer.has_remote_credentials(remote))
        else {
            return Ok(Response::new(204));
        };
        session.etag.clone_from(&etag);
        let mid = session.mid.clone();
        self.restart_ice(now, id, remote);
        let Some(seat) = self.viewers.get(&id) else { return Err(whep::no_session()) };
        Ok(whep::restarted(&etag, &mid, &seat.viewer))
    }

    /// Begins ICE anew, with credentials of the viewer's and new ones of ours.
    fn restart_ice(&mut self, now: Instant, id: ViewerId, remote: IceCreds) {
        let local = self.ice_credentials();
        let Some(seat) = self.viewers.get_mut(&id) else { return };
        self.by_ufrag.remove(&seat.ufrag);
        self.by_ufrag.insert(local.ufrag.clone(), id);
        seat.ufrag.clone_from(&local.ufrag);
        log::info!("{id} begins ICE anew");
        self.with_viewer(now, id, |viewer| viewer.restart_ice(now, local, remote));
    }

    /// An offer in, an answer out, and a viewer more.
    fn seat(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        offer: &Offer,
    ) -> Result<(ViewerId, String), Response> {
        let credentials = self.ice_credentials();
        let ufrag = credentials.ufrag.clone();
        let local = LocalParameters {
            crypto: &self.config.crypto,
            certificate: &self.config.certificate,
            credentials,
            addresses: &self.config.addresses,
            random: std::array::from_fn(|_| self.random.next_u32()),
            resend_packets: resend_packets(self.config.bitrate.unwrap_or(0)),
        };
        let answered = Viewer::answer(offer, local, now);
        let (viewer, sdp) = answered.map_err(|error| offer_refusal(&error))?;
        let id = ViewerId(self.next_viewer);
        self.next_viewer += 1;
        log::info!("{id} asks from {}", peer.ip());
        self.by_ufrag.insert(ufrag.clone(), id);
        self.census.add(&viewer);
        *self.by_client.entry(peer.ip()).or_default() += 1;
        let client = peer.ip();
        let addresses = Vec::new();
        let connection = offer.connection.clone();
        self.by_connection.insert(connection.clone(), id);
        let seat = Seat {
            viewer,
            client,
            ufrag,
            session: None,
            page: None,
            connection,
            addresses,
            deadline: None,
        };
        self.viewers.insert(id, seat);
        self.with_viewer(now, id, |_| {});
        Ok((id, sdp))
    }

    /// From the generator of all our secrets.
    fn ice_credentials(&mut self) -> IceCreds {
        IceCreds { ufrag: self.ice_characters(8), pass: self.ice_characters(24) }
    }

    fn hexadecimal(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| format!("{:02x}", self.random.next_u32() as u8)).collect()
    }

    /// A strong one (RFC 9110, section 8.8.3).
    fn etag(&mut self) -> String {
        format!("\"{}\"", self.hexadecimal(8))
    }

    /// Whether there is room for one more viewer from `client`.
    fn admit_viewer(&mut self, now: Instant, client: IpAddr) -> Result<(), Response> {
        let limits = &self.config.limits;
        let busy = |reason, wait: Duration, sentence: &str| {
            Err(Response::problem(503, reason, sentence).retry_after(wait))
        };
        if self.shutting_down {
            return busy("shutting-down", RETRY_AFTER, "The server is about to end.");
        }
        if self.source_failed.is_some_and(|failed| now < failed + SOURCE_AWAY) {
            let sentence = "There is no picture: the camera or the encoder on the device has \
                            failed. Its log says why.";
            return Err(Response::problem(409, "no-source", sentence).retry_after(RETRY_AFTER));
        }
        if self.viewers.len() >= limits.viewers {
            let sentence = format!(
                "All places ({}) are taken (--max-viewers). Try again when somebody has left.",
                limits.viewers
            );
            return busy("viewers", RETRY_AFTER, &sentence);
        }
        if self.by_client.get(&client).is_some_and(|count| *count >= limits.viewers_per_address) {
            let sentence = format!(
                "Your address has {} viewers already (--max-viewers-per-address). Close a tab.",
                limits.viewers_per_address
            );
            return busy("viewers-per-address", RETRY_AFTER, &sentence);
        }
        if self.census.half_open >= limits.half_open {
            let sentence = "Too many browsers are connecting at once. Try again in a moment.";
            return busy("half-open-viewers", RETRY_AFTER, sentence);
        }
        if let Err(wait) = self.offers.take(client, now) {
            let sentence = "Your address asks too often (--max-offers-per-second).";
            return busy("offer-rate", wait, sentence);
        }
        Ok(())
    }

    /// Characters of ICE (RFC 8839, section 5.4), 6 random bits each.
    fn ice_characters(&mut self, count: usize) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bytes = vec![0; count];
        self.random.fill_bytes(&mut bytes);
        let characters = bytes.iter().map(|byte| ALPHABET[usize::from(byte & 63)]);
        characters.map(char::from).collect()
    }

    fn count_refusal(&mut self, now: Instant, reason: &'static str, peer: SocketAddr) {
        *self.counters.refusals.entry(reason).or_default() += 1;
        if reason == auth::WRONG {
            let _ = self.wrong_tokens.take(peer.ip(), now);
        }
        if self.refusal_lines.take(peer.ip(), now).is_ok() {
            log::info!("refused {}: {reason}", peer.ip());
        }
    }

    fn stats(&self, now: Instant) -> Value {
        let viewers: Vec<Value> =
            self.viewers.iter().map(|(id, seat)| viewer_stats(*id, seat, now)).collect();
        let counters = &self.counters;
        let frames = counters.frames_captured.max(1) as f64;
        json!({
            "uptime_s": now.saturating_duration_since(self.started).as_secs_f64(),
            "stamp": self.config.stamped,
            "frames_per_second": self.config.frames_per_second,
            "frames": counters.frames_captured,
            "keyframes": counters.keyframes,
            "encode_mean_ms": counters.encode_total.as_secs_f64() * 1e3 / frames,
            "encode_max_ms": counters.encode_max.as_secs_f64() * 1e3,
            "viewers": viewers,
            "viewers_served": counters.viewers_served,
            // The one that asks is not in the table while it is served.
            "connections": self.connections.len() + 1,
            "datagrams_dropped": counters.datagrams_dropped,
            "transmits_failed": counters.transmits_failed,
            "refusals": counters.refusals,
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn viewer_stats(id: ViewerId, seat: &Seat, now: Instant) -> Value {
    let counters = seat.viewer.counters();
    let reception = seat.viewer.reception();
    json!({
        "id": id.0,
        "state": seat.viewer.state().name(),
        "codec": seat.viewer.codec().name(),
        "address": remote_name(seat),
        "age_s": seat.viewer.age(now).as_secs_f64(),
        "frames_sent": counters.frames,
        "packets_sent": counters.packets,
        "keyframes_sent": counters.keyframes,
        "keyframe_requests": counters.keyframe_requests,
        "packets_resent": counters.resends,
        "drops": counters.drops,
        "round_trip_ms": reception.round_trip.map(milliseconds),
        "loss": reception.loss,
        "jitter_ms": reception.jitter.map(milliseconds),
    })
}

/// Where a viewer gets its media, or where its offer came from as long as that is not known.
fn remote_name(seat: &Seat) -> String {
    match seat.viewer.remote() {
        Some(address) => address.to_string(),
        None => seat.client.to_string(),
    }
}

fn json_response(value: &Value) -> Response {
    Response::new(200)
        .with_body("application/json", value.to_string().into_bytes())
        .with_header("Cache-Control", "no-store")
}

fn answer_response(sdp: &str) -> Response {
    json_response(&json!({"type": "answer", "sdp": sdp}))
}

fn offer_of(body: &[u8]) -> Result<Offer, Response> {
    let malformed = |sentence: &str| Response::problem(400, "offer-malformed", sentence);
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(&format!("The body is not JSON: {error}.")))?;
    if value["type"] != "offer" {
        return Err(malformed("The field type must be \"offer\"."));
    }
    let Some(sdp) = value["sdp"].as_str() else {
        return Err(malformed("The field sdp must be a string with the offer's SDP."));
    };
    Offer::parse(sdp).map_err(|error| offer_refusal(&error))
}

fn offer_refusal(error: &OfferError) -> Response {
    let (status, reason) = match error {
        OfferError::Malformed(_) => (400, "offer-malformed"),
        OfferError::NoVideo => (422, "no-video"),
        OfferError::NotReceiving => (422, "video-not-receiving"),
        OfferError::NoCodec(_) => (422, "no-codec"),
    };
    Response::problem(status, reason, &error.to_string())
}
