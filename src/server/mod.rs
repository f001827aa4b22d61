//! The pure core: everything that happens comes in as an [`Input`], everything to be done goes out
//! as an [`Output`].
//!
//! `Server` routes inputs to connections and viewers, fans frames out, and keeps the limits. It
//! never reads a clock, opens a socket, draws entropy, starts a thread or blocks.
//!
//! The server is made of parts. Each owns its state, takes facts, and returns what they mean as values; effects
//! and deadlines go to one outbox. `changes` passes what one part returns to the others, and `requests` answers
//! requests, for which it uses all of them. Nothing else sees more than one part.
//!
//! | room | noun |
//! |---|---|
//! | [`video`] | a frame: when it is due, when it is a key frame, who gets it, when there are too many |
//! | `viewers` | the table of viewers, everything that they are found by, and their checks in flight |
//! | `http` | TCP connections, and pictures as files |
//! | `publish` | the media servers that the stream is published to |
//! | [`limits`] | limits and rates, and the client that they count for |
//! | `demux` | finds the viewer a datagram belongs to |
//! | `paths` | which of our addresses a peer is offered |
//! | `outbox`, `timers`, `secrets`, [`stats`] | effects and deadlines; credentials; what is counted |

mod changes;
mod config;
mod contract;
mod demux;
mod http;
pub mod limits;
mod outbox;
mod paths;
mod publish;
mod requests;
mod secrets;
pub mod stats;
mod timers;
pub mod video;
mod viewers;

use std::net::IpAddr;
#[cfg(feature = "testing")]
use std::net::SocketAddr;
use std::time::Instant;

pub use self::config::Config;
pub use self::contract::{ConnId, Input, Output};
use self::http::Http;
use self::limits::admission::Admission;
use self::outbox::Outbox;
use self::publish::Publishing;
use self::secrets::Secrets;
use self::stats::{DatagramCounters, Parts, Statistics};
use self::video::Video;
use self::viewers::{ViewerRole, ViewerTable};
use crate::containment::contain;
use crate::web::assets::Page;
use crate::webrtc::{AddressPair, ViewerId};

pub struct Server {
    config: Config,
    secrets: Secrets,
    page: Page,
    started: Instant,
    video: Video,
    viewers: ViewerTable,
    http: Http,
    publishing: Publishing,
    admission: Admission,
    datagrams: DatagramCounters,
    outbox: Outbox,
    is_shutting_down: bool,
}

impl Server {
    /// # Panics
    /// If `config.frames_per_second` is 0.
    pub fn new(mut config: Config, now: Instant) -> Server {
        config.access.addresses = config.own_addresses();
        let mut outbox = Outbox::new();
        let mut secrets = Secrets::new(config.entropy);
        let (frames_per_second, appearance) = (config.frames_per_second, config.appearance);
        let source = config.source(now);
        let video = Video::new(source, frames_per_second, appearance, now, &mut outbox);
        let (targets, announced) = (&config.targets, &config.announced);
        let stale = &config.stale_sessions;
        let publishing = Publishing::new(targets, announced, stale, &mut secrets, now, &mut outbox);
        Server {
            secrets,
            page: Page::new(config.title.as_deref()),
            started: now,
            video,
            viewers: ViewerTable::default(),
            http: Http::new(config.wall_clock, now),
            publishing,
            admission: Admission::new(config.limits.clone()),
            datagrams: DatagramCounters::default(),
            outbox,
            is_shutting_down: false,
            config,
        }
    }

