//! Single operations, measured with criterion: what the server does for a picture, a tick, a request,
//! an offer and a datagram. Without sockets and the kernel, with real cryptography.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ballcast::testing::driver::encode::{codec::Quality, encoder};
use ballcast::testing::media::{Appearance, Ball, Codec, Colour, Frame, Picture, Size};
use ballcast::testing::server::limits::admission::Limits;
use ballcast::testing::server::{Config, ConnId, Input, Output, Server};
use ballcast::testing::web::access::AccessPolicy;
use ballcast::testing::webrtc::payload::packetize;
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use serde_json::{Value, json};

use crate::figures::{Spread, short};
use crate::large::FixedSizeSource;
use crate::report::{self, Report};
use crate::support::client::Client;
use crate::support::dear_offers::{BODY_BYTES, dear_offers};
use crate::{Mode, say};

const SIZE: Size = Size { width: 640, height: 480 };
const FRAMES_PER_SECOND: u32 = 30;
const SERVER: &str = "10.0.0.254:8080";
const GROUP: &str = "micro";

/// The reported figures: name of the benchmark, key and description of the figure.
const FIGURES: [(&str, &str, &str); 14] = [
    ("render", "micro-render", "render the ball"),
    ("encode", "micro-encode", "render and encode a frame"),
    ("encode-key", "micro-encode-key", "render and encode a key frame"),
    ("packetise", "micro-packetise", "packetise a frame of the ball"),
    ("packetise-large", "micro-packetise-large", "packetise a frame of 8.3 kB"),
    ("tick-1", "micro-tick-1", "a tick in the core, 1 viewer"),
    ("tick-many", "micro-tick-many", "a tick in the core, all viewers"),
    ("tick-many-large", "micro-tick-many-large", "a tick of 8.3 kB in the core, all viewers"),
    ("http", "micro-http", "HTTP request for the page"),
    ("offer", "micro-offer", "offer to answer"),
    ("offer-hostile", "micro-offer-hostile", "the most expensive hostile offer of 64 kB"),
    ("datagram-stranger", "micro-stranger", "demultiplex: a datagram from an unknown address"),
    ("datagram-forged", "micro-forged", "demultiplex: a forged check, known USERNAME"),
    ("datagram-check", "micro-check", "demultiplex and answer a viewer's check"),
];

pub fn measure(mode: Mode, report: &mut Report) {
    let viewers = mode.pick(1_000, 10);
    let output = report::directory().join("criterion");
    let mut criterion = Criterion::default()
        .without_plots()
        .output_directory(&output)
        .sample_size(mode.pick(50, 10))
        .warm_up_time(mode.pick(Duration::from_secs(1), Duration::from_millis(20)))
        .measurement_time(mode.pick(Duration::from_secs(4), Duration::from_millis(100)));
    let mut group = criterion.benchmark_group(GROUP);
    pictures(&mut group);
    packets(&mut group);
    requests(&mut group);
    say(&format!("connecting {viewers} viewers to the core"));
    let core = RefCell::new(Core::with_viewers(viewers));
    ticks(&mut group, &core);
    datagrams(&mut group, &core);
    group.finish();
    for (name, key, figure) in FIGURES {
        let measured = Estimate::read(&output.join(GROUP).join(name).join("new"));
        let figure = figure.replace("all viewers", &format!("{viewers} viewers"));
        report.add_spread(key, &figure, &measured.samples_us, "µs");
        report.note(format!(
            "median {}–{} at 95 %",
            short(measured.median_us.0),
            short(measured.median_us.1)
        ));
    }
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn pictures(group: &mut Group) {
    let mut picture = Picture::filled(SIZE, Colour::BLACK);
    let mut ball = Ball::new(SIZE);
    let now = Instant::now();
    group.bench_function("render", |bencher| {
        bencher.iter(|| {
            ball.advance();
            ball.draw(black_box(&mut picture));
        });
    });
    for (name, codec, keyframe) in [
        ("encode", Codec::H264, false),
        ("encode-key", Codec::H264, true),
        ("encode-vp8", Codec::Vp8, true),
    ] {
        let mut encoder = encoder(codec, FRAMES_PER_SECOND, Quality::Constant).unwrap();
        encoder.encode(&picture, now).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                ball.advance();
                ball.draw(&mut picture);
                if keyframe {
                    encoder.force_keyframe();
                }
                black_box(encoder.encode(&picture, now).unwrap())
            });
        });
    }
}

