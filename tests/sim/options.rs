//! The parameters of a run, drawn from its seed (swarm testing). Each fault is switched off in half
//! of the runs and has a random rate in the others, so that no two kinds always occur together.

use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;

use ballcast::testing::source::SourceConfig;

use crate::cameras::CameraOptions;
use crate::link::Conditions;
use crate::media_server::TargetOptions;
use crate::source::SourceOptions;

/// The share of runs with a stream from outside, in per cent.
const SOURCE_SHARE: u8 = 40;
/// And with a camera.
const CAMERA_SHARE: u8 = 20;

#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    /// Virtual length. In the last quarter there are no faults.
    pub length: Duration,
    pub viewers: usize,
    pub frames_per_second: u32,
    pub keyframe_bytes: usize,
    pub delta_bytes: usize,
    pub max_viewers: usize,
    pub half_open: usize,
    pub viewers_per_address: usize,
    pub connections: usize,
    pub offers_per_second: u32,
    pub path: Conditions,
    /// The interval of a viewer's connectivity checks. libwebrtc shortens it to 48 ms when it
    /// receives nothing; str0m's client has one interval for both cases.
    pub check_interval: Duration,
    /// Mean times between events of each kind; `None` if the seed has switched it off.
    pub link_down: Option<Duration>,
    pub port_change: Option<Duration>,
    pub vanish: Option<Duration>,
    pub leave: Option<Duration>,
    pub restart: Option<Duration>,
    pub send_failure: Option<Duration>,
    pub forgery: Option<Duration>,
    pub pli_storm: Option<Duration>,
    pub bad_http: Option<Duration>,
    pub source_stall: Option<Duration>,
    pub source_huge: Option<Duration>,
    pub suspend: Option<Duration>,
    pub addresses: Option<Duration>,
    pub insider: Option<Duration>,
    pub shutdown: bool,
    /// One of several viewers is on a good network and has no faults of its own.
    pub healthy: bool,
    /// A source that stalls reports that the capture failed.
    pub reports_stall: bool,
    /// Viewers whose index is a multiple of this offer VP8 only.
    pub vp8: Option<usize>,
    /// Viewers whose index is a multiple of this have IPv6, the others IPv4.
    pub ipv6: Option<usize>,
    /// Those of the server, while nothing is wrong.
    pub server_addresses: Vec<SocketAddr>,
    /// A stream from outside, in place of the ball.
    pub source: Option<SourceOptions>,
    /// A camera, in place of both.
    pub camera: Option<CameraOptions>,
    /// The media servers that the stream is published to.
    pub targets: Vec<TargetOptions>,
}

/// Two interfaces of the server.
pub const SERVER_IPV4: [&str; 2] = ["10.0.0.254:8080", "10.0.1.254:8080"];
pub const SERVER_IPV6: &str = "[fd00::fe]:8080";

impl Options {
    /// A run without random faults, for the scenarios.
    pub fn without_faults(viewers: usize) -> Options {
        Options {
            seed: 1,
            length: Duration::ZERO,
            viewers,
            frames_per_second: 30,
            keyframe_bytes: 1_500,
            delta_bytes: 150,
            max_viewers: 50,
            half_open: 25,
            viewers_per_address: 10,
            connections: 100,
            offers_per_second: 10,
            path: Conditions::perfect(Duration::from_millis(10)),
            check_interval: Duration::from_millis(150),
            link_down: None,
            port_change: None,
            vanish: None,
            leave: None,
            restart: None,
            send_failure: None,
            forgery: None,
            pli_storm: None,
            bad_http: None,
            source_stall: None,
            source_huge: None,
            suspend: None,
            addresses: None,
            insider: None,
            shutdown: false,
            healthy: false,
            reports_stall: false,
            vp8: None,
            ipv6: None,
            server_addresses: vec![SERVER_IPV4[0].parse().unwrap()],
            source: None,
            camera: None,
            targets: Vec::new(),
        }
    }

