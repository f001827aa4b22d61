//! The page's API: `POST /offer`, JSON in, JSON out.

use serde_json::{Value, json};

use super::reason::Reason;
use super::refusal::Refusal;
use crate::http::{Head, Response};
use crate::sdp::offer::{Offer, OfferError, SdpError};

/// Where offers are posted.
pub const ENDPOINT: &str = "/offer";
/// The header with the random id of a page.
const CLIENT_ID: &str = "ballcast-client-id";
/// Longer ids are ignored.
const MAX_CLIENT_ID_BYTES: usize = 64;
pub(super) const JSON: &str = "application/json";

/// The id of the page, if it sends one.
pub fn client_id(head: &Head) -> Option<&str> {
    head.header(CLIENT_ID).filter(|id| id.len() <= MAX_CLIENT_ID_BYTES)
}

/// The offer in a body: `{"type": "offer", "sdp": …}`.
pub fn read(body: &[u8]) -> Result<Offer, Refusal> {
    let malformed = |sentence: &str| Refusal::new(400, Reason::OfferMalformed, sentence.to_owned());
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

/// The refusal of an offer that cannot be answered.
pub fn refusal(error: &OfferError) -> Refusal {
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
    Refusal::new(status, reason, error.to_string())
}

/// The refusal of a further offer that lacks the format of its connection's video.
pub fn format_changed() -> Refusal {
    let sentence = "A connection cannot change the format of its video. Close it, and offer the \
                    other format in a new RTCPeerConnection.";
    Refusal::new(409, Reason::FormatChanged, sentence)
}

/// The refusal of an ICE restart with a user fragment that is too long for the connection's agent to send
/// checks to.
pub fn ufrag_changed() -> Refusal {
    let sentence = "An ICE restart cannot replace a short ICE user fragment by a long one. Close \
                    the connection, and send the offer of a new RTCPeerConnection.";
    Refusal::new(409, Reason::FormatChanged, sentence)
}

/// The answer to an offer: `{"type": "answer", "sdp": …}`.
pub fn answer(sdp: &str) -> Response {
    json(&json!({"type": "answer", "sdp": sdp}))
}

/// JSON that must not be cached.
pub fn json(value: &Value) -> Response {
    Response::new(200)
        .with_body(JSON, value.to_string().into_bytes())
        .with_header("Cache-Control", "no-store")
}
