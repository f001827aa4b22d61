//! A simulated viewer: a client, its network address and what it has decoded.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ballcast::testing::media::Codec;
use str0m::RtcConfig;

use crate::client::{self, Client, Outgoing, ReceivedFrame, value};

/// The interval at which libwebrtc repeats a PLI.
const REQUEST_INTERVAL: Duration = Duration::from_millis(200);

pub struct Viewer {
    client: Client,
    pub codec: Codec,
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
    /// It has left, or the server has ended its connection.
    pub closed: bool,
    /// The decoder has a key frame and every frame since.
    pub decodes: bool,
    /// When frames were decoded.
    pub decoded: Vec<Instant>,
    /// The number of the last one.
    pub last_number: Option<u64>,
    requested: Option<Instant>,
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
        let (client, offer) = Client::offering(config, address, codec, now);
        let viewer = Viewer {
            own_ufrag: value(&offer, UFRAG),
            own_password: value(&offer, PASSWORD),
            ..Viewer::of(client, codec, address, now)
        };
        (viewer, offer)
    }

    /// The media part of a media server, which takes one codec, and its answer to an offer.
    pub fn answering(
        address: SocketAddr,
        codec: Codec,
        is_ice_lite: bool,
        offer: &str,
        now: Instant,
    ) -> Option<(Viewer, String)> {
        let config = config(codec).set_ice_lite(is_ice_lite);
        let (client, answer) = Client::answering(config, address, codec, offer, now)?;
        let mut viewer = Viewer::of(client, codec, address, now);
        viewer.answered = Some(now);
        viewer.decode();
        Some((viewer, answer))
    }

    fn of(mut client: Client, codec: Codec, address: SocketAddr, now: Instant) -> Viewer {
        client.is_tolerant = true;
        Viewer {
            client,
            codec,
            address,
            mapped: address,
            username: None,
            password: String::new(),
            own_ufrag: String::new(),
            own_password: String::new(),
            created_at: now,
            answered: None,
            closed: false,
            decodes: false,
            decoded: Vec::new(),
            last_number: None,
            requested: None,
        }
    }

    pub fn accept_answer(&mut self, answer: &str, now: Instant) {
        self.username = Some(format!("{}:{}", value(answer, UFRAG), self.own_ufrag));
        self.password = value(answer, PASSWORD);
        self.client.accept(answer, now);
        self.answered = Some(now);
        self.decode();
        self.request_what_is_lost(now);
    }

    pub fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    pub fn is_connected(&self) -> bool {
        self.client.connected
    }

    pub fn take_outgoing(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.client.outgoing)
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(now);
        self.decode();
        self.request_what_is_lost(now);
    }

    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, contents: &[u8]) {
        self.client.handle_datagram(now, source, contents);
        self.decode();
    }

    fn request_what_is_lost(&mut self, now: Instant) {
        let lost = self.is_connected() && !self.decodes && !self.closed;
        if lost && self.requested.is_none_or(|at| now >= at + REQUEST_INTERVAL) {
            self.request_keyframe(now);
        }
    }

    pub fn request_keyframe(&mut self, now: Instant) {
        if self.client.request_picture(now) {
            self.requested = Some(now);
        }
        self.decode();
    }

    pub fn close(&mut self, now: Instant) {
        self.client.close(now);
        self.decode();
        self.closed = true;
    }

    pub fn poll_timeout(&self) -> Instant {
        let deadline = self.client.poll_timeout();
        match self.requested {
            Some(at) if !self.decodes && self.is_connected() && !self.closed => {
                deadline.min(at + REQUEST_INTERVAL)
            }
            _ => deadline,
        }
    }

    /// Decodes the frames that have come.
    fn decode(&mut self) {
        self.closed |= self.client.closed;
        for frame in self.client.frames.drain(..) {
            self.decodes = begins_anew(&frame) || self.decodes && frame.is_contiguous;
            if self.decodes {
                self.decoded.push(frame.at);
                self.last_number = crate::wire::number_of_frame(self.codec, &frame.data);
            }
        }
    }
}

const UFRAG: &str = "a=ice-ufrag:";
const PASSWORD: &str = "a=ice-pwd:";

/// Whether a decoder can begin with it; the parameter sets may be those of an earlier frame.
fn begins_anew(frame: &ReceivedFrame) -> bool {
    let is_idr = |unit: &[u8]| unit[..3] == [0, 0, 1] && unit[3] == 0x65;
    match frame.codec {
        Codec::H264 => frame.data.windows(4).any(is_idr),
        Codec::Vp8 => frame.data[0] & 1 == 0,
    }
}

fn config(codec: Codec) -> RtcConfig {
    client::config(codec, crate::crypto::provider())
        .set_dtls_cert(crate::crypto::certificate(fastrand::u64(..)))
        .set_reordering_size_video(30)
}
