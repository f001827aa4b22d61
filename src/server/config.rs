//! The configuration of the server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use str0m::IceCreds;
use str0m::config::{CryptoProvider, DtlsCert};

use super::limits::admission::Limits;
use super::limits::client::Client;
use super::paths::addresses_towards;
use crate::http::Url;
use crate::media::{Appearance, Rotation};
use crate::publish::{Target, TargetId};
use crate::source::{Source, SourceConfig};
use crate::web::access::AccessPolicy;
use crate::web::auth::Token;
use crate::web::proxies::Visitor;
use crate::webrtc::{LocalParameters, StreamNumbers, resend_packets};

/// The configuration of the server.
pub struct Config {
    /// From the operating system's generator. All credentials come from it.
    pub entropy: [u8; 32],
    /// The cryptography of str0m.
    pub crypto: Arc<CryptoProvider>,
    /// The process's own certificate, for all viewers.
    pub certificate: DtlsCert,
    /// The UDP addresses that datagrams come from and go to.
    pub addresses: Vec<SocketAddr>,
    pub access: AccessPolicy,
    /// The token that viewers need, if any.
    pub token: Option<Token>,
    pub limits: Limits,
    /// At least 1.
    pub frames_per_second: u32,
    /// The bitrate of the encoders, in bits per second, if it is limited.
    pub bitrate: Option<u32>,
    /// Further addresses that lead to this server, at the same ports.
    pub announced: Vec<IpAddr>,
    /// The source, in place of the ball.
    pub source: Option<SourceConfig>,
    /// The source rests while nobody watches.
    pub when_watched: bool,
    /// The media servers that the stream is published to.
    pub targets: Vec<Target>,
    /// Sessions at them that an earlier process left behind, from
    /// [`Output::KeepSession`](super::Output::KeepSession).
    pub stale_sessions: BTreeMap<TargetId, Url>,
    /// How pictures are rotated and mirrored, and whether date and time are drawn into them. The driver does both
    /// to what it encodes.
    pub appearance: Appearance,
    /// Whether pictures show their capture time. The page then shows the latency.
    pub stamped: bool,
    /// The title of the page, in place of the name that it was opened by.
    pub title: Option<String>,
    /// The wall clock at the start.
    pub wall_clock: SystemTime,
}

impl Config {
    /// The source, at its start.
    pub(crate) fn source(&self, now: Instant) -> Option<Source> {
        self.source.clone().map(|source| match self.when_watched {
            true => Source::while_watched(source, now),
            false => Source::new(source, now),
        })
    }

    /// The bound and announced addresses.
    pub(crate) fn own_addresses(&self) -> Vec<IpAddr> {
        let bound = self.addresses.iter().map(SocketAddr::ip);
        bound.chain(self.announced.iter().copied()).collect()
    }

    /// The client that the limits count a peer as.
    pub(crate) fn client_at(&self, peer: IpAddr) -> Client {
        let own = self.addresses.iter().map(SocketAddr::ip);
        Client::at(peer, own).of_many(self.access.proxies.trusts(peer))
    }

    pub(crate) fn client_of(&self, visitor: &Visitor) -> Client {
        self.client_at(visitor.address).of_many(!visitor.is_told)
    }

    /// The local side of a new connection with a peer, at this address if it is known.
    pub(crate) fn local_parameters(
        &self,
        peer: Option<IpAddr>,
        credentials: IceCreds,
        numbers: StreamNumbers,
    ) -> LocalParameters<'_> {
        LocalParameters {
            crypto: &self.crypto,
            certificate: &self.certificate,
            credentials,
            addresses: addresses_towards(peer, &self.addresses),
            announced: &self.announced,
            numbers,
            resend_packets: resend_packets(self.bitrate.unwrap_or(0)),
            sends_orientation: self.appearance.orientation.rotation != Rotation::Deg0,
        }
    }
}
