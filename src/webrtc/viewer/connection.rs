//! A connection that is being set up, no matter who made the offer.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::config::Fingerprint;
use str0m::media::{MediaKind, Mid};
use str0m::net::Protocol;
use str0m::rtp::Ssrc;
use str0m::{Candidate, Rtc, RtcConfig, RtcError};

use crate::media::Codec;
use crate::sdp::local::AnsweredFormat;
use crate::sdp::offer::{Peer, Setup};
use crate::webrtc::config::{LocalParameters, StreamNumbers};
use crate::webrtc::local_side::{Candidates, LocalSide};

/// str0m's name of the one media section. The one in an offer may be too long for str0m.
const MID: &str = "video";

/// What a viewer is built from.
pub(super) struct ConnectionParts {
    pub rtc: Rtc,
    pub codec: Codec,
    pub format: AnsweredFormat,
    pub local: LocalSide,
    pub numbers: StreamNumbers,
    pub resend_packets: usize,
    /// The peer is a media server that we publish to, and the offer is ours.
    pub is_media_server: bool,
}

impl ConnectionParts {
    /// Builds an `Rtc` with one video section in this format, and adds our candidates.
    pub fn build(
        config: RtcConfig,
        local: &LocalParameters,
        (codec, payload_type, rtx): (Codec, u8, Option<u8>),
        is_media_server: bool,
        now: Instant,
    ) -> ConnectionParts {
        let mut rtc = config.build(now);
        let numbers = local.numbers;
        let mut api = rtc.direct_api();
        let cname = api.declare_media(Mid::from(MID), MediaKind::Video).cname().to_owned();
        let StreamNumbers { ssrc, rtx_ssrc, .. } = numbers;
        ConnectionParts {
            codec,
            format: AnsweredFormat { payload_type, rtx, ssrc, rtx_ssrc, cname },
            local: local_side(&mut rtc, local),
            numbers,
            resend_packets: local.resend_packets,
            is_media_server,
            rtc,
        }
    }

    /// Applies what the peer's description says, and declares the stream.
    ///
    /// # Errors
    /// DTLS cannot be started.
    pub fn connect(&mut self, peer: &Peer) -> Result<(), RtcError> {
        let mut api = self.rtc.direct_api();
        // The offerer controls (RFC 8445, section 6.1.1).
        api.set_ice_controlling(self.is_media_server);
        api.set_remote_ice_credentials(peer.credentials.clone());
        let (hash_func, bytes) = ("sha-256".to_owned(), peer.fingerprint.to_vec());
        api.set_remote_fingerprint(Fingerprint { hash_func, bytes });
        self.local.is_dtls_client = peer.setup == Setup::Passive;
        api.start_dtls(self.local.is_dtls_client)?;
        let rtx = self.format.rtx.map(|_| Ssrc::from(self.format.rtx_ssrc));
        api.declare_stream_tx(self.format.ssrc.into(), rtx, Mid::from(MID), None);
        Ok(())
    }
}

fn local_side(rtc: &mut Rtc, local: &LocalParameters) -> LocalSide {
    let mut candidates = Candidates::default();
    update_candidates(rtc, &mut candidates, &local.addresses);
    LocalSide {
        session: local.numbers.session,
        descriptions: 0,
        is_dtls_client: false,
        is_ice_lite: false,
        sends_orientation: local.sends_orientation,
        fingerprint: rtc.direct_api().local_dtls_fingerprint().to_string(),
        candidates,
        announced: local.announced.to_vec(),
        credentials: local.credentials.clone(),
    }
}

/// Adds candidates for new addresses, and removes those whose address is gone.
pub(super) fn update_candidates(
    rtc: &mut Rtc,
    candidates: &mut Candidates,
    addresses: &[SocketAddr],
) {
    let gone = candidates.0.extract_if(.., |candidate| !addresses.contains(&candidate.addr()));
    for candidate in gone {
        rtc.direct_api().invalidate_candidate(&candidate);
    }
    for address in addresses {
        if candidates.contains(*address) {
            continue;
        }
        match Candidate::host(*address, Protocol::Udp) {
            Ok(candidate) => candidates.0.extend(rtc.add_local_candidate(candidate).cloned()),
            Err(error) => log::debug!("{address} is no candidate: {error}"),
        }
    }
}

/// A remote candidate of this type (RFC 8839, section 5.1).
pub(super) fn remote_candidate(
    address: SocketAddr,
    priority: u32,
    kind: &str,
) -> Result<Candidate, RtcError> {
    let (ip, port) = (address.ip(), address.port());
    let text = format!("candidate:0 1 udp {priority} {ip} {port} typ {kind}");
    Ok(Candidate::from_sdp_string(&text)?)
}
