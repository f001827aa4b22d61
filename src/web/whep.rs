//! WHEP, the playback protocol of third-party players: a player posts an offer to `/whep`, and its viewer
//! becomes a session that it can change and delete (draft-ietf-wish-whep-03; RFC 9725 for what it shares
//! with WHIP).

use str0m::IceCreds;

use super::offer_api;
use super::reason::Reason;
use super::refusal::Refusal;
use crate::http::{Head, Response, WHITE_SPACE};
use crate::sdp::ice::{PASSWORD_BYTES, UFRAG_BYTES, is_ice_text};
use crate::sdp::offer::{Offer, OfferError};

/// Where offers are posted.
pub const ENDPOINT: &str = "/whep";
pub(super) const SDP: &str = "application/sdp";
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// The secret name of a session, from the path of a request for it.
pub(crate) fn session_key(head: &Head) -> Option<&str> {
    head.path.strip_prefix(ENDPOINT)?.strip_prefix('/')
}

/// Reads the offer in a body, which is its SDP.
pub(crate) fn read_offer(body: &[u8]) -> Result<Offer, Refusal> {
    let malformed = |_| OfferError::malformed("it is not text in UTF-8");
    let sdp = str::from_utf8(body).map_err(malformed);
    sdp.and_then(Offer::parse).map_err(|error| offer_api::refusal(&error))
}

/// The answer to GET of the endpoint or of a session: it exists, and has nothing to show.
pub fn presence() -> Response {
    Response::new(200).with_body(SDP, &b""[..]).with_header("Accept-Post", SDP)
}

/// The answer to an offer, with the location of the session.
pub(crate) fn created(session: &str, etag: &str, sdp: String) -> Response {
    Response::new(201)
        .with_body(SDP, sdp.into_bytes())
        // Relative, so that it holds behind a proxy that serves this server under a path.
        .with_header("Location", format!("whep/{session}"))
        .with_header("ETag", etag.to_owned())
        .with_header("Accept-Patch", FRAGMENT)
        .with_header("Cache-Control", "no-store")
}

/// The refusal of a request for a session that does not exist.
pub(crate) fn no_session() -> Refusal {
    let sentence = "There is no such session, or it has ended. Post a new offer to /whep.";
    Refusal::new(404, Reason::NoSession, sentence)
}

/// Rejects a change that is not for the session's current state (RFC 9725, section 4.3.2). Some players
/// send the star in quotes.
pub(crate) fn check_match(head: &Head, etag: &str) -> Result<(), Refusal> {
    let Some(tags) = head.header("if-match") else {
        let sentence = "Send If-Match with the session's ETag.";
        return Err(Refusal::new(428, Reason::IfMatchMissing, sentence));
    };
    let mut tags = tags.split(',').map(|tag| tag.trim_matches(WHITE_SPACE));
    if tags.any(|tag| tag == "*" || tag == "\"*\"" || tag == etag) {
        return Ok(());
    }
    let sentence = "If-Match is not the session's current ETag.";
    Err(Refusal::new(412, Reason::IfMatchStale, sentence))
}

/// Reads the credentials in a fragment (RFC 8840, section 9), if there are any. Its candidates are ignored:
/// the viewer's connectivity checks give its addresses.
pub(crate) fn read_fragment(body: &[u8]) -> Result<Option<IceCreds>, Refusal> {
    let malformed = || {
        let sentence = "The body is not an SDP fragment with candidates or ICE credentials.";
        Refusal::new(400, Reason::FragmentMalformed, sentence)
    };
    let text = str::from_utf8(body).map_err(|_| malformed())?;
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    // The end of candidates is an empty candidate in Firefox; players write it as an empty attribute.
    let is_line = |line: &&str| line.len() >= 2 && line.as_bytes()[1] == b'=';
    if lines.is_empty() || !lines.iter().all(is_line) {
        return Err(malformed());
    }
    let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
    match (value("a=ice-ufrag:"), value("a=ice-pwd:")) {
        (None, None) => Ok(None),
        (Some(ufrag), Some(pass)) => {
            let valid = is_ice_text(ufrag, UFRAG_BYTES) && is_ice_text(pass, PASSWORD_BYTES);
            let credentials = IceCreds { ufrag: ufrag.to_owned(), pass: pass.to_owned() };
            valid.then_some(Some(credentials)).ok_or_else(malformed)
        }
        _ => Err(malformed()),
    }
}

/// The answer to an ICE restart: a fragment with our new credentials and our candidates, and with a mid if
/// the section has one.
pub(crate) fn restarted(
    etag: &str,
    mid: Option<&str>,
    local: &IceCreds,
    candidates: &[String],
) -> Response {
    let IceCreds { ufrag, pass } = local;
    let mut fragment =
        format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pass}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\n");
    if let Some(mid) = mid {
        fragment += &format!("a=mid:{mid}\r\n");
    }
    for candidate in candidates {
        fragment += &format!("a={candidate}\r\n");
    }
    fragment += "a=end-of-candidates\r\n";
    Response::new(200)
        .with_body(FRAGMENT, fragment.into_bytes())
        .with_header("ETag", etag.to_owned())
        .with_header("Cache-Control", "no-store")
}
