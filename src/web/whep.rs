//! WHEP, the playback protocol of third-party players: an offer is posted to `/whep`, and
//! the viewer is then a resource of its own, which can be changed and deleted
//! (draft-ietf-wish-whep-03; RFC 9725 for what it shares with WHIP).

use str0m::IceCreds;

use super::offer_api;
use crate::http::{Head, Method, Response, WHITE_SPACE};
use crate::refusal::Reason;
use crate::sdp::ice::{PASSWORD_BYTES, UFRAG_BYTES, is_ice_text};
use crate::sdp::offer::{Offer, OfferError};

/// Where offers are posted.
pub const ENDPOINT: &str = "/whep";
/// What is said of the methods of the endpoint, and of a session.
pub const ENDPOINT_METHODS: &str = "GET, HEAD, POST, OPTIONS";
pub const SESSION_METHODS: &str = "GET, HEAD, PATCH, DELETE, OPTIONS";

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Decides on the head alone whether the body is wanted.
pub fn admit(head: &Head) -> Result<(), Response> {
    let (wanted, accepts) = match head.method {
        Method::Post => (SDP, ("Accept-Post", SDP)),
        Method::Patch => (FRAGMENT, ("Accept-Patch", FRAGMENT)),
        _ => return Ok(()),
    };
    if head.has_media_type(wanted) {
        return Ok(());
    }
    let sentence = format!("Send the body as {wanted}.");
    Err(Response::problem(415, Reason::ContentType, &sentence).with_header(accepts.0, accepts.1))
}

/// The offer in a body, which is its SDP.
pub fn read_offer(body: &[u8]) -> Result<Offer, Response> {
    let malformed = |_| OfferError::malformed("it is not text in UTF-8");
    let sdp = str::from_utf8(body).map_err(malformed);
    sdp.and_then(Offer::parse).map_err(|error| offer_api::refusal(&error))
}

/// What may be done here. Mainsail, a web interface of printers, plays after a 204 alone.
pub fn options(methods: &'static str) -> Response {
    Response::new(204)
        .with_header("Allow", methods)
        .with_header("Accept-Post", SDP)
        .with_header("Accept-Patch", FRAGMENT)
}

/// The endpoint and sessions exist, and there is nothing to see.
pub fn presence() -> Response {
    Response::new(200).with_body(SDP, &b""[..]).with_header("Accept-Post", SDP)
}

/// The answer to an offer, and where its viewer is.
pub fn created(session: &str, etag: &str, sdp: String) -> Response {
    Response::new(201)
        .with_body(SDP, sdp.into_bytes())
        // Relative, so that it is right behind a proxy that has put the server under some path.
        .with_header("Location", format!("whep/{session}"))
        .with_header("ETag", etag.to_owned())
        .with_header("Accept-Patch", FRAGMENT)
        .with_header("Cache-Control", "no-store")
}

pub fn no_session() -> Response {
    let sentence = "There is no such session, or it has ended. Post a new offer to /whep.";
    Response::problem(404, Reason::NoSession, sentence)
}

/// Whether a change is meant for the session as it is (RFC 9725, section 4.3.2). Players quote the
/// star, too.
pub fn check_match(head: &Head, etag: &str) -> Result<(), Response> {
    let Some(tags) = head.header("if-match") else {
        let sentence = "Send If-Match with the session's ETag.";
        return Err(Response::problem(428, Reason::IfMatchMissing, sentence));
    };
    let mut tags = tags.split(',').map(|tag| tag.trim_matches(WHITE_SPACE));
    if tags.any(|tag| tag == "*" || tag == "\"*\"" || tag == etag) {
        return Ok(());
    }
    let sentence = "If-Match is not the session's current ETag.";
    Err(Response::problem(412, Reason::IfMatchStale, sentence))
}

/// The credentials in a fragment (RFC 8840, section 9), if there are any. Its candidates do not
/// matter: a viewer's own checks teach us where it is.
pub fn read_fragment(body: &[u8]) -> Result<Option<IceCreds>, Response> {
    let malformed = || {
        let sentence = "The body is not an SDP fragment with candidates or ICE credentials.";
        Response::problem(400, Reason::FragmentMalformed, sentence)
    };
    let text = str::from_utf8(body).map_err(|_| malformed())?;
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    // Players make an empty attribute of the end of candidates in Firefox, whose candidate is empty.
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

/// The answer to an ICE restart: a fragment with our new credentials, and our candidates.
///
/// Of a section without a mid the fragment has none.
pub fn restarted(
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
