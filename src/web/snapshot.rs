//! Pictures for whatever has no WebRTC: `GET /snapshot.jpg`, one picture as a JPEG file, and `GET
//! /stream.mjpg`, a picture after the other in one response.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::query;
use crate::http::{self, Head, Response};
use crate::media::SnapshotError;
use crate::refusal::Reason;

/// The parameter with which mjpg-streamer takes requests at `/`: `/?action=snapshot`. The number of a
/// camera may follow, and ours is the first.
const ACTION: &str = "action";

/// What `?width=` can ask for. The largest picture is this wide.
const WIDTH_MIN: usize = 16;
const WIDTH_MAX: usize = 3840;

/// The widths that files have, beside the picture's own: what many ask for is then often the same file.
pub const WIDTHS: [usize; 8] = [160, 320, 640, 960, 1280, 1920, 2560, WIDTH_MAX];

const JPEG: &str = "image/jpeg";
/// RFC 2046, section 5.1.1. There is no text in our JPEG files that it could be taken for.
const MULTIPART: &str = "multipart/x-mixed-replace; boundary=ballcast-picture";
const BOUNDARY: &[u8] = b"--ballcast-picture\r\n";

/// What a request for pictures asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// One picture: `/snapshot.jpg`.
    Snapshot,
    /// One picture after the other: `/stream.mjpg`.
    Stream,
}

/// What a request for pictures asks for, by our own names or by those of mjpg-streamer and of the
/// programs that follow it; `None` for every other request.
pub fn wanted(head: &Head) -> Option<Wanted> {
    match head.path.as_str() {
        "/snapshot.jpg" | "/snapshot" => Some(Wanted::Snapshot),
        "/stream.mjpg" | "/stream" => Some(Wanted::Stream),
        "/" => match query::parameter(head, ACTION)?.as_str() {
            "snapshot" | "snapshot_0" => Some(Wanted::Snapshot),
            "stream" | "stream_0" => Some(Wanted::Stream),
            _ => None,
        },
        _ => None,
    }
}

/// The width that a request asks for, if any: an even number from 16 to 3840. Other parameters are
/// let through, as pages add them to get past a cache.
pub fn width(head: &Head) -> Result<Option<usize>, Response> {
    let Some(text) = query::parameter(head, "width") else {
        return Ok(None);
    };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let width = text.parse().ok().filter(|_| is_number);
    let width = width.filter(|width| (WIDTH_MIN..=WIDTH_MAX).contains(width) && width % 2 == 0);
    width.map(Some).ok_or_else(|| {
        let sentence = "The width must be an even number, from 16 to the width of the picture.";
        Response::problem(400, Reason::SnapshotWidth, sentence)
    })
}

/// The width of the file that a width of at most 3840 is answered with: the next of [`WIDTHS`]. If the
/// picture is not that wide, the answer has its own width.
pub fn width_of_file(asked: usize) -> usize {
    WIDTHS.into_iter().find(|width| *width >= asked).unwrap_or(WIDTH_MAX)
}

/// The answer to a request for one picture, which was taken at this time: `Last-Modified` has it in whole
/// seconds (RFC 9110, section 8.8.2), `X-Timestamp` as mjpg-streamer and uStreamer write it.
pub fn picture(jpeg: Bytes, taken: SystemTime) -> Response {
    Response::new(200)
        .with_body(JPEG, jpeg)
        .with_header("Cache-Control", "no-store")
        .with_header("Last-Modified", http::http_date(taken))
        .with_header("X-Timestamp", timestamp(taken))
}

/// Seconds since 1970, with six decimals.
fn timestamp(taken: SystemTime) -> String {
    let since = taken.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:06}", since.as_secs(), since.subsec_micros())
}

/// The beginning of an answer that shows one picture after the other, with the first of them.
pub fn stream(first: &[u8], taken: SystemTime) -> Response {
    let body = [BOUNDARY, &part(first, taken)].concat();
    Response::new(200)
        .with_body(MULTIPART, body)
        .with_header("Cache-Control", "no-store")
        // nginx would keep back the end of each picture until the next one fills its buffer.
        .with_header("X-Accel-Buffering", "no")
        .into_stream()
}

/// One picture of a stream. The next boundary is at its end, as Chromium shows a part when it has
/// seen what follows it.
pub fn part(jpeg: &[u8], taken: SystemTime) -> Bytes {
    let head = format!(
        "Content-Type: {JPEG}\r\nContent-Length: {}\r\nX-Timestamp: {}\r\n\r\n",
        jpeg.len(),
        timestamp(taken)
    );
    [head.as_bytes(), jpeg, b"\r\n", BOUNDARY].concat().into()
}

/// There is no picture now, for this reason.
pub fn no_picture(sentence: &str, wait: Duration) -> Response {
    Response::problem(503, Reason::NoSource, sentence).retry_after(wait)
}

/// Why there is no picture, to whoever asked for one, and when to ask again if that may help.
pub fn refusal(error: SnapshotError, wait: Duration) -> Response {
    match error {
        SnapshotError::NoPicture => {
            let sentence = "There is no picture: the camera or the encoder on the device has \
                            failed. Its log says why.";
            no_picture(sentence, wait)
        }
        SnapshotError::Damaged(damage) => {
            no_picture(&format!("The newest picture cannot be shown: {damage}."), wait)
        }
        SnapshotError::NoPictures => {
            let sentence = "The source sends H.264, so there is no stream of JPEGs. Use /snapshot.jpg, or \
                            watch the video at /.";
            Response::problem(501, Reason::NoPictures, sentence)
        }
        SnapshotError::TooWide { picture_width } => {
            let sentence = format!(
                "The picture is {picture_width} pixels wide: ask for an even width from 16 to \
                 {picture_width}."
            );
            Response::problem(400, Reason::SnapshotWidth, &sentence)
        }
    }
}
