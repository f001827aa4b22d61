//! One browser, player or media server that watches. The only part that drives a [`str0m::Rtc`].
//!
//! Browsers and players ask: their offer is answered ([`Viewer::answer`]). A media server is asked to
//! watch: its answer makes it a viewer ([`Invitation`]).
//!
//! A viewer begins *half-open*, when its offer is answered. It is *live* from the moment that ICE
//! and DTLS are up until it leaves, and *silent* while nothing authentic has come from it for
//! [`SILENT_AFTER`](super::SILENT_AFTER). A live viewer gets every frame that its *gate* lets
//! through: the gate is shut at first and after each drop, and only a key frame opens it.
//!
//! str0m asks that each change of an `Rtc` be followed by a complete drain of its outputs: `drive`
//! is the one place that changes it, and drains it. The `Rtc` runs in RTP mode: payloads are cut
//! once for all viewers ([`Packets`]) and shared, also with its cache for retransmissions.

mod answer;
mod ice;
mod invitation;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::Pt;
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Event, IceCreds, Input, Output, Rtc, RtcError};

pub use self::invitation::{Invitation, formats};
use super::activity::{Activity, HALF_OPEN_LIMIT};
use super::config;
use super::effect::{Effects, ViewerEffect};
use super::handshake;
use super::learnt_addresses::LearntAddresses;
use super::local_side::LocalSide;
use super::payload::Packets;
use super::resends;
use super::state::{EndReason, ViewerState};
use super::stream::{Batch, Passage, VideoStream};
use super::{AddressPair, Transmit};
use crate::containment::contain;
use crate::foreign::Foreign;
use crate::media::Codec;
use crate::sdp::local::StreamFormat;
use crate::sdp::offer::{Offer, PayloadFormat};

/// A deadline of str0m that has passed is put off by this much, so that the loop never spins.
const SMALLEST_WAIT: Duration = Duration::from_millis(1);
/// How often one drain may meet a deadline that is due already before it is put off.
const MAX_DUE_DEADLINES: usize = 8;
/// Errors in one drain before it is given up until the next input.
const MAX_ERRORS: usize = 8;
/// The most that is kept of what str0m complains of, which may quote the peer.
const FAILURE_MAX_CHARS: usize = 200;

/// What a viewer is made of when both sides have agreed.
struct ViewerConnection {
    rtc: Rtc,
    codec: Codec,
    format: StreamFormat,
    local: LocalSide,
    random: [u32; 6],
    resend_packets: usize,
    is_invited: bool,
}

pub struct Viewer {
    /// Boxed: it is 10 kB, and tables of viewers are moved.
    rtc: Box<Rtc>,
    codec: Codec,
    stream: VideoStream,
    resend_packets: usize,
    local: LocalSide,
    remote_credentials: IceCreds,
    /// The offer was ours, so that we are the controlling agent of ICE (RFC 8445, section 6.1.1).
    is_invited: bool,
    state: ViewerState,
    created_at: Instant,
    activity: Activity,
    learnt_addresses: LearntAddresses,
    /// What str0m has complained of last.
    failure: Option<Foreign>,
    /// It has shown that it has no certificate of ECDSA.
    lacks_certificate: bool,
    /// When str0m's machine wants to be called.
    rtc_deadline: Instant,
    effects: Effects,
}

impl Viewer {
    /// A viewer, half-open, whose stream is declared.
    fn new(connection: ViewerConnection, remote_credentials: IceCreds, now: Instant) -> Viewer {
        let ViewerConnection { rtc, codec, format, local, random, resend_packets, is_invited } =
            connection;
        let [.., sequence, timestamp_offset] = random;
        let mut viewer = Viewer {
            rtc: Box::new(rtc),
            codec,
            stream: VideoStream::new(
                format,
                config::first_sequence_number(sequence),
                timestamp_offset,
            ),
            resend_packets,
            local,
            remote_credentials,
            is_invited,
            state: ViewerState::HalfOpen,
            created_at: now,
            activity: Activity::new(now),
            learnt_addresses: LearntAddresses::new(),
            failure: None,
            lacks_certificate: false,
            rtc_deadline: now,
            effects: Effects::default(),
        };
        viewer.forget_resends();
        viewer
    }

    /// The answer to one more offer of the same connection.
    pub fn answer_to(&mut self, offer: &Offer) -> String {
        self.local.answer(offer, &self.stream.format)
    }

    /// Whether what it is sent is what the offer asks for.
    pub fn matches_format(&self, offer: &Offer) -> bool {
        let PayloadFormat { codec, payload_type, rtx, .. } = offer.format;
        let format = &self.stream.format;
        (self.codec, format.payload_type, format.rtx) == (codec, payload_type, rtx)
    }

    /// Takes in a datagram that proves nothing by arriving: DTLS or SRTCP, or a forgery of them.
    pub fn handle_datagram(&mut self, now: Instant, pair: AddressPair, contents: &[u8]) {
        self.drive(now, |rtc| receive(rtc, now, pair, contents));
        if self.state == ViewerState::HalfOpen
            && !self.lacks_certificate
            && handshake::lacks_ecdsa_certificate(contents)
        {
            self.lacks_certificate = true;
            self.failure = Foreign::new(&self.connect_failure().to_string(), FAILURE_MAX_CHARS);
            self.effects.push(ViewerEffect::CertificateUnusable);
        }
    }

