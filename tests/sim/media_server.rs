//! The media servers that the stream is published to: each is str0m behind an HTTP server that reads
//! and writes bytes, with everything that goes wrong with names, connections, responses and media.

mod options;
mod replies;
mod reply;
mod request;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ballcast::testing::foreign::Foreign;
use ballcast::testing::http::Url;
use ballcast::testing::media::Codec;
use ballcast::testing::publish::{BearerToken, PublishCause, PublishFailure, Target, TargetId};
use fastrand::Rng;

pub use self::options::TargetOptions;
pub use self::reply::{Head, Reply};
pub use self::request::Request;
use crate::link::{Arrival, Conditions, Link};
use crate::tally::{Fault, Happening, Tally};
use crate::viewer::Viewer;

/// Is in every token, and nowhere else.
pub const TOKEN_MARK: &str = "t0ken";
/// Is in the path and the query of every URL, which may be secrets, too.
pub const SECRET_MARK: &str = "s3cret";
/// Sessions have ports from here on.
const FIRST_PORT: u16 = 40_000;
/// A session of which nothing comes for this long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(12);
const GOOD_DELAY: Duration = Duration::from_millis(10);
/// The port of the server that a request may be redirected to.
const EDGE_PORT: u16 = 8_890;

/// What is told of the connection to a media server.
#[derive(Debug, Clone)]
pub enum Told {
    Resolved(Vec<IpAddr>),
    Connected,
    Bytes(Vec<u8>),
    Ended,
    Failed(PublishFailure),
}

/// What becomes of a session that has been made.
#[derive(Debug, Clone, Copy)]
enum Break {
    /// The host is off the network for a while.
    Vanish,
    /// The process is started again, and has forgotten its sessions.
    Restart,
    /// The media part says goodbye, and goes.
    Close,
    /// The media part is gone.
    FallSilent,
}

/// A session as the server knows it.
struct Session {
    path: String,
    address: SocketAddr,
    /// Its media part, while there is one.
    peer: Option<Viewer>,
    heard_at: Instant,
    breaks_at: Option<(Instant, Break)>,
}

pub struct MediaServer {
    pub options: TargetOptions,
    rng: Rng,
    up: Link,
    down: Link,
    sessions: Vec<Session>,
    /// The codec of each session that there was, by its address.
    codecs: BTreeMap<SocketAddr, Codec>,
    made: u16,
    is_mended: bool,
    /// Nothing gets through until then.
    down_until: Option<Instant>,
    /// Requests that are still to be redirected in a circle.
    circles: u8,
}

