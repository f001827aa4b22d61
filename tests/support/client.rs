//! A viewer without I/O: str0m as the offerer, which receives video.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballcast::testing::media::Codec;
use str0m::change::{SdpAnswer, SdpApi, SdpOffer, SdpPendingOffer};
use str0m::config::CryptoProvider;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::VideoOrientation;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

// nal_unit_type, ITU-T H.264 table 7-1.
const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
/// More outputs of one drain are without end.
const MOST_OUTPUTS: usize = 1_000;
/// When str0m is asked again that wants to be asked at once, again and again.
const LATER: Duration = Duration::from_millis(1);

/// One encoded frame from the depacketizer.
pub struct ReceivedFrame {
    pub codec: Codec,
    pub data: Vec<u8>,
    /// 90 kHz.
    pub timestamp: u64,
    /// No frame is missing before it.
    pub is_contiguous: bool,
    /// In the header extension of its last packet.
    pub orientation: Option<VideoOrientation>,
    pub at: Instant,
}

impl ReceivedFrame {
    pub fn is_keyframe(&self) -> bool {
        match self.codec {
            Codec::H264 => [SPS, PPS, IDR].iter().all(|kind| self.has(*kind)),
            // RFC 6386, section 9.1.
            Codec::Vp8 => self.data[0] & 1 == 0,
        }
    }

    /// Whether the access unit has a NAL unit of this type.
    fn has(&self, nal_type: u8) -> bool {
        let starts = self.data.windows(4).filter(|w| w[..3] == [0, 0, 1]);
        starts.into_iter().any(|w| w[3] & 0x1f == nal_type)
    }
}

/// A datagram on its way to the server.
#[derive(Clone)]
pub struct Outgoing {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub contents: Vec<u8>,
}

pub struct Client {
    rtc: Rtc,
    codec: Codec,
    pending: Option<SdpPendingOffer>,
    mid: Mid,
    answer: String,
    deadline: Instant,
    pub address: SocketAddr,
    pub connected: bool,
    /// The server ended the connection with a DTLS close_notify.
    pub closed: bool,
    pub frames: Vec<ReceivedFrame>,
    pub outgoing: Vec<Outgoing>,
    /// The network may bring anything: an error of str0m is no failure of the test.
    pub is_tolerant: bool,
}

/// What a client with one codec is built from.
pub fn config(codec: Codec, crypto: Arc<CryptoProvider>) -> RtcConfig {
    let config = RtcConfig::new().set_crypto_provider(crypto).clear_codecs();
    match codec {
        Codec::H264 => config.enable_h264(true),
        Codec::Vp8 => config.enable_vp8(true),
    }
}

fn build(config: RtcConfig, address: SocketAddr, now: Instant) -> Rtc {
    let mut rtc = config.build(now);
    rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).unwrap());
    rtc
}

impl Client {
    /// A client at `address` that supports one codec, and the SDP of its offer.
    pub fn new(address: SocketAddr, codec: Codec, now: Instant) -> (Client, String) {
        let real = Arc::new(str0m::crypto::from_feature_flags());
        Client::with_crypto(address, codec, real, now)
    }

    pub fn with_crypto(
        address: SocketAddr,
        codec: Codec,
        crypto: Arc<CryptoProvider>,
        now: Instant,
    ) -> (Client, String) {
        Client::offering(config(codec, crypto), address, codec, now)
    }

    /// A client of this configuration at `address`, and the SDP of its offer.
    pub fn offering(
        config: RtcConfig,
        address: SocketAddr,
        codec: Codec,
        now: Instant,
    ) -> (Client, String) {
        let mut rtc = build(config, address, now);
        let mut api = rtc.sdp_api();
        let mid = api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        let client = Client { pending: Some(pending), ..Client::at(address, rtc, codec, mid, now) };
        (client, offer.to_sdp_string())
    }

    /// A media server of this configuration at `address`, and its answer to an offer. There is none
    /// to an offer that it does not take.
    pub fn answering(
        config: RtcConfig,
        address: SocketAddr,
        codec: Codec,
        offer: &str,
        now: Instant,
    ) -> Option<(Client, String)> {
        let mut rtc = build(config, address, now);
        let offer = SdpOffer::from_sdp_string(offer).ok()?;
        let answer = rtc.sdp_api().accept_offer(offer).ok()?.to_sdp_string();
        let mid = value(&answer, "a=mid:").as_str().into();
        let mut client = Client::at(address, rtc, codec, mid, now);
        client.answer.clone_from(&answer);
        client.handle_timeout(now);
        Some((client, answer))
    }

