//! The phases of a connection between two requests, and their timeouts.

use std::time::Instant;

use super::head::HeadReader;
use super::{Head, Method, Response};

#[derive(Debug)]
pub(super) enum Phase {
    /// Between requests, and in a head once its first byte has come, at `begun`.
    Head {
        reader: HeadReader,
        begun: Option<Instant>,
    },
    /// Between [`HttpEvent::Head`](super::HttpEvent::Head) and
    /// [`HttpConnection::judge`](super::HttpConnection::judge).
    Judged,
    /// The head is reported again at `until`.
    Held {
        head: Head,
        until: Instant,
    },
    Body(Head),
    /// `response` is `None` between [`HttpEvent::Request`](super::HttpEvent::Request) or
    /// [`HttpEvent::Error`](super::HttpEvent::Error) and
    /// [`HttpConnection::respond`](super::HttpConnection::respond).
    Answer {
        response: Option<Response>,
        to_head: bool,
        next: Next,
    },
    /// In an endless body. What the peer sends is discarded.
    Stream {
        discarded: usize,
    },
    /// Discarding the body of a rejected request to get to the next one.
    Discard {
        remaining: usize,
    },
    /// The last answer is being sent. What still comes is read, so that the kernel does not reset the
    /// connection.
    Linger {
        discarded: usize,
    },
    Closed,
}

/// What comes after an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    Head { after_bytes: usize },
    Close,
}

/// Which timeout has expired.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    Answer,
    Respond,
    Stream,
    Idle,
    Head,
    /// A held request is due.
    Turn,
    Body,
    Discard,
    Linger,
}

impl Phase {
    pub(super) fn next_head() -> Self {
        Self::Head { reader: HeadReader::default(), begun: None }
    }

    pub(super) fn answer(response: Option<Response>, method: Method, next: Next) -> Self {
        let to_head = method == Method::Head;
        Self::Answer { response, to_head, next }
    }
}

impl Next {
    pub(super) fn after(keeps: bool, after_bytes: usize) -> Self {
        match keeps {
            true => Self::Head { after_bytes },
            false => Self::Close,
        }
    }
}
