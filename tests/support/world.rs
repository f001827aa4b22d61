//! A server, its viewers and a network without loss or delay between them, in virtual time: no
//! socket, no thread, no sleep.

mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ballcast::testing::http::Url;
use ballcast::testing::media::{
    AccessUnit, Appearance, Codec, Damage, Frame, Size, SnapshotError, SourcePicture,
};
use ballcast::testing::publish::{self, TargetId};
use ballcast::testing::server::limits::admission::Limits;
use ballcast::testing::server::{Config, ConnId, Input, Output, Server};
use ballcast::testing::source;
use ballcast::testing::web::access::AccessPolicy;
use ballcast::testing::web::auth::Token;
use ballcast::testing::webrtc::Transmit;
use ballcast::testing::work::steps_of;
use serde_json::{Value, json};
use str0m::config::CryptoProvider;

use super::client::{self, Client};

pub const FRAMES_PER_SECOND: u32 = 30;
/// The origin that the server allows to use WHEP.
pub const ALLOWED_ORIGIN: &str = "https://home.example";

/// The smallest byte strings that look like H.264 frames to the server.
const KEY_FRAME: &[u8] = &[0, 0, 0, 1, 0x67, 0x42, 0, 0, 1, 0x68, 0xce, 0, 0, 1, 0x65, 0x88];
const DELTA_FRAME: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a];
/// The same for a VP8 key frame. The source here makes no other VP8 frames.
const VP8_FRAME: &[u8] = &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01, 0x9a];

/// The packet type of RTCP BYE (RFC 3550, section 6.6), which SRTCP leaves readable.
const RTCP_BYE: u8 = 203;

/// The steps that an input may take beyond one for each of its bytes: as much as looking at each
/// connection and each viewer that is half-open.
pub const MOST_STEPS: u64 = 512;

/// More outputs than this for one input mean an endless loop.
const MOST_OUTPUTS: usize = 20_000;

fn real_crypto() -> Arc<CryptoProvider> {
    Arc::new(str0m::crypto::from_feature_flags())
}

/// Makes a JPEG file of a width and the number of the picture.
pub type SnapshotMaker = fn(Option<usize>, u64) -> Result<Vec<u8>, SnapshotError>;

pub struct World {
    pub now: Instant,
    crypto: Arc<CryptoProvider>,
    pub server: Server,
    pub clients: Vec<ClientHost>,
    pub captures: u64,
    /// The codecs of each picture from outside, or in its place.
    pub encodes: Vec<(Size, Vec<Codec>)>,
    pub source_commands: Vec<source::SourceCommand>,
    pub publish_commands: Vec<(TargetId, publish::PublishCommand)>,
    pub kept_sessions: BTreeMap<TargetId, Url>,
    /// The codec that the next clients offer.
    pub codec: Codec,
    /// The codecs in which the last picture was encoded.
    pub encoded: Vec<Codec>,
    pub forced_keyframes: Vec<(Codec, Instant)>,
    /// Destinations of datagrams that the server sent to an address without a client.
    pub undeliverable: Vec<SocketAddr>,
    /// While set, sending a datagram fails.
    pub transmit_fails: bool,
    /// While set, the source does not react to a request for an H.264 key frame.
    pub source_ignores_keyframe_requests: bool,
    /// While set, every capture fails.
    pub source_fails: bool,
    /// How each wish for a JPEG file is answered; `None` leaves it to the test.
    pub snapshot: Option<SnapshotMaker>,
    /// What is wrong with all pictures of a stream from outside.
    pub damage: Option<Damage>,
    /// How long the source, and all else with it, is busy with a JPEG file.
    pub snapshot_cost: Duration,
    /// The widths of all wishes for a JPEG file.
    pub snapshots: Vec<Option<usize>>,
    keyframe_forced: bool,
    deadline: Option<Instant>,
    responses: Vec<(ConnId, Vec<u8>)>,
    closed: Vec<ConnId>,
    next_connection: u64,
    /// Bytes of connections that have taken no step of work yet.
    unserved_bytes: u64,
}