impl MediaServer {
    pub fn new(options: TargetOptions, seed: u64, now: Instant) -> MediaServer {
        let index = options.index as u64 + 1;
        let link = || Link::new(options.path.clone());
        let left = options.left_session().map(|url| Session {
            path: url.target,
            address: SocketAddr::new(options.ip(), FIRST_PORT),
            peer: None,
            heard_at: now,
            breaks_at: None,
        });
        MediaServer {
            rng: Rng::with_seed(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            up: link(),
            down: link(),
            sessions: left.into_iter().collect(),
            codecs: BTreeMap::new(),
            made: 0,
            is_mended: false,
            down_until: None,
            circles: 0,
            options,
        }
    }

    /// What the device is told of it.
    pub fn target(options: &TargetOptions) -> Target {
        let token = options.has_token.then(|| format!("{TOKEN_MARK}-{}", options.index));
        let token = token.and_then(|token| BearerToken::parse(&token));
        Target { url: options.url(), token }
    }

    /// What the device is told of an earlier process of its own.
    pub fn left_session(options: &TargetOptions) -> Option<(TargetId, Url)> {
        options.left_session().map(|url| (TargetId(options.index), url))
    }

    /// All that was wrong with it ends.
    pub fn mend(&mut self) {
        self.is_mended = true;
        self.down_until = None;
        self.circles = 0;
        for link in [&mut self.up, &mut self.down] {
            *link = Link::new(Conditions::perfect(GOOD_DELAY));
        }
        self.sessions.iter_mut().for_each(|session| session.breaks_at = None);
    }

    fn goes_wrong(&mut self, share: f64) -> bool {
        !self.is_mended && self.rng.f64() < share
    }

    fn milliseconds(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    fn is_down(&self, now: Instant) -> bool {
        self.down_until.is_some_and(|until| now < until)
    }

    fn edge_url(&self) -> Url {
        let (index, mark) = (self.options.index, SECRET_MARK);
        let url = format!("http://edge{index}.example:{EDGE_PORT}/edge/{mark}/whip");
        Url::parse(&url).expect("it is a URL")
    }

    /// Looks a name up: when something is told of it, and what.
    pub fn resolve(&mut self, name: &str, tally: &mut Tally) -> Option<(Duration, Told)> {
        let soon = self.milliseconds(1..40);
        let words = Foreign::new(&format!("{name} has {SECRET_MARK}"), 100);
        let unknown = Told::Failed(PublishFailure { cause: PublishCause::NameUnknown, words });
        let is_own = name == self.options.name() || name == self.edge_url().authority.name;
        if !is_own {
            return self.rng.bool().then_some((soon, unknown));
        }
        let (own, dead) = (self.options.ip(), self.options.dead_ip());
        if !self.goes_wrong(self.options.bad_names) {
            return Some((soon, Told::Resolved(vec![own])));
        }
        match self.rng.u8(..5) {
            0 => {
                tally.fault(Fault::NameUnknown);
                Some((soon, unknown))
            }
            1 => {
                tally.fault(Fault::NameLate);
                Some((self.milliseconds(2_000..12_000), Told::Resolved(vec![own])))
            }
            2 => {
                tally.fault(Fault::NameHangs);
                None
            }
            few => {
                tally.fault(Fault::DeadAddress);
                let mut addresses = vec![dead; if few == 3 { 1 } else { 10 }];
                addresses.push(own);
                Some((soon, Told::Resolved(addresses)))
            }
        }
    }

    /// Makes a connection, or does not.
    pub fn connect(
        &mut self,
        now: Instant,
        to: SocketAddr,
        tally: &mut Tally,
    ) -> Option<(Duration, Told)> {
        let refused =
            (self.milliseconds(1..40), Told::Failed(PublishCause::ConnectionRefused.into()));
        if to.ip() != self.options.ip() {
            return self.rng.bool().then_some(refused);
        }
        if self.is_down(now) {
            return None;
        }
        if !self.goes_wrong(self.options.bad_connects) {
            return Some((self.milliseconds(1..40), Told::Connected));
        }
        match self.rng.u8(..3) {
            0 => {
                tally.fault(Fault::ConnectRefused);
                Some(refused)
            }
            1 => {
                tally.fault(Fault::ConnectHangs);
                None
            }
            _ => Some((self.milliseconds(500..2_900), Told::Connected)),
        }
    }

    /// A new session for an offer, and the answer to it.
    fn make_session(
        &mut self,
        now: Instant,
        offer: &str,
        tally: &mut Tally,
    ) -> Option<(String, String)> {
        self.made += 1;
        let mut address = SocketAddr::new(self.options.ip(), FIRST_PORT + self.made);
        if self.rng.bool() {
            // Behind the last one, where a NAT has given it the port again.
            address = self.sessions.last().map_or(address, |last| last.address);
        }
        let takes_vp8 = self.options.is_vp8 && offer.contains(" VP8/90000");
        let codec = if takes_vp8 { Codec::Vp8 } else { Codec::H264 };
        let is_lite = self.options.is_ice_lite;
        let offer = match self.options.is_dtls_server {
            true => offer.replace("a=setup:actpass", "a=setup:active"),
            false => offer.to_owned(),
        };
        let (peer, answer) = Viewer::answering(address, codec, is_lite, &offer, now)?;
        for (is, happening) in [
            (takes_vp8, Happening::PublishedVp8),
            (address.is_ipv6(), Happening::PublishedOverIpv6),
            (is_lite, Happening::IceLite),
            (self.options.is_dtls_server, Happening::DtlsClient),
        ] {
            if is {
                tally.happened(happening);
            }
        }
        let path = format!("/sessions/{SECRET_MARK}-{}", self.made);
        let breaks = self.goes_wrong(self.options.bad_media);
        let how = [Break::Vanish, Break::Restart, Break::Close, Break::FallSilent];
        let how = how[self.rng.usize(..how.len())];
        let breaks_at = breaks.then(|| (now + self.milliseconds(0..20_000), how));
        self.codecs.insert(address, codec);
        // One address has one media part.
        let others = self.sessions.iter_mut().filter(|session| session.address == address);
        others.for_each(|session| session.peer = None);
        self.sessions.push(Session {
            path: path.clone(),
            address,
            peer: Some(peer),
            heard_at: now,
            breaks_at,
        });
        Some((path, answer))
    }

    /// The codec of the session that is, or was, at an address.
    pub fn codec_at(&self, address: SocketAddr) -> Option<Codec> {
        self.codecs.get(&address).copied()
    }

    /// The newest media part, if there is any.
    pub fn peer(&self) -> Option<&Viewer> {
        self.sessions.iter().rev().find_map(|session| session.peer.as_ref())
    }

    pub fn next_event_at(&self, now: Instant) -> Option<Instant> {
        let asleep = self.down_until.filter(|until| now < *until);
        let timers = self.sessions.iter().flat_map(|session| {
            let peer = session.peer.as_ref().map(Viewer::poll_timeout);
            peer.into_iter().chain(session.breaks_at.map(|(at, _)| at))
        });
        let next = timers.min()?;
        Some(asleep.map_or(next, |until| next.max(until)))
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, tally: &mut Tally) {
        if self.is_down(now) {
            return;
        }
        for index in 0..self.sessions.len() {
            let session = &mut self.sessions[index];
            if let Some((_, how)) = session.breaks_at.take_if(|(at, _)| *at <= now) {
                return self.break_session(now, index, how, tally);
            }
            if now > session.heard_at + FORGOTTEN_AFTER {
                session.peer = None;
            }
            if let Some(peer) = session.peer.as_mut().filter(|peer| peer.poll_timeout() <= now) {
                peer.handle_timeout(now);
            }
        }
    }

    fn break_session(&mut self, now: Instant, index: usize, how: Break, tally: &mut Tally) {
        let session = &mut self.sessions[index];
        match how {
            Break::Vanish => {
                tally.fault(Fault::ServerVanished);
                self.down_until = Some(now + self.milliseconds(1_000..30_000));
            }
            Break::Restart => {
                tally.fault(Fault::ServerRestarted);
                self.sessions.clear();
            }
            Break::Close => {
                tally.fault(Fault::ServerCloses);
                session.peer.iter_mut().for_each(|peer| peer.close(now));
            }
            Break::FallSilent => {
                tally.fault(Fault::ServerFallsSilent);
                session.peer = None;
            }
        }
    }

    /// A datagram for the session at `to`.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) {
        if self.is_down(now) {
            return;
        }
        for session in self.sessions.iter_mut().filter(|session| session.address == to) {
            session.heard_at = now;
            session.peer.iter_mut().for_each(|peer| peer.handle_datagram(now, from, bytes));
        }
    }

    /// What its sessions have to send: from, to, and when it arrives.
    pub fn take_outgoing(
        &mut self,
        now: Instant,
        tally: &mut Tally,
    ) -> Vec<(SocketAddr, SocketAddr, Arrival)> {
        let mut sent = Vec::new();
        let is_down = self.is_down(now);
        for session in &mut self.sessions {
            let Some(peer) = &mut session.peer else { continue };
            for transmit in peer.take_outgoing() {
                let bytes = transmit.contents;
                if is_down {
                    continue;
                }
                let arrivals = self.up.send(now, bytes, &mut self.rng, tally);
                let to = transmit.destination;
                sent.extend(arrivals.into_iter().map(|it| (session.address, to, it)));
            }
            // After its goodbye it is gone.
            if peer.closed {
                session.peer = None;
            }
        }
        sent
    }

    /// A datagram is on its way to the server.
    pub fn carry(&mut self, now: Instant, bytes: Vec<u8>, tally: &mut Tally) -> Vec<Arrival> {
        self.down.send(now, bytes, &mut self.rng, tally)
    }
}
