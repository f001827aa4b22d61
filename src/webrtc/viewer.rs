//! One browser or player that watches: its offer's answer, its gate, its timers.
//!
//! A viewer begins *half-open*, when its offer is answered. It is *live* from the moment that ICE
//! and DTLS are up until it leaves, and *silent* while nothing genuine has come from it for
//! [`SILENT_AFTER`]. A live viewer gets every frame that its *gate* lets through: the gate is shut
//! at first and after each drop, and only a key frame opens it.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use str0m::IceCreds;
use str0m::config::DtlsCert;
use str0m::ice::StunMessage;

use crate::media::Codec;
use crate::sdp::answer::{self, Local};
use crate::sdp::offer::{Format, Offer, OfferError};
use crate::webrtc::rtp::{Feedback, History, Keying, OutgoingFrame, Stream, StreamFormat};
use crate::webrtc::transport::{self, Event, Path, Transmit, Transport};

/// A viewer that is not connected this long after its answer is given up. Browsers give up a
/// connection of their own after 15 s.
pub const HALF_OPEN_LIMIT: Duration = Duration::from_secs(10);
/// Nothing heard for this long: no more media. Browsers check the path every 2.5 s (libwebrtc's
/// `STRONG_AND_STABLE_WRITABLE_CONNECTION_PING_INTERVAL`) and report on the stream every second.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Nothing heard for this long: gone.
pub const GONE_AFTER: Duration = Duration::from_millis(9_500);
/// A viewer that answers from a new address, and was not heard for this long where its media goes,
/// has moved: it changed networks, or a NAT forgot it. Browsers report on the stream every second,
/// give or take a half (RFC 3550, section 6.2).
const MOVED_AFTER: Duration = Duration::from_millis(1_500);

/// Names a viewer for the life of the process; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViewerId(pub u64);

impl fmt::Display for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "viewer {}", self.0)
    }
}

/// What an answer needs beside the offer.
pub struct Terms<'a> {
    pub certificate: &'a DtlsCert,
    /// Our ICE user fragment and password, from a cryptographic source.
    pub credentials: IceCreds,
    /// Our UDP addresses, all of which become candidates.
    pub addresses: &'a [SocketAddr],
    /// Random, as the answer's and the stream's numbers have to be.
    pub random: [u32; 6],
}

/// What a viewer wants done, in order.
#[derive(Debug)]
pub enum Effect {
    Transmit(Transmit),
    /// ICE and DTLS are up.
    Connected,
    /// A PLI or FIR arrived.
    KeyframeRequested,
}

/// Why a viewer is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It said goodbye (DTLS close_notify).
    Left,
    NeverConnected,
    /// Nothing came from it for [`GONE_AFTER`].
    Vanished,
    /// DTLS gave up, for instance because the certificate was not the offer's.
    Failed,
    /// Something that this viewer sent made its connection panic.
    Panicked,
    /// The server ended.
    Shutdown,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Left => "it left",
            Ending::NeverConnected => "it never connected",
            Ending::Vanished => "nothing was heard of it any more",
            Ending::Failed => "the connection failed",
            Ending::Panicked => "it sent something that broke its connection",
            Ending::Shutdown => "the server ended",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    HalfOpen,
    Live,
    Silent,
    Ended(Ending),
}

/// What a viewer has been sent, and asked for.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    pub frames: u64,
    pub packets: u64,
    pub keyframes: u64,
    /// PLI and FIR received.
    pub keyframe_requests: u64,
    /// Packets sent once more.
    pub resends: u64,
    /// Frames not sent because the gate was shut.
    pub drops: u64,
}

pub struct Viewer {
    transport: Transport,
    /// The name of the session in our answers, and how many there were.
    session: u64,
    answers: u64,
    /// There is one from the moment that DTLS is up.
    stream: Option<Stream>,
    codec: Codec,
    format: StreamFormat,
    state: State,
    gate_open: bool,
    born: Instant,
    heard: Instant,
    effects: VecDeque<Effect>,
    /// When something last came from where media goes.
    path_heard: Instant,
    counters: Counters,
}

