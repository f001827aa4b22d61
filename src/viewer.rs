//! One browser or player that watches: the only file that drives a `str0m::Rtc`.
//!
//! A viewer begins *half-open*, when its offer is answered. It is *live* from the moment that ICE
//! and DTLS are up until it leaves, and *silent* while nothing has come from it for
//! [`SILENT_AFTER`]. A live viewer gets every frame that its *gate* lets through: the gate is shut
//! at first and after each drop, and only a key frame opens it.
//!
//! str0m asks that each change of an `Rtc` be followed by a complete drain of its outputs; `drive`
//! is the one place that changes it, and drains it.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::config::DtlsCert;
use str0m::format::{Codec, CodecConfig, CodecSpec, FormatParams, PayloadParams};
use str0m::media::{Frequency, MediaTime, Mid, Pt};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::{Extension, ExtensionValues, RtpWrite};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig, RtcError};

use crate::answer;
use crate::offer::{H264, Offer, OfferError, REDUCED_MID, REDUCED_PROFILE_LEVEL_ID};

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
/// A deadline that str0m returns in the past is put off by this much, so that the loop never spins.
const SMALLEST_WAIT: Duration = Duration::from_millis(1);
/// How often one drain may meet a deadline that is due already before it is put off.
const MAX_DUE_DEADLINES: usize = 8;
/// Errors in one drain before it is given up until the next input.
const MAX_ERRORS: usize = 8;
/// What can be sent again on a NACK: over a second of 2 Mbit/s. The payloads are shared by all
/// viewers.
const RESEND_PACKETS: usize = 512;
const RESEND_AGE: Duration = Duration::from_secs(1);

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
    pub certificate: DtlsCert,
    /// Our ICE user fragment and password, from a cryptographic source.
    pub credentials: IceCreds,
    /// Our UDP addresses, all of which become candidates.
    pub addresses: &'a [SocketAddr],
    /// The first RTP sequence number and the offset of the RTP timestamps, random as RFC 3550,
    /// section 5.1, asks.
    pub first_sequence_number: u16,
    pub timestamp_offset: u32,
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
    /// str0m gave up, for instance because the certificate was not the offer's.
    Failed,
    /// str0m panicked on something that this viewer sent.
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
    /// Frames not sent because the gate was shut.
    pub drops: u64,
}

pub struct Viewer {
    rtc: Rtc,
    state: State,
    gate_open: bool,
    born: Instant,
    heard: Instant,
    /// str0m's own deadline.
    deadline: Instant,
    mid: Mid,
    payload_type: Pt,
    next_sequence_number: u64,
    timestamp_offset: u32,
    effects: VecDeque<Effect>,
    /// Where media goes, once ICE has chosen.
    remote: Option<SocketAddr>,
    /// When something last came from there.
    remote_heard: Instant,
    counters: Counters,
}

impl Viewer {
    /// Answers an offer: the viewer, half-open, and the answer's SDP.
    pub fn answer(
        offer: &Offer,
        terms: Terms,
        now: Instant,
    ) -> Result<(Viewer, String), OfferError> {
        let answered = catch_unwind(AssertUnwindSafe(|| negotiate(offer, &terms, now)));
        let (rtc, mid, sdp) = answered.unwrap_or_else(|_| {
            Err(OfferError::Malformed("its parts contradict each other".into()))
        })?;
        let mut viewer = Viewer {
            rtc,
            state: State::HalfOpen,
            gate_open: false,
            born: now,
            heard: now,
            deadline: now,
            mid,
            payload_type: Pt::from(offer.h264.payload_type),
            next_sequence_number: u64::from(terms.first_sequence_number),
            timestamp_offset: terms.timestamp_offset,
            effects: VecDeque::new(),
            remote: None,
            remote_heard: now,
            counters: Counters::default(),
        };
        viewer.drive(now, |_| Ok(()));
        Ok((viewer, sdp))
    }

    /// Whether a STUN message is for this viewer and proves that its sender holds the credentials.
    pub fn authenticates(&self, now: Instant, datagram: Receive) -> bool {
        self.rtc.accepts(&Input::Receive(now, datagram))
    }