    pub fn draw(seed: u64, length: Duration) -> Options {
        let mut rng = Rng::with_seed(seed ^ 0x6a09_e667_f3bc_c908);
        let rng = &mut rng;
        let mean_interval = |rng: &mut Rng, mean_s: f64| {
            rng.bool().then(|| Duration::from_secs_f64(mean_s * (0.2 + 1.8 * rng.f64())))
        };
        let small = rng.u8(..4) == 0;
        let viewers = rng.usize(1..=if small { 2 } else { 12 });
        let ipv6 = rng.bool().then(|| rng.usize(1..=3));
        let interfaces = rng.usize(1..=SERVER_IPV4.len());
        let ipv4 = SERVER_IPV4.into_iter().take(interfaces);
        let server_addresses = ipv4.chain(ipv6.map(|_| SERVER_IPV6));
        let server_addresses = server_addresses.map(|address| address.parse().unwrap()).collect();
        // From a generator of its own.
        let mut of_source = Rng::with_seed(seed ^ 0x3c6e_f372_fe94_f82b);
        let share = of_source.u8(..100);
        let is_stream = share < SOURCE_SHARE;
        let is_camera = !is_stream && share < SOURCE_SHARE + CAMERA_SHARE;
        let mut options = Options {
            seed,
            length,
            viewers,
            frames_per_second: [10, 25, 30, 30, 30, 60][rng.usize(..6)],
            keyframe_bytes: [600, 1_500, 1_500, 9_000, 40_000][rng.usize(..5)],
            delta_bytes: [60, 150, 150, 1_100, 3_000][rng.usize(..5)],
            max_viewers: if rng.u8(..3) == 0 { rng.usize(1..=4) } else { 50 },
            half_open: if rng.u8(..4) == 0 { 1 } else { 25 },
            viewers_per_address: if rng.u8(..4) == 0 { 1 } else { 10 },
            connections: if rng.u8(..8) == 0 { 2 } else { 100 },
            offers_per_second: if rng.u8(..3) == 0 { 1 } else { 10 },
            path: path(rng),
            check_interval: Duration::from_millis([150, 3_000][rng.usize(..2)]),
            link_down: mean_interval(rng, 15.0),
            port_change: mean_interval(rng, 15.0),
            vanish: mean_interval(rng, 20.0),
            leave: mean_interval(rng, 15.0),
            restart: mean_interval(rng, 10.0),
            send_failure: mean_interval(rng, 8.0),
            forgery: mean_interval(rng, 0.5),
            pli_storm: mean_interval(rng, 15.0),
            bad_http: mean_interval(rng, 1.0),
            source_stall: mean_interval(rng, 15.0),
            source_huge: mean_interval(rng, 10.0),
            suspend: mean_interval(rng, 40.0),
            addresses: mean_interval(rng, 20.0),
            insider: mean_interval(rng, 10.0),
            shutdown: rng.u8(..4) == 0,
            healthy: viewers > 1 && rng.bool(),
            vp8: rng.bool().then(|| rng.usize(1..=4)),
            reports_stall: rng.bool(),
            ipv6,
            server_addresses,
            source: is_stream.then(|| SourceOptions::draw(&mut of_source)),
            camera: is_camera.then(|| CameraOptions::draw(&mut of_source)),
            targets: Vec::new(),
        };
        options.targets = TargetOptions::draw(seed, &options.path, options.ipv6.is_some());
        options
    }

    /// Whether there is something in place of the ball.
    pub fn has_source(&self) -> bool {
        self.source.is_some() || self.camera.is_some()
    }

    pub fn source_config(&self) -> Option<SourceConfig> {
        let camera = self.camera.as_ref().map(|camera| camera.config.clone().into());
        self.source.as_ref().map(SourceOptions::config).or(camera)
    }
}

/// The losses and delays of RFC 8868, and bursts, reordering and corruption as on wireless links.
fn path(rng: &mut Rng) -> Conditions {
    let share = |rng: &mut Rng, most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
    let milliseconds = |rng: &mut Rng, most: u64| Duration::from_millis(rng.u64(..=most));
    let loss = [0.0, 0.0, 0.01, 0.05, 0.1, 0.2, 0.3][rng.usize(..7)];
    let rate = rng.bool().then(|| {
        let bits = [500_000, 2_000_000, 20_000_000][rng.usize(..3)];
        (bits, rng.usize(8_000..=100_000))
    });
    Conditions {
        loss,
        burst: share(rng, 0.02),
        burst_length: 1.0 + rng.f64() * 20.0,
        delay: [milliseconds(rng, 5), milliseconds(rng, 50), milliseconds(rng, 500)]
            [rng.usize(..3)],
        jitter: if rng.bool() { milliseconds(rng, 200) } else { Duration::ZERO },
        reorder: share(rng, 0.25),
        duplicate: share(rng, 0.25),
        corrupt: share(rng, 0.05),
        rate,
        mtu: [1_500, 1_500, 1_280, 576][rng.usize(..4)],
        down_until: None,
    }
}