impl Viewer {
    /// Answers an offer: the viewer, half-open, and the answer's SDP.
    pub fn answer(
        offer: &Offer,
        terms: Terms,
        now: Instant,
    ) -> Result<(Viewer, String), OfferError> {
        let Terms { certificate, credentials, addresses, random } = terms;
        let [session, session_low, ssrc, rtx_ssrc, sequence, timestamp_offset] = random;
        let format = StreamFormat {
            payload_type: offer.format.payload_type,
            rtx: offer.format.rtx,
            playout_delay: offer.playout_delay.map(|extension| extension.number),
            ssrc,
            // One more, should they be the same.
            rtx_ssrc: rtx_ssrc.wrapping_add(u32::from(ssrc == rtx_ssrc)),
            cname: format!("{session:08x}"),
            first_sequence_number: first_sequence_number(sequence),
            timestamp_offset,
        };
        let made = catch_unwind(AssertUnwindSafe(|| {
            Transport::new(&offer.peer, credentials, certificate, addresses, now)
        }));
        let transport = made.unwrap_or_else(|_| Err("its parts contradict each other".into()));
        let transport = transport.map_err(OfferError::Malformed)?;
        let mut viewer = Viewer {
            transport,
            session: u64::from(session >> 1) << 32 | u64::from(session_low),
            answers: 0,
            stream: None,
            codec: offer.format.codec,
            format,
            state: State::HalfOpen,
            gate_open: false,
            born: now,
            heard: now,
            effects: VecDeque::new(),
            path_heard: now,
            counters: Counters::default(),
        };
        viewer.contain(now, |_| {});
        let sdp = viewer.answer_to(offer, certificate);
        Ok((viewer, sdp))
    }

    /// The answer to one more offer of the same connection.
    pub fn answer_to(&mut self, offer: &Offer, certificate: &DtlsCert) -> String {
        self.answers += 1;
        let local = Local {
            session: self.session,
            version: self.answers,
            is_client: self.transport.is_client(),
            credentials: self.transport.local_credentials(),
            candidates: &self.transport.local_candidates(),
            fingerprint: transport::fingerprint(certificate),
            stream: &self.format,
        };
        answer::write(offer, &local)
    }

    /// Whether what it is sent is what the offer asks for.
    pub fn suits(&self, offer: &Offer) -> bool {
        let Format { codec, payload_type, rtx, .. } = offer.format;
        let format = &self.format;
        (self.codec, format.payload_type, format.rtx) == (codec, payload_type, rtx)
    }

    /// Whether a STUN message is for this viewer and proves that its sender holds the credentials.
    pub fn authenticates(&self, message: &StunMessage) -> bool {
        self.transport.authenticates(message)
    }

    /// A STUN message that it authenticates.
    pub fn handle_stun(&mut self, now: Instant, path: Path, message: StunMessage) {
        self.contain(now, |viewer| {
            if viewer.transport.handle_stun(now, path, message) {
                viewer.hear(now, path.destination);
            }
        });
    }

    pub fn handle_dtls(&mut self, now: Instant, source: SocketAddr, record: &[u8]) {
        self.contain(now, |viewer| {
            if viewer.transport.handle_dtls(now, record) {
                viewer.hear(now, source);
            }
        });
    }

    pub fn handle_rtcp(&mut self, now: Instant, source: SocketAddr, packet: &[u8], h: &History) {
        self.contain(now, |viewer| {
            let received = viewer.stream.as_mut().and_then(|stream| stream.receive(packet, h));
            let Some(Feedback { keyframes, resent }) = received else { return };
            viewer.hear(now, source);
            viewer.counters.keyframe_requests += keyframes;
            if keyframes > 0 {
                viewer.effects.push_back(Effect::KeyframeRequested);
            }
            if viewer.is_watching() {
                viewer.counters.resends += resent.len() as u64;
                resent.into_iter().for_each(|packet| viewer.transmit(packet));
            }
        });
    }

    /// Something has come that is genuine, as far as that can be told.
    fn hear(&mut self, now: Instant, source: SocketAddr) {
        self.heard = now;
        if self.state == State::Silent {
            self.state = State::Live;
        }
        if self.remote() == Some(source) {
            self.path_heard = now;
        }
    }

    /// Whether a viewer that answers from `source` is no longer where its media goes.
    pub fn has_moved(&self, now: Instant, source: SocketAddr) -> bool {
        let elsewhere = self.remote().is_some_and(|remote| remote != source);
        elsewhere && now >= self.path_heard + MOVED_AFTER
    }

    /// Gives up the address that media goes to, for one that has answered a check of ours.
    pub fn forsake_path(&mut self, now: Instant) {
        self.contain(now, |viewer| viewer.transport.forsake_path(now));
    }

    /// Begins ICE anew, with credentials that both sides have exchanged.
    pub fn restart_ice(&mut self, now: Instant, local: IceCreds, remote: IceCreds) {
        self.contain(now, |viewer| viewer.transport.restart_ice(now, local, remote));
    }

    /// Whether these are the ICE credentials that the viewer has shown last.
    pub fn has_peer(&self, credentials: &IceCreds) -> bool {
        self.transport.has_peer(credentials)
    }

    /// Our own ICE credentials.
    pub fn local_credentials(&self) -> &IceCreds {
        self.transport.local_credentials()
    }

