//! A server, its viewers and a perfect network between them, in virtual time: no socket, no
//! thread, no sleep.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ballcast::media::{Codec, Frame};
use ballcast::server::admission::Limits;
use ballcast::server::{Config, ConnId, Input, Output, Server};
use ballcast::web::auth::Token;
use ballcast::web::cors::AccessPolicy;
use ballcast::webrtc::Transmit;
use serde_json::{Value, json};
use str0m::config::CryptoProvider;

use super::client::Client;

pub const FRAMES_PER_SECOND: u32 = 30;
/// The origin whose pages may use WHEP.
pub const FRIEND: &str = "https://home.example";

/// The smallest things that have the shape of H.264 frames.
const KEY_FRAME: &[u8] = &[0, 0, 0, 1, 0x67, 0x42, 0, 0, 1, 0x68, 0xce, 0, 0, 1, 0x65, 0x88];
const DELTA_FRAME: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a];
/// That of a VP8 key frame; the source makes no others.
const VP8_FRAME: &[u8] = &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01, 0x9a];

/// More outputs than this in one drain are a loop without end.
const MOST_OUTPUTS: usize = 20_000;

fn real_crypto() -> Arc<CryptoProvider> {
    Arc::new(str0m::crypto::from_feature_flags())
}

pub struct World {
    pub now: Instant,
    crypto: Arc<CryptoProvider>,
    pub server: Server,
    pub clients: Vec<Member>,
    pub captures: u64,
    /// What the next clients can decode.
    pub codec: Codec,
    /// What the last picture was encoded in.
    pub encoded: Vec<Codec>,
    pub forced_keyframes: Vec<(Codec, Instant)>,
    /// Datagrams that the server sent and no client took.
    pub stray: Vec<SocketAddr>,
    /// While set, sending a datagram fails.
    pub transmit_fails: bool,
    /// While set, the source takes no notice of a wish for a key frame.
    pub source_is_deaf: bool,
    /// While set, nothing comes of a capture.
    pub source_fails: bool,
    keyframe_forced: bool,
    deadline: Option<Instant>,
    responses: Vec<(ConnId, Vec<u8>)>,
    closed: Vec<ConnId>,
    next_connection: u64,
}

pub struct Member {
    pub client: Client,
    /// Where the network shows it to the server; a change is what a new binding of a NAT does.
    pub address: SocketAddr,
    /// What its connectivity checks carry: the server's user fragment and its own.
    pub username: String,
    /// The key of its checks' integrity: the server's password.
    pub password: String,
    /// A machine without power: it neither sends nor receives.
    pub dead: bool,
    /// Media and everything else that reached it.
    pub datagrams: Vec<Instant>,
    /// How many of the datagrams that it sends are kept, the first ones.
    pub keeps_sent: usize,
    pub sent: Vec<Vec<u8>>,
}

