//! One browser, player or media server that receives the video. The only part that drives a
//! [`str0m::Rtc`].
//!
//! Browsers and players send an offer, which is answered ([`Viewer::answer`]). A media server is sent an
//! offer, and its answer makes it a viewer ([`PendingOffer`]).
//!
//! A viewer starts *half-open*. It is *live* once ICE and DTLS are up, and *silent* while nothing authentic
//! has come from it for [`SILENT_AFTER`](super::SILENT_AFTER). A live viewer gets every frame that its
//! *gate* lets through: the gate is shut at first and after each drop, and only a key frame opens it.
//!
//! str0m requires a complete drain of its outputs after each change of an `Rtc`: `drive` is the one place
//! that changes it, and drains it. The `Rtc` runs in RTP mode: payloads are made once for all viewers
//! ([`Packets`]) and shared, also with its cache for retransmissions.

mod answer;
mod connection;
mod ice;
mod pending_offer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::Pt;
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpWrite, VideoOrientation};
use str0m::{Event, IceCreds, Input, Rtc, RtcError};

use self::connection::ConnectionParts;
pub use self::pending_offer::{PendingOffer, formats};
use super::activity::{Activity, HALF_OPEN_LIMIT};
use super::driven_rtc::{DrivenRtc, RtcOutput};
use super::effect::{Effects, ViewerEffect};
use super::failure::Failure;
use super::learnt_addresses::LearntAddresses;
use super::local_side::LocalSide;
use super::payload::Packets;
use super::resends;
use super::state::{EndReason, ViewerState};
use super::stream::{Batch, SendDecision, VideoStream};
use super::{AddressPair, Transmit};
use crate::containment::contain;
use crate::foreign::Foreign;
use crate::media::{Codec, Rotation};
use crate::sdp::offer::{Offer, PayloadFormat};

pub struct Viewer {
    rtc: DrivenRtc,
    codec: Codec,
    stream: VideoStream,
    resend_packets: usize,
    local: LocalSide,
    remote_credentials: IceCreds,
    /// It is a media server, and the offer was ours, so that we are the controlling ICE agent (RFC 8445,
    /// section 6.1.1).
    is_media_server: bool,
    state: ViewerState,
    created_at: Instant,
    activity: Activity,
    learnt_addresses: LearntAddresses,
    failure: Failure,
    effects: Effects,
}

impl Viewer {
    /// A half-open viewer whose stream is declared.
    fn new(parts: ConnectionParts, remote_credentials: IceCreds, now: Instant) -> Viewer {
        let mut viewer = Viewer {
            rtc: DrivenRtc::new(parts.rtc, now),
            codec: parts.codec,
            stream: VideoStream::new(parts.format, &parts.numbers),
            resend_packets: parts.resend_packets,
            local: parts.local,
            remote_credentials,
            is_media_server: parts.is_media_server,
            state: ViewerState::HalfOpen,
            created_at: now,
            activity: Activity::new(now),
            learnt_addresses: LearntAddresses::new(),
            failure: Failure::default(),
            effects: Effects::default(),
        };
        forget_resends(viewer.rtc.begin_drain(), &viewer.stream, viewer.resend_packets);
        viewer
    }

    /// Answers another offer of the same connection.
    pub fn answer_to(&mut self, offer: &Offer) -> String {
        self.local.answer(offer, &self.stream.format)
    }

    /// Whether the offer asks for the format that is sent.
    pub fn matches_format(&self, offer: &Offer) -> bool {
        let PayloadFormat { codec, payload_type, rtx, .. } = offer.format;
        let format = &self.stream.format;
        (self.codec, format.payload_type, format.rtx) == (codec, payload_type, rtx)
    }

    /// Handles DTLS or SRTCP, or a forgery of them: the datagram proves nothing by arriving.
    pub fn handle_datagram(&mut self, now: Instant, pair: AddressPair, contents: &[u8]) {
        self.drive(now, |rtc| {
            match Receive::new(Protocol::Udp, pair.remote, pair.local, contents) {
                Ok(receive) => rtc.handle_input(Input::Receive(now, receive)),
                // str0m does not parse it.
                Err(_) => Ok(()),
            }
        });
        if self.state == ViewerState::HalfOpen && self.failure.note_handshake(contents) {
            self.effects.push(ViewerEffect::CertificateUnusable);
        }
    }