/// A client and its side of the network.
pub struct ClientHost {
    pub client: Client,
    /// The source address that the server sees. Changing it simulates a new NAT binding.
    pub address: SocketAddr,
    /// USERNAME of its connectivity checks: the user fragments of the server and of the client.
    pub username: String,
    /// The key for MESSAGE-INTEGRITY of its connectivity checks: the password of the server.
    pub password: String,
    /// While set, the host neither sends nor receives.
    pub powered_off: bool,
    /// When each datagram to this host was sent, media and everything else.
    pub datagrams: Vec<Instant>,
    /// The server has sent it an RTCP BYE.
    pub bye: bool,
    /// Of the first RTP packet that was sent to it.
    pub first_sequence_number: Option<u16>,
    /// Payload types of the RTP packets that were sent to it, and whether anything was in their header
    /// extension, which str0m always has.
    pub rtp_kinds: BTreeSet<(u8, bool)>,
    /// How many of the first datagrams that the client sends are kept in `sent`.
    pub sent_limit: usize,
    pub sent: Vec<Vec<u8>>,
}

impl World {
    pub fn new() -> World {
        World::with_limits(Limits::default())
    }

    /// A world whose pictures come from outside.
    pub fn with_source(source: source::SourceConfig) -> World {
        World::with(real_crypto(), |config| config.source = Some(source))
    }

    pub fn with_limits(limits: Limits) -> World {
        World::with(real_crypto(), |config| config.limits = limits)
    }

    pub fn with_token(token: Option<Token>) -> World {
        World::with(real_crypto(), |config| config.token = token)
    }

    /// A world whose server is configured in some other way.
    pub fn configured(change: impl FnOnce(&mut Config)) -> World {
        World::with(real_crypto(), change)
    }

    /// A world in which the server and the clients use `crypto`.
    pub fn with_crypto(limits: Limits, crypto: Arc<CryptoProvider>) -> World {
        World::with(crypto, |config| config.limits = limits)
    }

    fn with(crypto: Arc<CryptoProvider>, change: impl FnOnce(&mut Config)) -> World {
        let now = Instant::now();
        let mut config = Config {
            entropy: [7; 32],
            crypto: Arc::clone(&crypto),
            certificate: crypto.dtls_provider.generate_certificate().unwrap(),
            addresses: vec!["10.0.0.254:8080".parse().unwrap()],
            access: AccessPolicy {
                names: vec!["camera".into()],
                origins: vec![ALLOWED_ORIGIN.into()],
                ..AccessPolicy::default()
            },
            announced: Vec::new(),
            targets: Vec::new(),
            stale_sessions: BTreeMap::new(),
            token: None,
            limits: Limits::default(),
            frames_per_second: FRAMES_PER_SECOND,
            bitrate: None,
            source: None,
            appearance: Appearance::default(),
            when_watched: false,
            stamped: false,
            title: None,
            wall_clock: UNIX_EPOCH + Duration::from_secs(784_111_777),
        };
        change(&mut config);
        World {
            now,
            crypto,
            server: Server::new(config, now),
            clients: Vec::new(),
            captures: 0,
            encodes: Vec::new(),
            source_commands: Vec::new(),
            publish_commands: Vec::new(),
            kept_sessions: BTreeMap::new(),
            codec: Codec::H264,
            encoded: Vec::new(),
            forced_keyframes: Vec::new(),
            undeliverable: Vec::new(),
            transmit_fails: false,
            source_ignores_keyframe_requests: false,
            source_fails: false,
            snapshot: Some(|width, captures| Ok(format!("JPEG {captures} {width:?}").into_bytes())),
            damage: None,
            snapshot_cost: Duration::ZERO,
            snapshots: Vec::new(),
            keyframe_forced: false,
            deadline: None,
            responses: Vec::new(),
            closed: Vec::new(),
            next_connection: 1,
            unserved_bytes: 0,
        }
    }

    /// A new client at `10.0.<index>.1`, and the SDP of its offer.
    pub fn offer(&mut self) -> (Client, String) {
        let index = self.clients.len() as u8;
        let address = SocketAddr::from(([10, 0, index, 1], 5_000));
        Client::with_crypto(address, self.codec, Arc::clone(&self.crypto), self.now)
    }

