//! The page's own way to a picture: `POST /offer`, JSON in, JSON out.

use serde_json::{Value, json};

use crate::http::{Head, Method, Response};
use crate::refusal::Reason;
use crate::sdp::offer::{Offer, OfferError, SdpError};

/// Where offers are posted.
pub const ENDPOINT: &str = "/offer";
pub const METHODS: &str = "POST, OPTIONS";
/// The header with the id that a page has drawn at random.
const CLIENT_ID: &str = "ballcast-client-id";
/// A longer id is none.
const MAX_CLIENT_ID_BYTES: usize = 64;
const JSON: &str = "application/json";

/// Decides on the head alone whether the body is wanted.
pub fn admit(head: &Head) -> Result<(), Response> {
    if head.method == Method::Options || head.has_media_type(JSON) {
        return Ok(());
    }
    Err(Response::problem(
        415,
        Reason::ContentType,
        "Send the offer as application/json: {\"type\": \"offer\", \"sdp\": …}.",
    )
    .with_header("Accept-Post", JSON))
}

/// What may be done here.
pub fn options() -> Response {
    Response::new(204).with_header("Allow", METHODS).with_header("Accept-Post", JSON)
}

/// The id of the page that asks, if it sends one.
pub fn client_id(head: &Head) -> Option<&str> {
    head.header(CLIENT_ID).filter(|id| id.len() <= MAX_CLIENT_ID_BYTES)
}

/// The offer in a body: `{"type": "offer", "sdp": …}`.
pub fn read(body: &[u8]) -> Result<Offer, Response> {
    let malformed = |sentence: &str| Response::problem(400, Reason::OfferMalformed, sentence);
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(&format!("The body is not JSON: {error}.")))?;
    if value["type"] != "offer" {
        return Err(malformed("The field type must be \"offer\"."));
    }
    let Some(sdp) = value["sdp"].as_str() else {
        return Err(malformed("The field sdp must be a string with the offer's SDP."));
    };
    Offer::parse(sdp).map_err(|error| refusal(&error))
}

/// Why there is no video for an offer, to its sender.
pub fn refusal(error: &OfferError) -> Response {
    let (status, reason) = match error {
        OfferError::Sdp(SdpError::Malformed(_)) => (400, Reason::OfferMalformed),
        OfferError::NoVideo => (422, Reason::NoVideo),
        OfferError::NotReceiving => (422, Reason::VideoNotReceiving),
        OfferError::NoCodec(_) | OfferError::NoH264 | OfferError::UnusableH264(_) => {
            (422, Reason::NoCodec)
        }
        OfferError::IceLite => (422, Reason::IceLite),
        OfferError::Sdp(SdpError::TooLarge(..)) => (413, Reason::OfferTooLarge),
    };
    Response::problem(status, reason, &error.to_string())
}

/// A further offer of a connection asks for the video in another format than it has.
pub fn format_changed() -> Response {
    let sentence = "A connection cannot change the format of its video. Close it, and offer the \
                    other format in a new RTCPeerConnection.";
    Response::problem(409, Reason::FormatChanged, sentence)
}

/// An ICE restart has a user fragment that the connection's agent cannot write into its checks.
pub fn ufrag_changed() -> Response {
    let sentence = "An ICE restart cannot replace a short ICE user fragment by a long one. Close \
                    the connection, and send the offer of a new RTCPeerConnection.";
    Response::problem(409, Reason::FormatChanged, sentence)
}

pub fn answer(sdp: &str) -> Response {
    json(&json!({"type": "answer", "sdp": sdp}))
}

/// JSON that is true now only.
pub fn json(value: &Value) -> Response {
    Response::new(200)
        .with_body(JSON, value.to_string().into_bytes())
        .with_header("Cache-Control", "no-store")
}