    /// Ends the silence, after something authentic has come.
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
            // The rest of a frame is not sent after the host was suspended.
            self.stream.stop();
        }
        while let Some(repeat) = self.stream.take_repeat(now) {
            self.effects.push(ViewerEffect::Transmit(repeat));
        }
        self.stream.advance(now);
        self.send_batches(now);
        if now >= self.rtc.deadline() {
            self.drive(now, |rtc| rtc.handle_input(Input::Timeout(now)));
        }
        match self.state {
            ViewerState::HalfOpen if now >= self.created_at + HALF_OPEN_LIMIT => {
                self.end(now, self.failure.connect_reason());
            }
            ViewerState::Live | ViewerState::Silent if now >= self.activity.gone_at() => {
                self.end(now, EndReason::Silent);
            }
            ViewerState::Live if now >= self.silent_at() && self.is_media_server => {
                self.end(now, EndReason::Silent);
            }
            ViewerState::Live if now >= self.silent_at() => self.state = ViewerState::Silent,
            _ => {}
        }
    }

    /// When media stops. A media server is given up then; others may come back.
    fn silent_at(&self) -> Instant {
        if self.is_media_server { self.activity.lost_at() } else { self.activity.silent_at() }
    }

    /// Sends a frame if the gate lets it through. A large frame is paced over `within`.
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
                // Receivers take the rotation from the last packet of a frame.
                let rotation = Some(slice.frame.rotation).filter(|_| marker);
                let extensions = ExtensionValues {
                    video_orientation: rotation.and_then(video_orientation),
                    ..ExtensionValues::default()
                };
                let packet = packet.ext_vals(extensions);
                stream.write_rtp(packet.marker(marker).nackable(is_resent));
            }
            // str0m sends packets only after a timeout.
            rtc.handle_input(Input::Timeout(now))
        });
    }

    /// Sends nothing more until the next key frame: a packet to this viewer was lost on our side.
    pub fn shut_gate(&mut self) {
        self.stream.shut_gate();
    }

    /// Ends the viewer, and tells it (RTCP BYE, DTLS close_notify).
    pub fn end(&mut self, now: Instant, reason: EndReason) {
        if self.end_reason().is_none() {
            self.drive(now, Rtc::close);
            self.state = ViewerState::Ended(reason);
        }
    }

    /// The next effect, until `None`.
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
        let own = own.min(self.rtc.deadline());
        Some(self.stream.next_deadline().into_iter().fold(own, Instant::min))
    }

    /// The codec of its frames.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether it gets frames.
    pub fn is_watching(&self) -> bool {
        self.state == ViewerState::Live
    }

    /// Whether it is live, but waits for a key frame.
    pub fn awaits_keyframe(&self) -> bool {
        self.is_watching() && !self.stream.is_gate_open()
    }

    pub fn state(&self) -> ViewerState {
        self.state
    }

    pub fn end_reason(&self) -> Option<EndReason> {
        self.state.end_reason()
    }

    /// The address that media goes to, once ICE has selected a pair.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.activity.selected().map(|pair| pair.remote)
    }

    pub fn stream(&self) -> &VideoStream {
        &self.stream
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.created_at)
    }

    /// The last error of its connection.
    pub fn failure(&self) -> Option<&Foreign> {
        self.failure.last()
    }

    /// Changes the `Rtc` and drains it. A panic inside str0m ends only this viewer, and so does a DTLS
    /// error once it is connected: the record is authentic, and the error fatal. Before that, anybody can
    /// send a record that DTLS fails on, and the handshake goes on.
    fn drive(&mut self, now: Instant, change: impl FnOnce(&mut Rtc) -> Result<(), RtcError>) {
        if self.end_reason().is_some() {
            return;
        }
        let driven = contain(|| {
            let changed = change(self.rtc.begin_drain());
            if let Err(error) = changed {
                self.failure.note_error(&error);
                if matches!(error, RtcError::Dtls(_)) && self.state != ViewerState::HalfOpen {
                    let closed = self.rtc.within_drain().close();
                    closed.unwrap_or_else(|error| log::debug!("str0m: {error}"));
                    self.state = ViewerState::Ended(EndReason::Failed);
                }
            }
            self.drain(now);
        });
        if driven.is_err() {
            self.state = ViewerState::Ended(EndReason::Panicked);
        } else if !self.rtc.is_alive() && self.end_reason().is_none() {
            self.state = ViewerState::Ended(EndReason::Failed);
        }
    }

    fn drain(&mut self, now: Instant) {
        self.stream.begin_drain();
        while let Some(output) = self.rtc.poll(now) {
            match output {
                RtcOutput::Transmit(transmit) => self.transmit(now, transmit),
                RtcOutput::Event(event) => self.handle_event(now, event),
                RtcOutput::Error(error) => self.failure.note_error(&error),
            }
        }
    }

    fn transmit(&mut self, now: Instant, transmit: str0m::net::Transmit) {
        let str0m::net::Transmit { source, destination, contents, .. } = transmit;
        let contents = Vec::from(contents);
        if is_stun(&contents) {
            if let Some(transaction) = ice::check_of(&contents) {
                self.effects.push(ViewerEffect::CheckSent(transaction, destination));
            }
        } else {
            let pair = AddressPair { local: source, remote: destination };
            let last_check = || self.learnt_addresses.last_check(destination).unwrap_or(now);
            self.activity.select(pair, last_check);
        }
        let transmit = Transmit { source, destination, contents };
        match self.stream.decide(now, &transmit) {
            SendDecision::Send => self.effects.push(ViewerEffect::Transmit(transmit)),
            SendDecision::Skip => {}
            SendDecision::ForgetResends => {
                forget_resends(self.rtc.within_drain(), &self.stream, self.resend_packets);
            }
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
                // A loss is known if a receiver report came, which SRTCP has authenticated.
                self.activity.note_statistics(stats.timestamp, stats.loss.is_some());
                self.stream.note_statistics(now, &stats);
            }
            // The rest of this drain sends str0m's own close_notify.
            Event::Closed if self.end_reason().is_none() => {
                self.state = ViewerState::Ended(EndReason::PeerClosed);
            }
            _ => {}
        }
    }
}

/// Starts a new RTX cache: there is no other way to take packets back from str0m.
fn forget_resends(rtc: &mut Rtc, stream: &VideoStream, resend_packets: usize) {
    if let Some(stream) = rtc.direct_api().stream_tx(&stream.ssrc()) {
        stream.set_rtx_cache(resend_packets, resends::MAX_AGE, None);
    }
}

/// The rotation in the header extension `urn:3gpp:video-orientation`, whose names tell how the picture is turned,
/// not how to turn it back. Without a value, a receiver does not rotate.
fn video_orientation(rotation: Rotation) -> Option<VideoOrientation> {
    match rotation {
        Rotation::Deg0 => None,
        Rotation::Deg90 => Some(VideoOrientation::Deg270),
        Rotation::Deg180 => Some(VideoOrientation::Deg180),
        Rotation::Deg270 => Some(VideoOrientation::Deg90),
    }
}

/// RFC 7983, section 7.
fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(0..=3))
}