    pub fn handle_datagram(&mut self, now: Instant, datagram: Receive) {
        self.heard = now;
        if self.state == State::Silent {
            self.state = State::Live;
            self.effects.push_back(Effect::KeyframeRequested);
        }
        if self.remote == Some(datagram.source) {
            self.remote_heard = now;
        }
        self.drive(now, |rtc| rtc.handle_input(Input::Receive(now, datagram)));
    }

    /// Whether a viewer that answers from `source` is no longer where its media goes.
    pub fn has_moved(&self, now: Instant, source: SocketAddr) -> bool {
        let elsewhere = self.remote.is_some_and(|remote| remote != source);
        elsewhere && now >= self.remote_heard + MOVED_AFTER
    }

    /// Gives up the address that media goes to, for one that has answered a check of ours. str0m by
    /// itself stays with an address for 15 s after its last check.
    pub fn forsake_remote(&mut self, now: Instant) {
        let Some(remote) = self.remote else {
            return;
        };
        let (ip, port) = (remote.ip(), remote.port());
        let line = format!("candidate:0 1 udp 1 {ip} {port} typ prflx");
        self.drive(now, |rtc| {
            let candidate = Candidate::from_sdp_string(&line)?;
            rtc.direct_api().invalidate_candidate(&candidate);
            Ok(())
        });
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.deadline {
            self.drive(now, |rtc| rtc.handle_input(Input::Timeout(now)));
        }
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

    /// Sends a frame, if the gate lets it through. `timestamp` is the capture time in 90 kHz.
    pub fn write(&mut self, now: Instant, frame: &OutgoingFrame) {
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
        self.counters.packets += frame.payloads.len() as u64;
        let (mid, first) = (self.mid, self.next_sequence_number);
        let (payload_type, timestamp) =
            (self.payload_type, frame.timestamp.wrapping_add(self.timestamp_offset));
        self.next_sequence_number += frame.payloads.len() as u64;
        self.drive(now, |rtc| {
            let mut api = rtc.direct_api();
            let Some(stream) = api.stream_tx_by_mid(mid, None) else {
                return Ok(());
            };
            for (sequence_number, payload) in (first..).zip(frame.payloads) {
                let last = sequence_number + 1 == first + frame.payloads.len() as u64;
                let packet = RtpWrite::new(
                    payload_type,
                    sequence_number.into(),
                    timestamp,
                    frame.captured,
                    Arc::clone(payload),
                );
                stream.write_rtp(packet.marker(last).ext_vals(no_playout_delay()).nackable(true));
            }
            rtc.handle_input(Input::Timeout(now))
        });
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
        self.drive(now, |rtc| rtc.close());
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
        Some(own.min(self.deadline))
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

    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }

    /// Changes the `Rtc` and drains it. A panic inside str0m ends this viewer alone.
    fn drive(&mut self, now: Instant, change: impl FnOnce(&mut Rtc) -> Result<(), RtcError>) {
        if self.ending().is_some() {
            return;
        }
        let driven = catch_unwind(AssertUnwindSafe(|| {
            if let Err(error) = change(&mut self.rtc) {
                log::debug!("str0m: {error}");
            }
            self.drain(now);
        }));
        if driven.is_err() {
            self.state = State::Ended(Ending::Panicked);
        } else if !self.rtc.is_alive() && self.ending().is_none() {
            self.state = State::Ended(Ending::Failed);
        }
    }

    fn drain(&mut self, now: Instant) {
        let (mut errors, mut due) = (0, 0);
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => {
                    if self.remote.is_none() || is_media(&transmit.contents) {
                        self.note_remote(now, transmit.destination);
                    }
                    self.effects.push_back(Effect::Transmit(transmit));
                }
                Ok(Output::Event(event)) => self.handle_event(&event),
                Ok(Output::Timeout(deadline)) if deadline > now => {
                    self.deadline = deadline;
                    return;
                }
                Ok(Output::Timeout(_)) if due < MAX_DUE_DEADLINES && self.rtc.is_alive() => {
                    due += 1;
                    if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
                        log::debug!("str0m: {error}");
                    }
                }
                Ok(Output::Timeout(_)) => {
                    self.deadline = now + SMALLEST_WAIT;
                    return;
                }
                Err(error) => {
                    log::debug!("str0m: {error}");
                    errors += 1;
                    if errors == MAX_ERRORS {
                        self.deadline = now + SMALLEST_WAIT;
                        return;
                    }
                }
            }
        }
    }

    fn note_remote(&mut self, now: Instant, destination: SocketAddr) {
        if self.remote.replace(destination) != Some(destination) {
            self.remote_heard = now;
        }
    }

    fn handle_event(&mut self, event: &Event) {
        match event {
            Event::Connected if self.state == State::HalfOpen => {
                self.state = State::Live;
                self.effects.push_back(Effect::Connected);
            }
            Event::KeyframeRequest(_) => {
                self.counters.keyframe_requests += 1;
                self.effects.push_back(Effect::KeyframeRequested);
            }
            // str0m answers with a goodbye of its own, which the rest of this drain sends.
            Event::Closed => self.state = State::Ended(Ending::Left),
            _ => {}
        }
    }
}

