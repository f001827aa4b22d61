//! Where a connection stands between two requests, and what ends the time that it has there.

use std::time::Instant;

use super::head::HeadReader;
use super::{Head, Method, Response};

#[derive(Debug)]
pub(super) enum Phase {
    /// Between requests, and in a head once its first byte came at `begun`.
    Head {
        reader: HeadReader,
        begun: Option<Instant>,
    },
    /// Between [`Event::Head`](super::HttpEvent::Head) and [`Connection::judge`](super::HttpConnection::judge).
    Judged,
    /// The request waits for its turn.
    Held {
        head: Head,
        until: Instant,
    },
    Body(Head),
    /// `response` is `None` between [`Event::Request`](super::HttpEvent::Request) and
    /// [`Connection::respond`](super::HttpConnection::respond).
    Answer {
        response: Option<Response>,
        to_head: bool,
        next: Next,
    },
    /// In a body without an end. What the peer sends is not wanted.
    Stream {
        discarded: usize,
    },
    /// Reading an unwanted body to get to the next request.
    Discard {
        remaining: usize,
    },
    /// The last answer is on its way: what still comes is read, so that the kernel has no cause for
    /// a reset.
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

/// Which time has run out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    Answer,
    Respond,
    Stream,
    Idle,
    Head,
    /// The turn of a request that was held.
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