impl World {
    pub fn new() -> World {
        World::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> World {
        World::with(limits, None, real_crypto())
    }

    pub fn with_token(token: Option<Token>) -> World {
        World::with(Limits::default(), token, real_crypto())
    }

    /// A world in which both sides compute with `crypto`.
    pub fn with_crypto(limits: Limits, crypto: Arc<CryptoProvider>) -> World {
        World::with(limits, None, crypto)
    }

    fn with(limits: Limits, token: Option<Token>, crypto: Arc<CryptoProvider>) -> World {
        let now = Instant::now();
        let config = Config {
            entropy: [7; 32],
            crypto: Arc::clone(&crypto),
            certificate: crypto.dtls_provider.generate_certificate().unwrap(),
            addresses: vec!["10.0.0.254:8080".parse().unwrap()],
            access: AccessPolicy { names: vec!["camera".into()], origins: vec![FRIEND.into()] },
            token,
            limits,
            frames_per_second: FRAMES_PER_SECOND,
            bitrate: None,
            stamped: false,
            wall_clock: UNIX_EPOCH + Duration::from_secs(784_111_777),
        };
        World {
            now,
            crypto,
            server: Server::new(config, now),
            clients: Vec::new(),
            captures: 0,
            codec: Codec::H264,
            encoded: Vec::new(),
            forced_keyframes: Vec::new(),
            stray: Vec::new(),
            transmit_fails: false,
            source_is_deaf: false,
            source_fails: false,
            keyframe_forced: false,
            deadline: None,
            responses: Vec::new(),
            closed: Vec::new(),
            next_connection: 1,
        }
    }

    /// A client with an address of its own, `10.0.<index>.1`.
    pub fn offer(&mut self) -> (Client, String) {
        let index = self.clients.len() as u8;
        let address = SocketAddr::from(([10, 0, index, 1], 5_000));
        Client::with_crypto(address, self.codec, Arc::clone(&self.crypto), self.now)
    }

    /// A viewer joins over HTTP; its index. It connects when time passes.
    pub fn join(&mut self) -> usize {
        self.try_join().unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// As `join`; or the status and the document of the refusal.
    pub fn try_join(&mut self) -> Result<usize, (u16, Value)> {
        let (client, sdp) = self.offer();
        let body = json!({"type": "offer", "sdp": sdp}).to_string();
        let (status, answer) = self.post_offer(client.address, &body);
        if status != 200 {
            return Err((status, answer));
        }
        Ok(self.add(client, &sdp, answer["sdp"].as_str().unwrap()))
    }

    /// A client whose offer was answered; its index. It connects when time passes.
    pub fn add(&mut self, mut client: Client, offer: &str, answer: &str) -> usize {
        let value = |sdp: &str, name: &str| {
            let value = sdp.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap().to_owned()
        };
        let ufrag = |sdp: &str| value(sdp, "a=ice-ufrag:");
        let username = format!("{}:{}", ufrag(answer), ufrag(offer));
        let password = value(answer, "a=ice-pwd:");
        client.accept(answer, self.now);
        self.clients.push(Member {
            address: client.address,
            client,
            username,
            password,
            dead: false,
            datagrams: Vec::new(),
            keeps_sent: 0,
            sent: Vec::new(),
        });
        self.clients.len() - 1
    }

    pub fn post_offer(&mut self, from: SocketAddr, body: &str) -> (u16, Value) {
        let head = format!(
            "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.http(from, &(head + body))
    }

    pub fn stats(&mut self) -> Value {
        let request = "GET /stats HTTP/1.1\r\nHost: camera\r\n\r\n";
        self.http("10.0.0.99:1000".parse().unwrap(), request).1
    }

    /// One request on a connection of its own: status and JSON body.
    pub fn http(&mut self, from: SocketAddr, request: &str) -> (u16, Value) {
        let response = self.http_raw(from, request.as_bytes());
        let text = String::from_utf8(response).unwrap();
        let status = text.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    pub fn http_raw(&mut self, from: SocketAddr, request: &[u8]) -> Vec<u8> {
        let id = self.connect(from);
        self.input(Input::Received(id, request));
        self.input(Input::Flushed(id));
        if !self.closed.contains(&id) {
            self.input(Input::Disconnected(id));
        }
        let mine = self.responses.iter().filter(|(conn, _)| *conn == id);
        let response = mine.flat_map(|(_, bytes)| bytes.clone()).collect();
        self.responses.retain(|(conn, _)| *conn != id);
        response
    }

    pub fn connect(&mut self, from: SocketAddr) -> ConnId {
        let id = ConnId(self.next_connection);
        self.next_connection += 1;
        self.input(Input::Connected(id, from));
        id
    }

    pub fn is_closed(&self, id: ConnId) -> bool {
        self.closed.contains(&id)
    }

    /// Lets time pass, with everything that happens in it.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.deliver();
        loop {
            let clients = self.clients.iter().filter(|member| !member.dead);
            let next =
                clients.map(|member| member.client.poll_timeout()).chain(self.deadline).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            let now = self.now;
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                self.input(Input::Timeout);
            }
            for member in self.clients.iter_mut().filter(|member| !member.dead) {
                if member.client.poll_timeout() <= now {
                    member.client.handle_timeout(now);
                }
            }
            self.deliver();
        }
        self.now = end;
        self.input(Input::Timeout);
        self.deliver();
    }

    /// Carries datagrams from the clients to the server until none is under way.
    fn deliver(&mut self) {
        loop {
            let mut datagrams = Vec::new();
            for member in &mut self.clients {
                let outgoing = std::mem::take(&mut member.client.outgoing);
                if member.dead {
                    continue;
                }
                let kept = member.keeps_sent.saturating_sub(member.sent.len());
                member.sent.extend(outgoing.iter().take(kept).map(|t| t.contents.to_vec()));
                datagrams.extend(outgoing.into_iter().map(|sent| (member.address, sent)));
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
        self.server.handle_input(self.now, input);
        let mut capture = None;
        let mut failed = Vec::new();
        for count in 0.. {
            assert!(count < MOST_OUTPUTS, "a drain ends");
            match self.server.poll_output() {
                Output::Send(id, bytes) => {
                    assert!(!self.is_closed(id), "nothing is sent after the end");
                    self.responses.push((id, bytes.into_owned()));
                }
                Output::Finish(_) => {}
                Output::Close(id) => {
                    assert!(!self.is_closed(id), "a connection is closed once");
                    self.closed.push(id);
                }
                Output::ForceKeyframe(codec) => {
                    self.keyframe_forced |= codec == Codec::H264 && !self.source_is_deaf;
                    self.forced_keyframes.push((codec, self.now));
                }
                Output::Capture(codecs) => capture = Some(codecs),
                Output::Transmit(transmit) if self.transmit_fails => {
                    failed.push(transmit.destination);
                }
                Output::Transmit(transmit) => {
                    let to = transmit.destination;
                    let mut members = self.clients.iter_mut();
                    match members.find(|member| member.address == to) {
                        Some(member) if !member.dead => {
                            member.datagrams.push(self.now);
                            let Transmit { source, contents, .. } = transmit;
                            member.client.handle_datagram(self.now, source, &contents);
                        }
                        Some(member) => member.datagrams.push(self.now),
                        None => self.stray.push(to),
                    }
                }
                Output::Timeout(deadline) => {
                    assert!(deadline.is_none_or(|at| at > self.now), "time moves on");
                    self.deadline = deadline;
                    break;
                }
            }
        }
        for destination in failed {
            self.input(Input::TransmitFailed { destination });
        }
        let Some(codecs) = capture else { return };
        self.captures += 1;
        if self.source_fails {
            return self.input(Input::CaptureFailed);
        }
        for codec in &codecs {
            let frame = match codec {
                Codec::H264 if std::mem::take(&mut self.keyframe_forced) => {
                    Frame::h264(KEY_FRAME.to_vec(), self.now)
                }
                Codec::H264 => Frame::h264(DELTA_FRAME.to_vec(), self.now),
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
