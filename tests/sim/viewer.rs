//! A simulated viewer: str0m's client, its network address and what it has decoded.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ballcast::testing::media::Codec;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// The interval at which libwebrtc repeats a PLI.
const REQUEST_INTERVAL: Duration = Duration::from_millis(200);

pub struct Viewer {
    rtc: Rtc,
    pub codec: Codec,
    pending: Option<SdpPendingOffer>,
    mid: Mid,
    deadline: Instant,
    pub address: SocketAddr,
    /// The address that the server sees: a NAT or a new network changes it.
    pub mapped: SocketAddr,
    /// The USERNAME of its connectivity checks: the server's ufrag and its own.
    pub username: Option<String>,
    /// The key of those checks: the server's password.
    pub password: String,
    own_ufrag: String,
    /// Signs its responses.
    pub own_password: String,
    pub created_at: Instant,
    pub answered: Option<Instant>,
    pub connected: bool,
    pub closed: bool,
    /// The decoder has a key frame and every frame since.
    pub decodes: bool,
    /// When frames were decoded.
    pub decoded: Vec<Instant>,
    /// The number of the last one.
    pub last_number: Option<u64>,
    requested: Option<Instant>,
    pub outgoing: Vec<Transmit>,
}

impl Viewer {
    /// A viewer and the SDP of its offer.
    pub fn new(
        address: SocketAddr,
        codec: Codec,
        check_interval: Duration,
        now: Instant,
    ) -> (Viewer, String) {
        let mut config = config(codec);
        config.set_max_stun_rto(check_interval);
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).unwrap());
        let mut api = rtc.sdp_api();
        let mid = api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        let viewer = Viewer {
            pending: Some(pending),
            own_ufrag: ufrag(&offer.to_sdp_string()),
            own_password: value(&offer.to_sdp_string(), "a=ice-pwd:"),
            ..Viewer::of(rtc, codec, mid, address, now)
        };
        (viewer, offer.to_sdp_string())
    }

    /// The media part of a media server, which takes one codec, and its answer to an offer.
    pub fn answering(
        address: SocketAddr,
        codec: Codec,
        is_ice_lite: bool,
        offer: &str,
        now: Instant,
    ) -> Option<(Viewer, String)> {
        let mut rtc = config(codec).set_ice_lite(is_ice_lite).build(now);
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).unwrap());
        let offer = SdpOffer::from_sdp_string(offer).ok()?;
        let answer = rtc.sdp_api().accept_offer(offer).ok()?.to_sdp_string();
        let mid = value(&answer, "a=mid:").as_str().into();
        let mut viewer = Viewer::of(rtc, codec, mid, address, now);
        viewer.answered = Some(now);
        viewer.handle_timeout(now);
        Some((viewer, answer))
    }

    fn of(rtc: Rtc, codec: Codec, mid: Mid, address: SocketAddr, now: Instant) -> Viewer {
        Viewer {
            rtc,
            codec,
            pending: None,
            mid,
            deadline: now,
            address,
            mapped: address,
            username: None,
            password: String::new(),
            own_ufrag: String::new(),
            own_password: String::new(),
            created_at: now,
            answered: None,
            connected: false,
            closed: false,
            decodes: false,
            decoded: Vec::new(),
            last_number: None,
            requested: None,
            outgoing: Vec::new(),
        }
    }

    pub fn accept_answer(&mut self, answer: &str, now: Instant) {
        self.username = Some(format!("{}:{}", ufrag(answer), self.own_ufrag));
        self.password = value(answer, "a=ice-pwd:");
        let answer = SdpAnswer::from_sdp_string(answer).expect("our answers parse");
        let pending = self.pending.take().expect("one answer for each offer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("our answers fit");
        self.answered = Some(now);
        self.handle_timeout(now);
    }

    pub fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = self.rtc.handle_input(Input::Timeout(now));
        self.drain(now);
        let lost = self.connected && !self.decodes && !self.closed;
        if lost && self.requested.is_none_or(|at| now >= at + REQUEST_INTERVAL) {
            self.request_keyframe(now);
        }
    }

    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, contents: &[u8]) {
        if let Ok(receive) = Receive::new(Protocol::Udp, source, self.address, contents) {
            let _ = self.rtc.handle_input(Input::Receive(now, receive));
            self.drain(now);
        }
    }

    pub fn request_keyframe(&mut self, now: Instant) {
        if let Some(mut writer) = self.rtc.writer(self.mid) {
            self.requested = Some(now);
            if writer.request_keyframe(None, KeyframeRequestKind::Pli).is_ok() {
                let _ = self.rtc.handle_input(Input::Timeout(now));
                self.drain(now);
            }
        }
    }

    pub fn close(&mut self, now: Instant) {
        let _ = self.rtc.close();
        self.drain(now);
        self.closed = true;
    }

    pub fn poll_timeout(&self) -> Instant {
        match self.requested {
            Some(at) if !self.decodes && self.connected && !self.closed => {
                self.deadline.min(at + REQUEST_INTERVAL)
            }
            _ => self.deadline,
        }
    }

    fn drain(&mut self, now: Instant) {
        for _ in 0..1_000 {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => self.outgoing.push(transmit),
                Ok(Output::Event(event)) => self.handle_event(event, now),
                Ok(Output::Timeout(at)) if at > now => {
                    self.deadline = at;
                    return;
                }
                Ok(Output::Timeout(_)) => {
                    let _ = self.rtc.handle_input(Input::Timeout(now));
                    self.deadline = now + Duration::from_millis(1);
                    if matches!(self.rtc.poll_output(), Ok(Output::Timeout(at)) if at <= now) {
                        return;
                    }
                }
                Err(_) => {}
            }
        }
        self.deadline = now + Duration::from_millis(1);
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.connected = true,
            Event::Closed => self.closed = true,
            Event::MediaData(media) => {
                let is_idr = |unit: &[u8]| unit[..3] == [0, 0, 1] && unit[3] == 0x65;
                let keyframe = match self.codec {
                    Codec::H264 => media.data.windows(4).any(is_idr),
                    Codec::Vp8 => media.data[0] & 1 == 0,
                };
                self.decodes = keyframe || self.decodes && media.contiguous;
                if self.decodes {
                    self.decoded.push(now);
                    self.last_number = crate::wire::number_of_frame(self.codec, &media.data);
                }
            }
            _ => {}
        }
    }
}

fn config(codec: Codec) -> RtcConfig {
    let config = RtcConfig::new()
        .set_crypto_provider(crate::crypto::provider())
        .set_dtls_cert(crate::crypto::certificate(fastrand::u64(..)))
        .clear_codecs()
        .set_reordering_size_video(30);
    match codec {
        Codec::H264 => config.enable_h264(true),
        Codec::Vp8 => config.enable_vp8(true),
    }
}

fn ufrag(sdp: &str) -> String {
    value(sdp, "a=ice-ufrag:")
}

fn value(sdp: &str, name: &str) -> String {
    sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
}