fn packets(group: &mut Group) {
    let small = ball_frame();
    group.bench_function("packetise", |bencher| bencher.iter(|| packetize(black_box(&small))));
    let large = FixedSizeSource::default().frame(false, Instant::now());
    group.bench_function("packetise-large", |bencher| {
        bencher.iter(|| packetize(black_box(&large)));
    });
}

fn requests(group: &mut Group) {
    let mut core = Core::with_viewers(0);
    let page = format!("GET / HTTP/1.1\r\nHost: {SERVER}\r\n\r\n");
    let connection = core.connect();
    group.bench_function("http", |bencher| {
        bencher.iter(|| {
            core.server.handle_input(core.now, Input::Received(connection, page.as_bytes()));
            core.drain();
            core.server.handle_input(core.now, Input::Flushed(connection));
            core.drain();
        });
    });

    let (_, sdp) = Client::new(SocketAddr::from(([10, 0, 0, 1], 5_000)), Codec::H264, core.now);
    let request = offer_request(&sdp);
    group.bench_function("offer", |bencher| {
        bencher.iter_custom(|iterations| time_offers(iterations, &request));
    });
    // In JSON each line ends with two bytes more.
    let hostile = dear_offers(BODY_BYTES * 3 / 4);
    let requests = hostile.iter().map(|(_, sdp)| offer_request(sdp));
    let dearest = requests.max_by_key(|request| time_offers(20, request)).unwrap();
    group.bench_function("offer-hostile", |bencher| {
        bencher.iter_custom(|iterations| time_offers(iterations, &dearest));
    });
}

/// The time that a server takes for as many offers.
fn time_offers(count: u64, request: &[u8]) -> Duration {
    // A new core, so that viewers that never connect do not accumulate.
    let mut core = Core::with_viewers(0);
    let connection = core.connect();
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        let started = Instant::now();
        core.server.handle_input(core.now, Input::Received(connection, request));
        core.drain();
        spent += started.elapsed();
        core.server.handle_input(core.now, Input::Flushed(connection));
        core.drain();
        core.expire_half_open();
    }
    spent
}

fn ticks(group: &mut Group, many: &RefCell<Core>) {
    let mut one = Core::with_viewers(1);
    let small = ball_frame();
    group.bench_function("tick-1", |bencher| {
        bencher.iter_custom(|ticks| one.time_ticks(ticks, &small));
    });
    let many = &mut *many.borrow_mut();
    group.bench_function("tick-many", |bencher| {
        bencher.iter_custom(|ticks| many.time_ticks(ticks, &small));
    });
    let large = FixedSizeSource::default().frame(false, Instant::now());
    group.bench_function("tick-many-large", |bencher| {
        bencher.iter_custom(|ticks| many.time_ticks(ticks, &large));
    });
}

fn datagrams(group: &mut Group, core: &RefCell<Core>) {
    let core = &mut *core.borrow_mut();
    let check = core.last_check.clone();
    let (source, check) = check.expect("viewers send connectivity checks regularly");
    let mut forged = check.clone();
    // A bit inside MESSAGE-INTEGRITY, which is before the 8 bytes of FINGERPRINT.
    let flipped = forged.len() - 10;
    forged[flipped] ^= 1;
    let unknown = SocketAddr::from(([10, 9, 9, 9], 9));
    let media = vec![0x80; 200];
    for (name, source, contents) in [
        ("datagram-stranger", unknown, &media),
        ("datagram-forged", unknown, &forged),
        ("datagram-check", source, &check),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let destination = core.address;
                let input = Input::Datagram { source, destination, contents };
                core.server.handle_input(core.now, input);
                core.drain();
            });
        });
    }
}

fn ball_frame() -> Frame {
    let (mut picture, mut ball) = (Picture::filled(SIZE, Colour::BLACK), Ball::new(SIZE));
    let mut encoder = encoder(Codec::H264, FRAMES_PER_SECOND, Quality::Constant).unwrap();
    let mut frame = None;
    for _ in 0..3 {
        ball.advance();
        ball.draw(&mut picture);
        frame = Some(encoder.encode(&picture, Instant::now()).unwrap());
    }
    frame.unwrap()
}