    /// Takes in what has happened. `now` never goes back.
    ///
    /// # Panics
    /// In debug builds, if the outputs of the last input have not been polled to their end.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let drained = self.outbox.is_empty() && self.video.is_drained();
        debug_assert!(drained, "outputs are polled before the next input");
        match input {
            Input::Timeout => {}
            Input::Connected(id, peer) => self.connect(now, id, peer),
            Input::Received(id, bytes) => {
                self.with_connection(now, id, |http| http.receive(bytes));
            }
            Input::Flushed(id) => self.with_connection(now, id, |http| http.flushed(now)),
            Input::HalfClosed(id) => self.with_connection(now, id, |http| http.half_closed()),
            Input::Disconnected(id) => self.disconnect(now, id),
            Input::Datagram { source, destination, contents } => {
                let pair = AddressPair { local: destination, remote: source };
                if contain(|| self.handle_datagram(now, pair, contents)).is_err() {
                    self.datagrams.dropped += 1;
                    self.recover(now);
                }
            }
            Input::TransmitFailed { destination } => self.note_transmit_failed(destination),
            Input::Frame(frame) => self.video.handle_frame(now, &frame),
            Input::EncoderChanged(name) => self.video.set_encoder(name),
            Input::PictureLeftOut => self.video.note_left_out(),
            Input::CaptureFailed => self.video.note_capture_failed(now),
            Input::Source(event) => {
                self.video.handle_source(now, event, &mut self.outbox);
                self.follow_video(now);
            }
            Input::PictureShown => self.note_outcome(now, None),
            Input::PictureDamaged(damage) => self.note_outcome(now, Some(damage)),
            Input::Publish(id, event) => {
                self.with_target(now, id, |publisher| publisher.handle_event(now, event));
            }
            Input::Addresses(addresses) => self.set_addresses(now, addresses),
            Input::Names(names) => self.config.access.host_names = names.to_vec(),
            Input::Snapshot { width, made, cost } => self.handle_snapshot(now, width, made, cost),
            Input::WallClock(wall) => self.http.set_wall_clock(wall, now),
            Input::Shutdown => self.shut_down(now),
        }
        self.follow_demand(now);
        self.fire_timers(now);
        if cfg!(debug_assertions) {
            self.check_invariants(now);
        }
    }

    /// What is to be done, in order. `Timeout` is the last until the next input.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.outbox.pop() {
                return output;
            }
            if !self.fan_out_once() {
                return Output::Timeout(self.outbox.next_deadline());
            }
        }
    }

    /// How many of them have connected.
    pub fn watching(&self) -> usize {
        self.viewers.counts().all_watching() - self.published()
    }

    /// How many media servers have the picture.
    pub fn published(&self) -> usize {
        self.publishing.live()
    }

    /// After [`Input::Shutdown`]: whether sessions at media servers are still being deleted.
    pub fn is_unpublishing(&self) -> bool {
        self.publishing.is_unpublishing()
    }

    pub fn statistics(&self, now: Instant) -> Statistics {
        let parts = Parts {
            config: &self.config,
            started: self.started,
            datagrams: self.datagrams,
            video: &self.video,
            viewers: &self.viewers,
            http: &self.http,
            admission: &self.admission,
            publishing: &self.publishing,
        };
        Statistics::new(now, &parts)
    }

    /// What must hold between any two inputs.
    ///
    /// # Panics
    /// If it does not, which is a bug of ours, never of the network.
    pub fn check_invariants(&self, now: Instant) {
        let limits = self.admission.limits();
        self.viewers.check_invariants(limits);
        self.http.check_invariants(limits);
        assert!(self.video.clock_suits(self.audience()), "frames while a viewer watches");
        let parts = [self.viewers.len(), self.video.timers(), self.http.timers()];
        let timers = parts.iter().sum::<usize>() + self.publishing.timers();
        assert_eq!(self.outbox.timers(), timers, "one timer each");
        assert!(self.outbox.next_deadline().is_none_or(|next| next > now), "time moves on");
    }

    /// Where a viewer's offer came from, or where the media server that it is was asked.
    fn address_of_peer(&self, id: ViewerId) -> Option<IpAddr> {
        match &self.viewers.get(id)?.role {
            ViewerRole::Viewer(watcher) => Some(watcher.peer),
            ViewerRole::Publish(target) => self.publishing.address_of(*target),
        }
    }
}

/// What tests look at.
#[cfg(feature = "testing")]
impl Server {
    /// How many viewers there are, half-open ones included and media servers not.
    pub fn viewers(&self) -> usize {
        self.viewers.watchers()
    }

    /// The viewer that owns a validated remote address.
    pub fn viewer_at(&self, address: SocketAddr) -> Option<ViewerId> {
        self.viewers.at(address)
    }

    /// The names of the viewers' states, as in the statistics, media servers included.
    pub fn viewer_states(&self) -> impl Iterator<Item = (ViewerId, &'static str)> {
        self.viewers.iter().map(|(id, entry)| (id, entry.viewer.state().name()))
    }

    pub fn connections(&self) -> usize {
        self.http.connections()
    }

    /// The source in place of the ball, if there is one.
    pub fn source(&self) -> Option<&crate::source::Source> {
        self.video.source()
    }

    /// The sentence that says why there is no picture, if there is none. Everybody may read it.
    pub fn problem(&self, now: Instant) -> Option<String> {
        self.video.problem(now)
    }
}