    /// Our candidates: `candidate:…`.
    pub fn local_candidates(&self) -> Vec<String> {
        self.transport.local_candidates()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.contain(now, |viewer| viewer.transport.handle_timeout(now));
        match self.state {
            State::HalfOpen if now >= self.born + HALF_OPEN_LIMIT => {
                self.end(now, Ending::NeverConnected);
            }
            State::Live | State::Silent if now >= self.heard + GONE_AFTER => {
                self.end(now, Ending::Vanished);
            }
            State::Live if now >= self.heard + SILENT_AFTER => {
                self.state = State::Silent;
                self.gate_open = false;
            }
            _ => {}
        }
    }

    /// Sends a frame, if the gate lets it through.
    pub fn write(&mut self, now: Instant, frame: &OutgoingFrame, history: &History) {
        if self.state != State::Live {
            return;
        }
        self.gate_open |= frame.keyframe;
        if !self.gate_open {
            self.counters.drops += 1;
            return;
        }
        self.counters.frames += 1;
        self.counters.keyframes += u64::from(frame.keyframe);
        self.counters.packets += frame.packets.end - frame.packets.start;
        self.contain(now, |viewer| {
            let (Some(stream), Some(path)) = (&mut viewer.stream, viewer.transport.path()) else {
                return;
            };
            stream.send(frame, history, |burst| {
                viewer.effects.push_back(Effect::Transmit(Transmit {
                    source: path.source,
                    destination: path.destination,
                    contents: burst.contents,
                    datagram_bytes: burst.packet_bytes,
                }));
            });
            if let Some(report) = stream.report(now) {
                viewer.transmit(report);
            }
        });
    }

    fn transmit(&mut self, packet: Vec<u8>) {
        let transmit = self.transport.path().map(|path| path.transmit(packet));
        self.effects.extend(transmit.map(Effect::Transmit));
    }

    /// A packet to this viewer was lost on our side: nothing more until the next key frame.
    pub fn shut_gate(&mut self) {
        self.gate_open = false;
    }

    /// Says goodbye (RTCP BYE, DTLS close_notify) and ends.
    pub fn end(&mut self, now: Instant, ending: Ending) {
        if self.ending().is_some() {
            return;
        }
        self.contain(now, |viewer| {
            if let Some(goodbye) = viewer.stream.as_mut().map(Stream::goodbye) {
                viewer.transmit(goodbye);
            }
            viewer.transport.close(now);
        });
        self.state = State::Ended(ending);
    }

    /// What is to be done, until `None`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When `handle_timeout` is next due; `None` once ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.state {
            State::HalfOpen => self.born + HALF_OPEN_LIMIT,
            State::Live => self.heard + SILENT_AFTER,
            State::Silent => self.heard + GONE_AFTER,
            State::Ended(_) => return None,
        };
        Some(own.min(self.transport.deadline()))
    }

    /// What its frames are encoded in.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether frames are meant for it.
    pub fn is_watching(&self) -> bool {
        self.state == State::Live
    }

    /// Whether it watches but waits for a key frame.
    pub fn awaits_keyframe(&self) -> bool {
        self.is_watching() && !self.gate_open
    }

    pub fn is_half_open(&self) -> bool {
        self.state == State::HalfOpen
    }

    pub fn ending(&self) -> Option<Ending> {
        match self.state {
            State::Ended(ending) => Some(ending),
            _ => None,
        }
    }

    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::HalfOpen => "half-open",
            State::Live => "live",
            State::Silent => "silent",
            State::Ended(_) => "ended",
        }
    }

    /// Where media goes, once ICE has chosen.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.transport.path().map(|path| path.destination)
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }

    /// Changes this viewer, then does what its transport has to say. A panic ends this viewer alone.
    fn contain(&mut self, now: Instant, change: impl FnOnce(&mut Viewer)) {
        if self.ending().is_some() {
            return;
        }
        let contained = catch_unwind(AssertUnwindSafe(|| {
            change(self);
            while let Some(event) = self.transport.poll_event() {
                self.handle_event(now, event);
            }
        }));
        if contained.is_err() {
            self.state = State::Ended(Ending::Panicked);
        }
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Transmit(transmit) => self.effects.push_back(Effect::Transmit(transmit)),
            Event::PathChosen => self.path_heard = now,
            Event::Secured(keying) => self.secured(now, keying),
            Event::Closed => self.end(now, Ending::Left),
            Event::Failed => self.end(now, Ending::Failed),
        }
    }

    fn secured(&mut self, now: Instant, keying: Keying) {
        let Some(ends) = keying.into_ends(&transport::crypto()) else {
            return self.end(now, Ending::Failed);
        };
        self.stream = Some(Stream::new(self.format.clone(), ends));
        self.state = State::Live;
        self.heard = now;
        self.effects.push_back(Effect::Connected);
    }
}

/// Far enough from the end of the 16 bits that the first packets, should they be lost, leave no
/// doubt about how often the number has rolled over (RFC 3711, section 3.3.1).
fn first_sequence_number(random: u32) -> u16 {
    const MARGIN: u32 = 256;
    (random % (u32::from(u16::MAX) - MARGIN)) as u16
}