fn offer_request(sdp: &str) -> Vec<u8> {
    let body = json!({"type": "offer", "sdp": sdp}).to_string();
    let head = format!(
        "POST /offer HTTP/1.1\r\nHost: {SERVER}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// A server and its viewers in virtual time. Everything but media is delivered to the viewers.
struct Core {
    now: Instant,
    address: SocketAddr,
    server: Server,
    clients: Vec<Client>,
    by_address: HashMap<SocketAddr, usize>,
    deadline: Option<Instant>,
    next_connection: u64,
    captures: u64,
    /// The datagrams of the server that are not delivered yet.
    sent: Vec<(SocketAddr, Vec<u8>)>,
    responses: Vec<u8>,
    /// The last connectivity check that a viewer sent.
    last_check: Option<(SocketAddr, Vec<u8>)>,
}

impl Core {
    fn with_viewers(viewers: usize) -> Core {
        let now = Instant::now();
        let address = SERVER.parse().unwrap();
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let limits = Limits {
            viewers_per_address: 10_000,
            offers_per_second: 1_000_000,
            ..Limits::for_viewers(10_000)
        };
        let config = Config {
            entropy: [7; 32],
            certificate: crypto.dtls_provider.generate_certificate().unwrap(),
            crypto,
            addresses: vec![address],
            access: AccessPolicy::default(),
            announced: Vec::new(),
            targets: Vec::new(),
            stale_sessions: BTreeMap::new(),
            token: None,
            limits,
            frames_per_second: FRAMES_PER_SECOND,
            bitrate: None,
            source: None,
            appearance: Appearance::default(),
            when_watched: false,
            stamped: false,
            title: None,
            wall_clock: UNIX_EPOCH + Duration::from_secs(1_000_000_000),
        };
        let mut core = Core {
            now,
            address,
            server: Server::new(config, now),
            clients: Vec::new(),
            by_address: HashMap::new(),
            deadline: None,
            next_connection: 1,
            captures: 0,
            sent: Vec::new(),
            responses: Vec::new(),
            last_check: None,
        };
        for _ in 0..viewers {
            core.join();
        }
        let frame = FixedSizeSource::default().frame(true, core.now);
        while core.clients.iter().any(|client| !client.connected) {
            core.step(&frame);
        }
        // Every viewer gets a key frame, which opens its gate.
        core.time_ticks(u64::from(FRAMES_PER_SECOND) * u64::from(viewers > 0), &frame);
        core
    }

    fn join(&mut self) {
        let index = self.clients.len();
        let port = 5_000 + (index % 1_000) as u16;
        let address = SocketAddr::from(([10, 0, 1, (index / 1_000) as u8], port));
        let (mut client, sdp) = Client::new(address, Codec::H264, self.now);
        let connection = self.connect();
        self.server.handle_input(self.now, Input::Received(connection, &offer_request(&sdp)));
        self.drain();
        let text = String::from_utf8(std::mem::take(&mut self.responses)).unwrap();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let answer: Value = serde_json::from_str(body).unwrap();
        client.accept(answer["sdp"].as_str().unwrap_or_else(|| panic!("{text}")), self.now);
        self.server.handle_input(self.now, Input::Disconnected(connection));
        self.drain();
        self.by_address.insert(address, index);
        self.clients.push(client);
        self.deliver();
    }

    fn connect(&mut self) -> ConnId {
        let id = ConnId(self.next_connection);
        self.next_connection += 1;
        let peer = SocketAddr::from(([10, 0, 0, 1], 6_000));
        self.server.handle_input(self.now, Input::Connected(id, peer));
        self.drain();
        id
    }

    /// Removes the half-open viewers by a timeout, when there are many.
    fn expire_half_open(&mut self) {
        if self.server.viewers() >= 64 {
            self.now += ballcast::testing::webrtc::HALF_OPEN_LIMIT;
            self.server.handle_input(self.now, Input::Timeout);
            self.drain();
            let page = format!("GET / HTTP/1.1\r\nHost: {SERVER}\r\n\r\n");
            let connection = ConnId(self.next_connection - 1);
            self.server.handle_input(self.now, Input::Received(connection, page.as_bytes()));
            self.drain();
            self.server.handle_input(self.now, Input::Flushed(connection));
            self.drain();
        }
    }

    /// The time that the server needs for `ticks` ticks with this frame. What happens between the
    /// ticks is not counted.
    fn time_ticks(&mut self, ticks: u64, frame: &Frame) -> Duration {
        let mut spent = Duration::ZERO;
        let end = self.captures + ticks;
        while self.captures < end {
            spent += self.step(frame);
        }
        spent
    }

    /// Advances to the next deadline. Returns the time that the server needed, if it was a tick.
    fn step(&mut self, frame: &Frame) -> Duration {
        let next = self.clients.iter().map(Client::poll_timeout).min();
        let next = next.into_iter().chain(self.deadline).min().expect("viewers have timers");
        self.now = self.now.max(next);
        let now = self.now;
        let mut spent = Duration::ZERO;
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let mut frame = frame.clone();
            frame.captured = now;
            let captures = self.captures;
            let started = Instant::now();
            self.server.handle_input(now, Input::Timeout);
            self.drain();
            if self.captures > captures {
                self.server.handle_input(now, Input::Frame(frame));
                self.drain();
                spent = started.elapsed();
            }
        }
        for client in &mut self.clients {
            if client.poll_timeout() <= now {
                client.handle_timeout(now);
            }
        }
        self.deliver();
        spent
    }

    /// Delivers datagrams in both directions until none is left.
    fn deliver(&mut self) {
        loop {
            for (destination, contents) in std::mem::take(&mut self.sent) {
                if let Some(&index) = self.by_address.get(&destination) {
                    self.clients[index].handle_datagram(self.now, self.address, &contents);
                }
            }
            let mut outgoing = Vec::new();
            for client in &mut self.clients {
                let sent = std::mem::take(&mut client.outgoing);
                outgoing.extend(sent.into_iter().map(|sent| (client.address, sent.contents)));
            }
            if outgoing.is_empty() {
                return;
            }
            for (source, contents) in outgoing {
                let destination = self.address;
                let contents = &contents[..];
                let input = Input::Datagram { source, destination, contents };
                self.server.handle_input(self.now, input);
                self.drain();
                if contents.starts_with(&BINDING_REQUEST) {
                    self.last_check = Some((source, contents.to_vec()));
                }
            }
        }
    }

    fn drain(&mut self) {
        loop {
            match self.server.poll_output() {
                Output::Transmit(transmit) => {
                    let is_media = matches!(transmit.contents.first(), Some(128..=191));
                    if !is_media {
                        let contents = transmit.contents.to_vec();
                        self.sent.push((transmit.destination, contents));
                    }
                }
                Output::Send(_, bytes) => {
                    self.responses.clear();
                    self.responses.extend_from_slice(&bytes);
                }
                Output::Capture(_) => self.captures += 1,
                Output::Source(_) | Output::Encode { .. } => {}
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
                _ => {}
            }
        }
    }
}

/// RFC 8489, section 5.
const BINDING_REQUEST: [u8; 2] = [0, 1];

/// The results of criterion, from its files.
struct Estimate {
    /// Each sample's time for one iteration.
    samples_us: Spread,
    /// The confidence interval of the median.
    median_us: (f64, f64),
}

impl Estimate {
    fn read(directory: &Path) -> Estimate {
        let read = |name: &str| -> Value {
            let path: PathBuf = directory.join(name);
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let sample = read("sample.json");
        let numbers = |name: &str| -> Vec<f64> {
            let values = sample[name].as_array().map(Vec::as_slice).unwrap_or_default();
            values.iter().filter_map(Value::as_f64).collect()
        };
        let times = numbers("times").into_iter().zip(numbers("iters"));
        let interval = &read("estimates.json")["median"]["confidence_interval"];
        let bound = |name: &str| interval[name].as_f64().unwrap_or(f64::NAN) / 1e3;
        Estimate {
            samples_us: Spread::of(times.map(|(nanos, count)| nanos / count / 1e3).collect()),
            median_us: (bound("lower_bound"), bound("upper_bound")),
        }
    }
}