    /// Why it has not connected, as far as that is known.
    fn connect_failure(&self) -> EndReason {
        match self.lacks_certificate {
            true => EndReason::Certificate,
            false => EndReason::ConnectTimeout,
        }
    }

    /// Something authentic came.
    fn wake(&mut self, now: Instant) {
        if self.state == ViewerState::Silent && now < self.activity.silent_at() {
            self.state = ViewerState::Live;
        }
    }

    /// Our end of the connection.
    pub fn local(&self) -> &LocalSide {
        &self.local
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.silent_at() {
            // Of a frame that was being sent when the host was suspended, the rest does not follow.
            self.stream.stop();
        }
        while let Some(repeat) = self.stream.take_repeat(now) {
            self.effects.push(ViewerEffect::Transmit(repeat));
        }
        self.stream.advance(now);
        self.send_batches(now);
        if now >= self.rtc_deadline {
            self.drive(now, |rtc| rtc.handle_input(Input::Timeout(now)));
        }
        match self.state {
            ViewerState::HalfOpen if now >= self.created_at + HALF_OPEN_LIMIT => {
                self.end(now, self.connect_failure());
            }
            ViewerState::Live | ViewerState::Silent if now >= self.activity.gone_at() => {
                self.end(now, EndReason::Silent);
            }
            ViewerState::Live if now >= self.silent_at() && self.is_invited => {
                self.end(now, EndReason::Silent);
            }
            ViewerState::Live if now >= self.silent_at() => self.state = ViewerState::Silent,
            _ => {}
        }
    }

    /// When media stops: a media server is given up then, others may come back.
    fn silent_at(&self) -> Instant {
        if self.is_invited { self.activity.lost_at() } else { self.activity.silent_at() }
    }

    /// Sends a frame, if the gate lets it through. What is large leaves `within` that time.
    pub fn write(&mut self, now: Instant, frame: &Arc<Packets>, within: Duration) {
        if self.state == ViewerState::Live {
            self.stream.push(now, frame, within);
            self.send_batches(now);
        }
    }

    fn send_batches(&mut self, now: Instant) {
        while let Some(batch) = self.stream.begin_batch(now) {
            self.send_batch(now, &batch);
            self.stream.end_batch();
        }
    }

    fn send_batch(&mut self, now: Instant, batch: &Batch) {
        let Batch { slice, first_sequence_number, timestamp } = batch;
        let ssrc = self.stream.ssrc();
        let payload_type = Pt::from(self.stream.format.payload_type);
        let is_resent = self.stream.format.rtx.is_some();
        self.drive(now, |rtc| {
            let mut api = rtc.direct_api();
            let Some(stream) = api.stream_tx(&ssrc) else { return Ok(()) };
            let payloads = &slice.frame.payloads[slice.packets.clone()];
            let last = payloads.len().saturating_sub(1);
            for (index, payload) in payloads.iter().enumerate() {
                let number = (first_sequence_number + index as u64).into();
                let payload = Arc::clone(payload);
                let captured = slice.frame.captured;
                let packet = RtpWrite::new(payload_type, number, *timestamp, captured, payload);
                let marker = index == last && slice.ends_frame();
                stream.write_rtp(packet.marker(marker).nackable(is_resent));
            }
            // What was written leaves when time has passed.
            rtc.handle_input(Input::Timeout(now))
        });
    }

    /// A packet to this viewer was lost on our side: nothing more until the next key frame.
    pub fn shut_gate(&mut self) {
        self.stream.shut_gate();
    }

    /// Says goodbye (RTCP BYE, DTLS close_notify) and ends.
    pub fn end(&mut self, now: Instant, reason: EndReason) {
        if self.end_reason().is_none() {
            self.drive(now, Rtc::close);
            self.state = ViewerState::Ended(reason);
        }
    }

    /// What is to be done, until `None`.
    pub fn poll_effect(&mut self) -> Option<ViewerEffect> {
        self.effects.pop()
    }

