//! The server's end of one connection, from its first byte to its end.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use super::input::ReceiveBuffer;
use super::phase::{Late, Next, Phase};
use super::{ANSWER_TIME, BODY_TIME, HEAD_TIME, IDLE_TIME, LINGER_TIME, RESPOND_TIME};
use super::{DISCARD_MAX_BYTES, INPUT_MAX_BYTES, LINGER_MAX_BYTES};
use super::{Head, HttpError, Method, Response};

/// One complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub head: Head,
    /// `head.content_length` bytes.
    pub body: Vec<u8>,
}

/// What [`HttpConnection::poll`] needs from outside.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    pub now: Instant,
    /// Wall-clock time, for the Date header only.
    pub date: SystemTime,
    /// Sent with every response that does not set the same header itself.
    pub common_headers: &'static [(&'static str, &'static str)],
}

/// The decision on a request whose head is known, before its body is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Read its body, and report the request.
    Accept,
    /// Send this final answer. The request is not reported, and its body is discarded.
    Reject(Response),
    /// Report the head again at this time. Nothing is parsed until then.
    Hold(Instant),
}

/// What a connection reports or wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpEvent {
    /// Call [`HttpConnection::judge`] with this well-formed head before the next poll.
    Head(Head),
    /// Call [`HttpConnection::respond`], now or later.
    Request(Request),
    /// Append these bytes to the socket's queue. Never empty.
    Send(Bytes),
    /// If the error has a [status](HttpError::status), call [`HttpConnection::respond`] with an answer that
    /// explains it before the next poll.
    Error(HttpError),
    /// Shut down the write side once the queue is empty, and keep reading. At most once.
    Finish,
    /// Drop the socket now. Once, as the last event.
    Close,
}

/// The server's end of one connection. See the [module](super) for the contract.
#[derive(Debug)]
pub struct HttpConnection {
    phase: Phase,
    input: ReceiveBuffer,
    events: VecDeque<HttpEvent>,
    /// The peer sends no more.
    half_closed: bool,
    unsent_bytes: usize,
    /// When the first of the unsent bytes was emitted.
    unsent_since: Instant,
    /// When the timeout of the phase started.
    since: Instant,
}