    /// Adds a viewer with an offer over HTTP, and returns its index. It connects when time passes.
    pub fn join(&mut self) -> usize {
        self.try_join().unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// As `join`, but returns the status and the JSON document of a refusal.
    pub fn try_join(&mut self) -> Result<usize, (u16, Value)> {
        let (client, sdp) = self.offer();
        let body = json!({"type": "offer", "sdp": sdp}).to_string();
        let (status, answer) = self.post_offer(client.address, &body);
        if status != 200 {
            return Err((status, answer));
        }
        Ok(self.add(client, &sdp, answer["sdp"].as_str().unwrap()))
    }

    /// Adds a client whose offer was answered, and returns its index. It connects when time passes.
    pub fn add(&mut self, mut client: Client, offer: &str, answer: &str) -> usize {
        client.accept(answer, self.now);
        self.add_host(client, offer, answer)
    }

    /// Adds a media server that answers an offer of the server's: its index, and the answer.
    pub fn invite(&mut self, offer: &str) -> (usize, String) {
        let address = SocketAddr::from(([10, 0, self.clients.len() as u8, 1], 5_000));
        let config = client::config(self.codec, Arc::clone(&self.crypto));
        let (client, answer) =
            Client::answering(config, address, self.codec, offer, self.now).unwrap();
        (self.add_host(client, &answer, offer), answer)
    }

    /// Adds a client by its own description and the server's.
    fn add_host(&mut self, client: Client, own: &str, servers: &str) -> usize {
        let value = |sdp: &str, name: &str| {
            let value = sdp.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap().to_owned()
        };
        let ufrag = |sdp: &str| value(sdp, "a=ice-ufrag:");
        let username = format!("{}:{}", ufrag(servers), ufrag(own));
        let password = value(servers, "a=ice-pwd:");
        self.clients.push(ClientHost {
            address: client.address,
            client,
            username,
            password,
            powered_off: false,
            datagrams: Vec::new(),
            bye: false,
            first_sequence_number: None,
            rtp_kinds: BTreeSet::new(),
            sent_limit: 0,
            sent: Vec::new(),
        });
        self.clients.len() - 1
    }

    /// Advances the time by `duration`, and runs everything that is due in it.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.deliver();
        loop {
            let clients = self.clients.iter().filter(|host| !host.powered_off);
            let next = clients.map(|host| host.client.poll_timeout()).chain(self.deadline).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            let now = self.now;
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                self.input(Input::Timeout);
            }
            for host in self.clients.iter_mut().filter(|host| !host.powered_off) {
                if host.client.poll_timeout() <= now {
                    host.client.handle_timeout(now);
                }
            }
            self.deliver();
        }
        self.now = self.now.max(end);
        self.input(Input::Timeout);
        self.deliver();
    }

    /// Delivers datagrams from the clients to the server until none is left.
    fn deliver(&mut self) {
        loop {
            let mut datagrams = Vec::new();
            for host in &mut self.clients {
                let outgoing = std::mem::take(&mut host.client.outgoing);
                if host.powered_off {
                    continue;
                }
                let kept = host.sent_limit.saturating_sub(host.sent.len());
                host.sent.extend(outgoing.iter().take(kept).map(|t| t.contents.to_vec()));
                datagrams.extend(outgoing.into_iter().map(|sent| (host.address, sent)));
            }
            if datagrams.is_empty() {
                return;
            }
            for (source, transmit) in datagrams {
                self.input(Input::Datagram {
                    source,
                    destination: transmit.destination,
                    contents: &transmit.contents,
                });
            }
        }
    }

    pub fn input(&mut self, input: Input) {
        let is_of_connection =
            matches!(input, Input::Received(..) | Input::Flushed(_) | Input::Timeout);
        let bytes = match &input {
            Input::Received(_, bytes) => {
                self.unserved_bytes += bytes.len() as u64;
                0
            }
            Input::Datagram { contents, .. } => contents.len(),
            Input::Publish(_, publish::PublishEvent::Received(bytes)) => bytes.len(),
            // See the limits of `pipe`.
            Input::Source(source::SourceEvent::Bytes(bytes)) => 10 * bytes.len() + 1_024,
            _ => 0,
        };
        let (steps, ()) = steps_of(|| self.server.handle_input(self.now, input));
        let mut most = MOST_STEPS + bytes as u64;
        if is_of_connection {
            // Of requests that came together, each is served when the answer to the last is taken.
            most += self.unserved_bytes;
            self.unserved_bytes = self.unserved_bytes.saturating_sub(steps);
        }
        assert!(steps <= most, "the work for an input is limited: {steps} steps, {bytes} bytes");
        let (mut capture, mut encode) = (None, None);
        let mut snapshots = Vec::new();
        let mut failed = Vec::new();
        for count in 0.. {
            assert!(count < MOST_OUTPUTS, "the number of outputs for one input is limited");
            match self.server.poll_output() {
                Output::Send(id, bytes) => {
                    assert!(!self.is_closed(id), "nothing is sent on a closed connection");
                    self.responses.push((id, bytes.to_vec()));
                }
                // What a test sends has come already.
                Output::Finish(_) | Output::Pause(_) | Output::Resume(_) => {}
                Output::Close(id) => {
                    assert!(!self.is_closed(id), "a connection is closed once");
                    self.closed.push(id);
                }
                Output::ForceKeyframe(codec) => {
                    self.keyframe_forced |=
                        codec == Codec::H264 && !self.source_ignores_keyframe_requests;
                    self.forced_keyframes.push((codec, self.now));
                }
                Output::Capture(codecs) => capture = Some(codecs),
                Output::Source(command) => self.source_commands.push(command),
                Output::Publish(id, command) => self.publish_commands.push((id, command)),
                Output::KeepSession(id, session) => {
                    self.kept_sessions.remove(&id);
                    self.kept_sessions.extend(session.map(|session| (id, session)));
                }
                Output::Encode { picture, codecs, is_reported, .. } => {
                    encode = Some((picture, codecs, is_reported));
                }
                Output::Snapshot { width } => snapshots.push(width),
                Output::Transmit(transmit) if self.transmit_fails => {
                    failed.push(transmit.destination);
                }
                Output::Transmit(transmit) => {
                    let to = transmit.destination;
                    let mut hosts = self.clients.iter_mut();
                    let Some(host) = hosts.find(|host| host.address == to) else {
                        self.undeliverable.push(to);
                        continue;
                    };
                    let Transmit { source, contents, .. } = transmit;
                    host.datagrams.push(self.now);
                    host.bye |= matches!(contents[..], [128..=191, RTCP_BYE, ..]);
                    if let [bits @ 128..=191, second @ (0..192 | 224..), high, low, ..] =
                        contents[..]
                    {
                        let number = u16::from_be_bytes([high, low]);
                        host.first_sequence_number.get_or_insert(number);
                        let has_values = bits & 0x10 != 0 && contents[14..16] != [0, 0];
                        host.rtp_kinds.insert((second & 0x7f, has_values));
                    }
                    if !host.powered_off {
                        host.client.handle_datagram(self.now, source, &contents);
                    }
                }
                Output::Timeout(deadline) => {
                    assert!(
                        deadline.is_none_or(|at| at > self.now),
                        "the next deadline is in the future"
                    );
                    self.deadline = deadline;
                    break;
                }
            }
        }
        for destination in failed {
            self.input(Input::TransmitFailed { destination });
        }
        if let Some(codecs) = capture {
            self.capture(codecs);
        }
        if let Some((picture, codecs, is_reported)) = encode {
            let size = match picture {
                SourcePicture::Picture(picture) | SourcePicture::NoSignal(picture) => {
                    picture.size()
                }
                SourcePicture::Samples(samples) => samples.size,
                SourcePicture::Jpeg(jpeg) => jpeg.size,
                SourcePicture::Keyframe(_) => Size { width: 16, height: 16 },
            };
            self.encodes.push((size, codecs.clone()));
            let is_reported = is_reported && !codecs.is_empty();
            match self.damage.filter(|_| is_reported) {
                Some(damage) => self.input(Input::PictureDamaged(damage)),
                None => {
                    self.capture(codecs);
                    if is_reported {
                        self.input(Input::PictureShown);
                    }
                }
            }
        }
        for width in snapshots {
            self.snapshots.push(width);
            if let Some(maker) = self.snapshot {
                self.now += self.snapshot_cost;
                self.input(Input::Snapshot {
                    width,
                    made: maker(width, self.captures).map(Into::into),
                    cost: self.snapshot_cost,
                });
            }
        }
    }

    fn capture(&mut self, codecs: Vec<Codec>) {
        self.captures += 1;
        if self.source_fails {
            return self.input(Input::CaptureFailed);
        }
        for codec in &codecs {
            let frame = match codec {
                Codec::H264 if std::mem::take(&mut self.keyframe_forced) => {
                    Frame::h264(AccessUnit::parse(KEY_FRAME), self.now)
                }
                Codec::H264 => Frame::h264(AccessUnit::parse(DELTA_FRAME), self.now),
                Codec::Vp8 => Frame::vp8(VP8_FRAME.to_vec(), self.now),
            };
            self.input(Input::Frame(frame));
        }
        self.encoded = codecs;
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