    /// When `handle_timeout` is next due; `None` once ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.state {
            ViewerState::HalfOpen => self.created_at + HALF_OPEN_LIMIT,
            ViewerState::Live => self.silent_at(),
            ViewerState::Silent => self.activity.gone_at(),
            ViewerState::Ended(_) => return None,
        };
        Some(self.stream.next_deadline().into_iter().fold(own.min(self.rtc_deadline), Instant::min))
    }

    /// What its frames are encoded in.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether frames are meant for it.
    pub fn is_watching(&self) -> bool {
        self.state == ViewerState::Live
    }

    /// Whether it watches but waits for a key frame.
    pub fn awaits_keyframe(&self) -> bool {
        self.is_watching() && !self.stream.is_gate_open()
    }

    pub fn state(&self) -> ViewerState {
        self.state
    }

    pub fn end_reason(&self) -> Option<EndReason> {
        self.state.end_reason()
    }

    /// Where media goes, once ICE has selected a pair.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.activity.selected().map(|pair| pair.remote)
    }

    pub fn stream(&self) -> &VideoStream {
        &self.stream
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.created_at)
    }

    /// What has gone wrong with its connection last.
    pub fn failure(&self) -> Option<&Foreign> {
        self.failure.as_ref()
    }

    /// Changes the `Rtc` and drains it. A panic inside str0m ends this viewer alone, as does an
    /// error of DTLS once it is connected: what comes then is authentic, and the error fatal. Before
    /// that anybody can send a record that DTLS cannot go on with, and the handshake has its time.
    fn drive(&mut self, now: Instant, change: impl FnOnce(&mut Rtc) -> Result<(), RtcError>) {
        if self.end_reason().is_some() {
            return;
        }
        let driven = contain(|| {
            let fatal = change(&mut self.rtc).is_err_and(|error| self.note_failure(&error));
            if fatal && self.state != ViewerState::HalfOpen {
                self.rtc.close().unwrap_or_else(|error| log::debug!("str0m: {error}"));
                self.state = ViewerState::Ended(EndReason::Failed);
            }
            self.drain(now);
        });
        if driven.is_err() {
            self.state = ViewerState::Ended(EndReason::Panicked);
        } else if !self.rtc.is_alive() && self.end_reason().is_none() {
            self.state = ViewerState::Ended(EndReason::Failed);
        }
    }

    /// Keeps what str0m complains of, and says whether it is of DTLS.
    fn note_failure(&mut self, error: &RtcError) -> bool {
        let failure = Foreign::new(&error.to_string(), FAILURE_MAX_CHARS);
        if let Some(failure) = &failure {
            log::debug!("str0m: {failure}");
        }
        if !self.lacks_certificate {
            self.failure = failure;
        }
        matches!(error, RtcError::Dtls(_))
    }

    fn drain(&mut self, now: Instant) {
        let (mut errors, mut due) = (0, 0);
        self.stream.begin_drain();
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => self.transmit(now, transmit),
                Ok(Output::Event(event)) => self.handle_event(now, event),
                Ok(Output::Timeout(deadline)) if deadline > now => {
                    self.rtc_deadline = deadline;
                    return;
                }
                Ok(Output::Timeout(_)) if due < MAX_DUE_DEADLINES && self.rtc.is_alive() => {
                    due += 1;
                    if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
                        log::debug!("str0m: {error}");
                    }
                }
                Err(error) if errors < MAX_ERRORS => {
                    self.note_failure(&error);
                    errors += 1;
                }
                Ok(Output::Timeout(_)) | Err(_) => {
                    self.rtc_deadline = now + SMALLEST_WAIT;
                    return;
                }
            }
        }
    }

    fn transmit(&mut self, now: Instant, transmit: str0m::net::Transmit) {
        let str0m::net::Transmit { source, destination, contents, .. } = transmit;
        let contents = Vec::from(contents);
        if !is_stun(&contents) {
            let last = self.learnt_addresses.last_check(destination).unwrap_or(now);
            self.activity.select(AddressPair { local: source, remote: destination }, last);
        }
        let transmit = Transmit { source, destination, contents };
        match self.stream.pass(now, &transmit) {
            Passage::Send => self.effects.push(ViewerEffect::Transmit(transmit)),
            Passage::Skip => {}
            Passage::ForgetResends => self.forget_resends(),
        }
    }

    /// Begins a new RTX cache: there is no other way to take packets back from str0m.
    fn forget_resends(&mut self) {
        if let Some(stream) = self.rtc.direct_api().stream_tx(&self.stream.ssrc()) {
            stream.set_rtx_cache(self.resend_packets, resends::MAX_AGE, None);
        }
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected if self.state == ViewerState::HalfOpen => {
                self.state = ViewerState::Live;
                self.activity.note(now);
                self.effects.push(ViewerEffect::Connected);
            }
            // SRTCP has authenticated it.
            Event::KeyframeRequest(_) => {
                self.activity.note(now);
                self.wake(now);
                self.stream.counters.keyframe_requests += 1;
                self.effects.push(ViewerEffect::KeyframeRequested);
            }
            Event::MediaEgressStats(stats) => {
                // There is a loss if a receiver report came, which SRTCP has authenticated.
                self.activity.note_statistics(stats.timestamp, stats.loss.is_some());
                self.stream.note_statistics(now, &stats);
            }
            // str0m answers with a goodbye of its own, which the rest of this drain sends.
            Event::Closed if self.end_reason().is_none() => {
                self.state = ViewerState::Ended(EndReason::PeerClosed);
            }
            _ => {}
        }
    }
}

fn receive(rtc: &mut Rtc, now: Instant, pair: AddressPair, bytes: &[u8]) -> Result<(), RtcError> {
    match Receive::new(Protocol::Udp, pair.remote, pair.local, bytes) {
        Ok(receive) => rtc.handle_input(Input::Receive(now, receive)),
        // It is nothing that str0m reads.
        Err(_) => Ok(()),
    }
}

/// RFC 7983, section 7.
fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(0..=3))
}