impl HttpConnection {
    /// A connection accepted at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            phase: Phase::next_head(),
            input: ReceiveBuffer::default(),
            events: VecDeque::new(),
            half_closed: false,
            unsent_bytes: 0,
            unsent_since: now,
            since: now,
        }
    }

    /// The peer sent `bytes`. All bytes of one call are buffered, beyond any limit: read in moderate
    /// pieces.
    pub fn receive(&mut self, bytes: &[u8]) {
        match &mut self.phase {
            Phase::Closed => {}
            Phase::Stream { discarded } | Phase::Linger { discarded } => {
                *discarded += bytes.len();
            }
            _ => self.input.append(bytes),
        }
    }

    /// The peer has shut down its write side, and may still read.
    pub fn half_closed(&mut self) {
        self.half_closed = true;
    }

    /// The kernel has taken every byte emitted as [`HttpEvent::Send`] so far.
    pub fn flushed(&mut self, now: Instant) {
        let counts_from_here =
            matches!(self.phase, Phase::Head { .. } | Phase::Stream { .. } | Phase::Linger { .. });
        if self.unsent_bytes > 0 && counts_from_here {
            self.since = now;
        }
        self.unsent_bytes = 0;
    }

    /// Time has passed; harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some((_, late)) = self.deadline().filter(|&(at, _)| at <= now) else {
            return;
        };
        match late {
            Late::Head => self.refuse(HttpError::HeadLate, now),
            Late::Body => self.refuse(HttpError::BodyLate, now),
            Late::Respond => {
                self.since = now;
                self.events.push_back(HttpEvent::Error(HttpError::NotReady));
            }
            Late::Discard | Late::Stream => self.finish(now),
            Late::Answer => {
                self.events.push_back(HttpEvent::Error(HttpError::AnswerLate));
                self.close();
            }
            Late::Idle | Late::Linger => self.close(),
            // The head is reported again by the next poll.
            Late::Turn => {}
        }
    }

    /// Applies the verdict on the head that [`HttpEvent::Head`] reported.
    pub fn judge(&mut self, head: Head, verdict: Verdict, now: Instant) {
        if !matches!(self.phase, Phase::Judged) {
            return debug_assert!(false, "a verdict without a head");
        }
        self.since = now;
        match verdict {
            Verdict::Accept => self.accept(head, now),
            Verdict::Reject(response) => self.reject(&head, response),
            Verdict::Hold(until) => self.phase = Phase::Held { head, until },
        }
    }

    /// Shuts down gracefully: what was emitted and a request already reported are finished, then the
    /// connection closes.
    pub fn shutdown(&mut self, now: Instant) {
        if self.is_idle() {
            return self.close();
        }
        match &mut self.phase {
            Phase::Head { .. }
            | Phase::Judged
            | Phase::Held { .. }
            | Phase::Body(_)
            | Phase::Discard { .. }
            | Phase::Stream { .. } => self.finish(now),
            Phase::Answer { next, .. } => *next = Next::Close,
            Phase::Linger { .. } | Phase::Closed => {}
        }
    }

    /// Answers the last [`HttpEvent::Request`] or [`HttpEvent::Error`], once. A request may be answered
    /// after any number of polls and facts: no further request is read before, and a connection that still
    /// [awaits](Self::awaits_response) the answer after [`RESPOND_TIME`] reports [`HttpError::NotReady`].
    pub fn respond(&mut self, answer: Response) {
        match &mut self.phase {
            Phase::Answer { response: response @ None, .. } => *response = Some(answer),
            _ => debug_assert!(false, "a response without a request"),
        }
    }

    /// Whether a request was reported and has no answer yet.
    pub fn awaits_response(&self) -> bool {
        matches!(self.phase, Phase::Answer { response: None, .. })
    }

    /// Whether the connection can use more bytes. While it cannot, leave them in the kernel, so that the
    /// peer has to wait. Bytes received nevertheless are kept, up to [`INPUT_MAX_BYTES`].
    pub fn takes_bytes(&self) -> bool {
        !self.is_held_back() || self.input.unread().is_empty()
    }

    /// Whether an [endless answer](Response::into_stream) is under way.
    pub fn is_streaming(&self) -> bool {
        matches!(self.phase, Phase::Stream { .. })
    }

    /// Whether the peer has taken the last part of a stream, so that the next one is sent at once. A slow
    /// peer gets fewer parts, never old ones.
    pub fn takes_part(&self) -> bool {
        self.is_streaming() && self.unsent_bytes == 0
    }

    /// Sends the next part of an endless body, if the connection [takes it](Self::takes_part).
    pub fn send_part(&mut self, part: Bytes, now: Instant) {
        debug_assert!(self.takes_part(), "a part before the peer has taken the last one");
        if self.is_streaming() {
            self.send(part, now);
        }
    }

    /// The next event, or `None` until there is another fact.
    pub fn poll(&mut self, context: &Context) -> Option<HttpEvent> {
        while self.events.is_empty() && self.advance(context) {}
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). After a complete drain, it is `None` only
    /// if the connection is closed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline().map(|(at, _)| at)
    }

    /// Whether no request is under way and nothing is unsent, so that the connection may be dropped to make
    /// room.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Head { begun: None, .. })
            && self.events.is_empty()
            && self.unsent_bytes == 0
    }

    /// Whether an answer is due, or the peer has not taken all of the last one.
    pub fn is_answering(&self) -> bool {
        let is_made = matches!(self.phase, Phase::Answer { .. });
        is_made || !self.events.is_empty() || self.unsent_bytes > 0
    }

    /// Takes one step. Returns whether there was one to take.
    fn advance(&mut self, context: &Context) -> bool {
        match self.phase {
            Phase::Held { .. } if self.half_closed => {
                // The peer has given up, and nothing was sent yet.
                self.close();
                true
            }
            Phase::Held { until, .. } if until <= context.now => self.report_head(),
            _ if self.is_held_back() => self.check_overflow(context.now),
            Phase::Head { .. } => self.read_head(context.now),
            Phase::Body(_) => self.read_body(context.now),
            Phase::Answer { .. } => self.send_answer(context),
            Phase::Stream { .. } => self.stream(context.now),
            Phase::Discard { .. } => self.discard(context.now),
            Phase::Linger { .. } => self.linger(),
            Phase::Held { .. } | Phase::Judged | Phase::Closed => false,
        }
    }

    /// Whether parsing is paused: until the peer has taken the last answer, so that pipelined requests are
    /// served one at a time; until there is an answer; or until a held request is due.
    fn is_held_back(&self) -> bool {
        match self.phase {
            Phase::Head { .. } => self.unsent_bytes > 0,
            Phase::Answer { response: None, .. } | Phase::Held { .. } => true,
            _ => false,
        }
    }

    /// Ends a connection whose peer sends more while parsing is paused than an honest client does.
    fn check_overflow(&mut self, now: Instant) -> bool {
        let overflow = self.input.unread().len() > INPUT_MAX_BYTES;
        if overflow {
            self.events.push_back(HttpEvent::Error(HttpError::InputOverflow));
            self.finish(now);
        }
        overflow
    }

    fn read_head(&mut self, now: Instant) -> bool {
        let Phase::Head { reader, begun } = &mut self.phase else {
            return false;
        };
        match reader.read(self.input.unread()) {
            Ok(Some((head, size_bytes))) => {
                self.input.consume(size_bytes);
                self.phase = Phase::Judged;
                self.events.push_back(HttpEvent::Head(head));
                true
            }
            Ok(None) if self.half_closed => {
                match reader.has_begun() {
                    true => self.refuse(HttpError::Incomplete, now),
                    false => self.finish(now),
                }
                true
            }
            Ok(None) => {
                *begun = reader.has_begun().then(|| begun.unwrap_or(now));
                false
            }
            Err(error) => {
                self.refuse(error, now);
                true
            }
        }
    }

    fn report_head(&mut self) -> bool {
        let Phase::Held { head, .. } = std::mem::replace(&mut self.phase, Phase::Judged) else {
            return false;
        };
        self.events.push_back(HttpEvent::Head(head));
        true
    }

    fn accept(&mut self, head: Head, now: Instant) {
        if head.expects_continue && head.content_length > 0 && self.input.unread().is_empty() {
            self.send(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"), now);
        }
        self.phase = Phase::Body(head);
    }

    fn reject(&mut self, head: &Head, response: Response) {
        // A client that waits for 100 may send its body after this answer or not at all, so the next
        // byte is ambiguous whatever has arrived so far (RFC 9110 section 10.1.1).
        let keeps = match head.content_length {
            0 => true,
            length => length <= DISCARD_MAX_BYTES && !head.expects_continue,
        };
        let next = Next::after(keeps && !head.closes, head.content_length);
        self.phase = Phase::answer(Some(response), head.method, next);
    }

    fn read_body(&mut self, now: Instant) -> bool {
        let Phase::Body(head) = &self.phase else {
            return false;
        };
        let Some(body) = self.input.unread().get(..head.content_length) else {
            if self.half_closed {
                self.refuse(HttpError::Incomplete, now);
            }
            return self.half_closed;
        };
        let (head, body) = (head.clone(), body.to_vec());
        self.input.consume(body.len());
        self.phase = Phase::answer(None, head.method, Next::after(!head.closes, 0));
        self.since = now;
        self.events.push_back(HttpEvent::Request(Request { head, body }));
        true
    }

    fn send_answer(&mut self, context: &Context) -> bool {
        let Phase::Answer { response, to_head, next } = &mut self.phase else {
            return false;
        };
        let (to_head, mut next) = (*to_head, *next);
        let Some(response) = response.take() else {
            return false;
        };
        let streams = response.streams;
        if streams {
            // Without a length, only the end of the connection ends a body (RFC 9112 section 6.3).
            next = Next::Close;
        }
        for bytes in response.render(context, to_head, matches!(next, Next::Close)) {
            self.send(bytes, context.now);
        }
        match next {
            Next::Head { after_bytes } => self.phase = Phase::Discard { remaining: after_bytes },
            Next::Close if streams && !to_head => {
                self.phase = Phase::Stream { discarded: self.input.unread().len() };
                self.input = ReceiveBuffer::default();
                self.since = context.now;
            }
            Next::Close => self.finish(context.now),
        }
        true
    }

    /// A peer that half-closes has left: no client that shows pictures half-closes and reads on.
    fn stream(&mut self, now: Instant) -> bool {
        let Phase::Stream { discarded } = self.phase else {
            return false;
        };
        let is_over = discarded > LINGER_MAX_BYTES || self.half_closed;
        if is_over {
            self.finish(now);
        }
        is_over
    }

    fn discard(&mut self, now: Instant) -> bool {
        let Phase::Discard { remaining } = &mut self.phase else {
            return false;
        };
        let size_bytes = self.input.unread().len().min(*remaining);
        self.input.consume(size_bytes);
        *remaining -= size_bytes;
        if *remaining == 0 {
            self.phase = Phase::next_head();
            self.since = now;
            return true;
        }
        if self.half_closed {
            self.finish(now);
        }
        self.half_closed
    }

    fn linger(&mut self) -> bool {
        let Phase::Linger { discarded } = self.phase else {
            return false;
        };
        let is_over = discarded > LINGER_MAX_BYTES || (self.half_closed && self.unsent_bytes == 0);
        if is_over {
            self.close();
        }
        is_over
    }

    /// Reports an error with an answer, after which nothing is parsed.
    fn refuse(&mut self, error: HttpError, now: Instant) {
        let method = match &self.phase {
            Phase::Head { reader, .. } => reader.method(),
            Phase::Body(head) => Some(head.method),
            _ => None,
        };
        // Before the method is known, the client is assumed to read a body.
        let method = method.unwrap_or(Method::Get);
        self.phase = Phase::answer(None, method, Next::Close);
        self.since = now;
        self.events.push_back(HttpEvent::Error(error));
    }

    fn finish(&mut self, now: Instant) {
        self.phase = Phase::Linger { discarded: self.input.unread().len() };
        self.input = ReceiveBuffer::default();
        self.since = now;
        self.events.push_back(HttpEvent::Finish);
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.input = ReceiveBuffer::default();
        self.events.push_back(HttpEvent::Close);
    }

    fn send(&mut self, bytes: Bytes, now: Instant) {
        if bytes.is_empty() {
            return;
        }
        if self.unsent_bytes == 0 {
            self.unsent_since = now;
        }
        self.unsent_bytes += bytes.len();
        self.events.push_back(HttpEvent::Send(bytes));
    }

    /// The timeout that expires first. While an answer is unsent, the connection neither idles nor
    /// lingers.
    fn deadline(&self) -> Option<(Instant, Late)> {
        let is_sent = self.unsent_bytes == 0;
        let answer = (!is_sent).then_some((self.unsent_since + ANSWER_TIME, Late::Answer));
        let phase = match self.phase {
            Phase::Head { begun: Some(begun), .. } => Some((begun + HEAD_TIME, Late::Head)),
            Phase::Head { begun: None, .. } => {
                is_sent.then_some((self.since + IDLE_TIME, Late::Idle))
            }
            Phase::Held { until, .. } => Some((until, Late::Turn)),
            Phase::Body(_) => Some((self.since + BODY_TIME, Late::Body)),
            Phase::Discard { .. } => Some((self.since + BODY_TIME, Late::Discard)),
            Phase::Linger { .. } => is_sent.then_some((self.since + LINGER_TIME, Late::Linger)),
            Phase::Answer { response: None, .. } => {
                Some((self.since + RESPOND_TIME, Late::Respond))
            }
            Phase::Answer { .. } => None,
            Phase::Stream { .. } => is_sent.then_some((self.since + RESPOND_TIME, Late::Stream)),
            Phase::Judged | Phase::Closed => return None,
        };
        answer.into_iter().chain(phase).min_by_key(|&(at, _)| at)
    }
}
