//! What a media server is like, drawn from the seed by a generator of its own.

use std::net::IpAddr;

use ballcast::testing::http::Url;
use fastrand::Rng;

use super::SECRET_MARK;
use crate::link::Conditions;

/// The share of runs in which the stream is published, in per cent.
const SHARE: u8 = 35;
/// How many there are then: each takes as much time as a viewer.
const COUNTS: [usize; 7] = [1, 1, 1, 1, 2, 2, 3];
const PORT: u16 = 8_889;

#[derive(Debug, Clone)]
pub struct TargetOptions {
    pub index: usize,
    /// Its URL has a name, not an address.
    pub is_named: bool,
    pub has_token: bool,
    /// Takes VP8, if it is offered.
    pub is_vp8: bool,
    pub is_ice_lite: bool,
    pub is_dtls_server: bool,
    /// Its responses come in chunks, and its Location is a whole URL.
    pub is_chunked: bool,
    pub is_absolute: bool,
    /// An earlier process of the device has left a session behind.
    pub has_left_session: bool,
    pub is_ipv6: bool,
    pub path: Conditions,
    /// The probabilities that something goes wrong with a name, a connection, a response, and the media
    /// of a session.
    pub bad_names: f64,
    pub bad_connects: f64,
    pub bad_responses: f64,
    pub bad_media: f64,
}

impl TargetOptions {
    /// Those of a run; of most there are none.
    pub fn draw(seed: u64, path: &Conditions, has_ipv6: bool) -> Vec<TargetOptions> {
        let mut rng = Rng::with_seed(seed ^ 0xbb67_ae85_84ca_a73b);
        let is_published = rng.u8(..100) < SHARE;
        let count = if is_published { COUNTS[rng.usize(..COUNTS.len())] } else { 0 };
        (0..count).map(|index| TargetOptions::draw_one(index, path, has_ipv6, &mut rng)).collect()
    }

    fn draw_one(index: usize, path: &Conditions, has_ipv6: bool, rng: &mut Rng) -> TargetOptions {
        let share = |rng: &mut Rng, most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        let is_good = rng.bool();
        TargetOptions {
            index,
            is_named: rng.bool(),
            has_token: rng.bool(),
            is_vp8: rng.u8(..4) == 0,
            is_ice_lite: rng.bool(),
            is_dtls_server: rng.bool(),
            is_chunked: rng.bool(),
            is_absolute: rng.bool(),
            has_left_session: rng.u8(..3) == 0,
            is_ipv6: rng.bool() && has_ipv6,
            path: if is_good { Conditions::perfect(super::GOOD_DELAY) } else { path.clone() },
            bad_names: share(rng, 0.8),
            bad_connects: share(rng, 0.6),
            bad_responses: share(rng, 1.0),
            bad_media: share(rng, 1.0),
        }
    }

    pub fn name(&self) -> String {
        format!("media{}.example", self.index)
    }

    pub fn ip(&self) -> IpAddr {
        self.address(20)
    }

    /// Where there is nobody.
    pub fn dead_ip(&self) -> IpAddr {
        self.address(21)
    }

    fn address(&self, network: u8) -> IpAddr {
        let index = self.index as u8;
        match self.is_ipv6 {
            true => IpAddr::from([0xfd00, network.into(), index.into(), 0, 0, 0, 0, 1]),
            false => IpAddr::from([10, network, index, 1]),
        }
    }

    pub fn left_session(&self) -> Option<Url> {
        let path = format!("/sessions/{SECRET_MARK}-0");
        self.has_left_session.then(|| self.url().join(&path).expect("a path is a reference"))
    }

    pub fn url(&self) -> Url {
        let host = match self.ip() {
            _ if self.is_named => self.name(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let url = format!("http://{host}:{PORT}/live/{SECRET_MARK}/whip?key={SECRET_MARK}");
        Url::parse(&url).expect("it is a URL")
    }
}
