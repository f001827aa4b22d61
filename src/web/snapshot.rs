//! Pictures for programs without WebRTC: `GET /snapshot.jpg`, one JPEG file, and `GET /stream.mjpg`, one
//! picture after the other in one response.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::query;
use super::reason::Reason;
use super::refusal::Refusal;
use crate::http::{self, Head, Response};
use crate::media::SnapshotError;

/// The problem of a source that has failed.
pub(crate) const NO_PICTURE: &str =
    "There is no picture: the camera or the encoder on the device has failed. Its log says why.";

/// The range of `?width=`. The largest picture is this wide.
const WIDTH_MIN: usize = 16;
const WIDTH_MAX: usize = 3840;

/// The widths of files, beside the picture's own, so that many clients share a file.
pub const WIDTHS: [usize; 8] = [160, 320, 640, 960, 1280, 1920, 2560, WIDTH_MAX];

const JPEG: &str = "image/jpeg";
/// RFC 2046, section 5.1.1. Our JPEG files contain no text, so no boundary either.
const MULTIPART: &str = "multipart/x-mixed-replace; boundary=ballcast-picture";
const BOUNDARY: &[u8] = b"--ballcast-picture\r\n";

/// The width that a request asks for, if any: an even number from 16 to 3840. Other parameters are ignored:
/// pages add them to bypass a cache.
pub(crate) fn width(head: &Head) -> Result<Option<usize>, Refusal> {
    let Some(text) = query::parameter(head, "width") else {
        return Ok(None);
    };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let width = text.parse().ok().filter(|_| is_number);
    let width = width.filter(|width| (WIDTH_MIN..=WIDTH_MAX).contains(width) && width % 2 == 0);
    width.map(Some).ok_or_else(|| {
        let sentence = format!(
            "The width must be an even number, from {WIDTH_MIN} to the width of the picture."
        );
        Refusal::new(400, Reason::SnapshotWidth, sentence)
    })
}

/// The width of the file for a requested width of at most 3840: the next of [`WIDTHS`]. If the picture is
/// narrower, the file has the picture's own width.
pub fn width_of_file(asked: usize) -> usize {
    WIDTHS.into_iter().find(|width| *width >= asked).unwrap_or(WIDTH_MAX)
}

/// The answer with one picture and the time when it was taken: in whole seconds in `Last-Modified` (RFC 9110,
/// section 8.8.2), and in `X-Timestamp` as mjpg-streamer and uStreamer write it.
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

/// The start of an endless answer, with its first picture.
pub(crate) fn stream(first: &[u8], taken: SystemTime) -> Response {
    let body = [BOUNDARY, &part(first, taken)].concat();
    Response::new(200)
        .with_body(MULTIPART, body)
        .with_header("Cache-Control", "no-store")
        // nginx would hold back the end of each picture until the next one fills its buffer.
        .with_header("X-Accel-Buffering", "no")
        .into_stream()
}

/// One picture of a stream. It ends with the next boundary: Chromium shows a part once it has seen what
/// follows.
pub(crate) fn part(jpeg: &[u8], taken: SystemTime) -> Bytes {
    let head = format!(
        "Content-Type: {JPEG}\r\nContent-Length: {}\r\nX-Timestamp: {}\r\n\r\n",
        jpeg.len(),
        timestamp(taken)
    );
    [head.as_bytes(), jpeg, b"\r\n", BOUNDARY].concat().into()
}

/// The refusal while there is no picture, for this problem. The client may try again after `wait`.
pub(crate) fn no_picture(problem: String, wait: Duration) -> Refusal {
    Refusal::new(503, Reason::NoSource, problem).retry_after(wait)
}

/// The refusal of a picture that could not be made. The client may try again after `wait`, if that can
/// help.
pub fn refusal(error: SnapshotError, wait: Duration) -> Refusal {
    match error {
        SnapshotError::NoPicture => no_picture(NO_PICTURE.to_owned(), wait),
        SnapshotError::Damaged(damage) => {
            no_picture(format!("The newest picture cannot be shown: {damage}."), wait)
        }
        SnapshotError::NoPictures => {
            let sentence = "The source sends H.264, so there is no stream of JPEGs. Use /snapshot.jpg, or \
                            watch the video at /.";
            Refusal::new(501, Reason::NoPictures, sentence)
        }
        SnapshotError::TooWide { picture_width } => {
            let sentence = format!(
                "The picture is {picture_width} pixels wide: ask for an even width from {WIDTH_MIN} to \
                 {picture_width}."
            );
            Refusal::new(400, Reason::SnapshotWidth, sentence)
        }
    }
}
