//! `GET /health`, for monitors: whether there is a picture to show.

use crate::http::Response;

pub const ENDPOINT: &str = "/health";
const TEXT: &str = "text/plain; charset=utf-8";

/// 200 and `ok`, or 503 and the problem. The 503 is no refusal: nothing was wrong with the request.
pub fn answer(problem: Option<String>) -> Response {
    let response = match problem {
        None => Response::new(200).with_body(TEXT, &b"ok\n"[..]),
        Some(sentence) => Response::new(503).with_body(TEXT, (sentence + "\n").into_bytes()),
    };
    response.with_header("Cache-Control", "no-store")
}