/// A frame cut into payloads, the same for all viewers.
pub struct OutgoingFrame<'a> {
    pub payloads: &'a [Arc<[u8]>],
    pub keyframe: bool,
    pub captured: Instant,
    /// The capture time in 90 kHz, before each viewer's own offset.
    pub timestamp: u32,
}

/// RTP and RTCP, by their first byte (RFC 7983, section 7).
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(128..=191))
}

/// Chromium shows a frame at once when the sender asks for a playout delay of zero
/// (the `playout-delay` header extension, min = max = 0).
fn no_playout_delay() -> ExtensionValues {
    ExtensionValues {
        play_delay_min: Some(MediaTime::from_hundredths(0)),
        play_delay_max: Some(MediaTime::from_hundredths(0)),
        ..ExtensionValues::default()
    }
}

fn negotiate(offer: &Offer, terms: &Terms, now: Instant) -> Result<(Rtc, Mid, String), OfferError> {
    // The error may quote the offer, secrets included.
    let sdp = SdpOffer::from_sdp_string(&offer.reduced())
        .map_err(|_| OfferError::Malformed("a line of it does not parse".into()))?;
    let mut rtc = config(offer, terms).build(now);
    for address in terms.addresses {
        match Candidate::host(*address, Protocol::Udp) {
            Ok(candidate) => {
                rtc.add_local_candidate(candidate);
            }
            Err(error) => log::debug!("{address} is no candidate: {error}"),
        }
    }
    let answer = rtc
        .sdp_api()
        .accept_offer(sdp)
        .map_err(|error| OfferError::Malformed(error.to_string()))?;
    let mid = Mid::from(REDUCED_MID);
    let mut api = rtc.direct_api();
    let stream = api.stream_tx_by_mid(mid, None);
    let stream = stream.ok_or_else(|| OfferError::NoCodec(vec!["an unusual H.264".into()]))?;
    stream.set_rtx_cache(RESEND_PACKETS, RESEND_AGE, None);
    Ok((rtc, mid, answer::complete(offer, &answer.to_sdp_string())))
}

fn config(offer: &Offer, terms: &Terms) -> RtcConfig {
    let h264 = &offer.h264;
    let mut config = RtcConfig::new()
        .set_rtp_mode(true)
        .set_dtls_cert(terms.certificate.clone())
        .set_local_ice_credentials(terms.credentials.clone())
        .clear_extension_map()
        // The offer's own number replaces this one.
        .set_extension(1, Extension::PlayoutDelay);
    *config.codec_config() = CodecConfig::new_from_payload_params(vec![payload_params(h264)]);
    config
}

/// H.264 as it was offered, with repair (NACK, PLI, FIR) and without bandwidth estimation, which a
/// stream of one rendition has no use for.
fn payload_params(h264: &H264) -> PayloadParams {
    let spec = CodecSpec {
        codec: Codec::H264,
        clock_rate: Frequency::NINETY_KHZ,
        channels: None,
        format: FormatParams {
            packetization_mode: Some(1),
            profile_level_id: Some(REDUCED_PROFILE_LEVEL_ID),
            ..FormatParams::default()
        },
    };
    let (payload_type, rtx) = (Pt::from(h264.payload_type), h264.rtx.map(Pt::from));
    let mut params = PayloadParams::new(payload_type, rtx, spec);
    params.set_fb_nack(true);
    params.set_fb_pli(true);
    params.set_fb_fir(true);
    params.set_fb_remb(false);
    params.set_fb_transport_cc(false);
    params
}