    fn at(address: SocketAddr, rtc: Rtc, codec: Codec, mid: Mid, now: Instant) -> Client {
        Client {
            rtc,
            codec,
            pending: None,
            mid,
            answer: String::new(),
            deadline: now,
            address,
            connected: false,
            closed: false,
            frames: Vec::new(),
            outgoing: Vec::new(),
            is_tolerant: false,
        }
    }

    /// Accepts the last answer again, with new ICE credentials.
    pub fn answer_restart(&mut self, ufrag: &str, pwd: &str, now: Instant) {
        let line = |line: &str| match line.split_once(':') {
            Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{ufrag}\r\n"),
            Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{pwd}\r\n"),
            _ => format!("{line}\r\n"),
        };
        let answer: String = self.answer.lines().map(line).collect();
        self.accept(&answer, now);
    }

    pub fn accept(&mut self, answer: &str, now: Instant) {
        self.answer = answer.to_owned();
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        let pending = self.pending.take().unwrap();
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        self.handle_timeout(now);
    }

    /// The last accepted answer.
    pub fn answer(&self) -> &str {
        &self.answer
    }

    /// The SDP of a subsequent offer. `accept` takes its answer.
    pub fn offer_again(&mut self, change: impl FnOnce(&mut SdpApi)) -> String {
        let mut api = self.rtc.sdp_api();
        change(&mut api);
        let (offer, pending) = api.apply().unwrap();
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.input(Input::Timeout(now));
        self.drain(now);
    }

    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, contents: &[u8]) {
        if let Ok(receive) = Receive::new(Protocol::Udp, source, self.address, contents) {
            self.input(Input::Receive(now, receive));
            self.drain(now);
        }
    }

    /// Sends PLI if video may come and its format allows it. Returns whether it may come.
    pub fn request_picture(&mut self, now: Instant) -> bool {
        let Some(mut writer) = self.rtc.writer(self.mid) else { return false };
        if writer.request_keyframe(None, KeyframeRequestKind::Pli).is_ok() {
            self.handle_timeout(now);
        }
        true
    }

    pub fn request_keyframe(&mut self, kind: KeyframeRequestKind, now: Instant) {
        if let Some(mut writer) = self.rtc.writer(self.mid) {
            let _ = writer.request_keyframe(None, kind);
        } else {
            let mut api = self.rtc.direct_api();
            api.stream_rx_by_mid(self.mid, None).unwrap().request_keyframe(kind);
        }
        self.handle_timeout(now);
    }

    /// Sends RTCP BYE and DTLS close_notify, as a browser's `pc.close()` does.
    pub fn close(&mut self, now: Instant) {
        let closed = self.rtc.close();
        assert!(self.is_tolerant || closed.is_ok(), "{closed:?}");
        self.drain(now);
    }

    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    fn input(&mut self, input: Input) {
        let handled = self.rtc.handle_input(input);
        assert!(self.is_tolerant || handled.is_ok(), "{handled:?}");
    }

    fn drain(&mut self, now: Instant) {
        for _ in 0..MOST_OUTPUTS {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(Transmit { source, destination, contents, .. })) => {
                    let contents = contents.to_vec();
                    self.outgoing.push(Outgoing { source, destination, contents });
                }
                Ok(Output::Event(Event::Connected)) => self.connected = true,
                Ok(Output::Event(Event::Closed)) => self.closed = true,
                Ok(Output::Event(Event::MediaData(media))) => self.frames.push(ReceivedFrame {
                    codec: self.codec,
                    data: media.data.to_vec(),
                    timestamp: media.time.numer(),
                    is_contiguous: media.contiguous,
                    orientation: media.ext_vals.video_orientation,
                    at: now,
                }),
                Ok(Output::Event(_)) => {}
                Ok(Output::Timeout(at)) if at > now => {
                    self.deadline = at;
                    return;
                }
                Ok(Output::Timeout(_)) => {
                    self.input(Input::Timeout(now));
                    self.deadline = now + LATER;
                    if matches!(self.rtc.poll_output(), Ok(Output::Timeout(at)) if at <= now) {
                        return;
                    }
                }
                Err(error) => assert!(self.is_tolerant, "{error}"),
            }
        }
        assert!(self.is_tolerant, "a drain without an end");
        self.deadline = now + LATER;
    }
}

/// The value of the first line of this name, such as `a=mid:`.
pub fn value(sdp: &str, name: &str) -> String {
    sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
}
