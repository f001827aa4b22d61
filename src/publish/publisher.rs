//! The life of what is published to one media server: when it is asked, and when again.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::call::{Call, Outcome};
use super::whip;
use super::{BearerToken, Problem, PublishCause, PublishCommand, PublishEvent, Target};
use crate::http::{Method, Url};

/// A server that names a time to come back is believed so far.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// How long a device that is about to end takes for its goodbye to a media server.
pub const END_LIMIT: Duration = Duration::from_secs(1);
/// How often a session is to be deleted, before it is left to the server.
const DELETE_ATTEMPTS: u32 = 3;

/// What is published to one media server.
///
/// An attempt first deletes the session that the last one has left behind, if any, and then makes a
/// new one. So there is never a second one that we know of. That goes for an earlier process of this
/// device, too, as far as the driver has kept [`session`](Publisher::session).
pub struct Publisher {
    target: Target,
    /// Addresses of somebody else that lead to this device.
    announced: Vec<IpAddr>,
    phase: PublisherPhase,
    /// Which the server has, or may still have.
    session: Option<Session>,
    backoff: Backoff,
    /// Why the last attempt has failed, if none was live since.
    problem: Option<Problem>,
    /// It is to end, by this time.
    end: Option<Instant>,
    /// Sessions that were live.
    pub sessions: u64,
}

enum PublisherPhase {
    /// Until the next attempt.
    Waiting {
        until: Instant,
    },
    Deleting(Box<Call>),
    /// The offer is to be made.
    Offering,
    Posting(Box<Call>),
    /// The server has answered, and the media connection is being made.
    Connecting,
    Live {
        since: Instant,
    },
    /// There is nothing more to be done.
    Ended,
}

/// A session at the media server (RFC 9725, section 4.2).
struct Session {
    url: Url,
    /// Of the URL's host, where it is that which the offer went to.
    known: Option<SocketAddr>,
    delete_attempts: u32,
}

/// What a publisher wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum PublisherEffect {
    Command(PublishCommand),
    /// Make an offer, and bring it to [`Publisher::post`] at once.
    MakeOffer,
    /// The server has answered with this SDP. Tell [`Publisher::connect_failed`] if it is of no use.
    Connect(String),
}

/// What a publisher is doing, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherStatus {
    /// `waiting`, `connecting`, `live` or `ended`.
    pub state: &'static str,
    pub live_since: Option<Instant>,
    /// Why it is not live, if an attempt has failed.
    pub problem: Option<Problem>,
    pub retry_at: Option<Instant>,
}

impl Publisher {
    /// The first attempt is at once. `announced` are addresses of somebody else that lead to this
    /// device, `left` is the session that an earlier process has left behind, if any.
    pub fn new(
        target: Target,
        announced: Vec<IpAddr>,
        left: Option<Url>,
        seed: [u8; 32],
        now: Instant,
    ) -> Publisher {
        Publisher {
            target,
            announced,
            phase: PublisherPhase::Waiting { until: now },
            session: left.map(|url| Session { url, known: None, delete_attempts: 0 }),
            backoff: Backoff::new(seed),
            problem: None,
            end: None,
            sessions: 0,
        }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What has to be deleted sooner or later, also if this process is killed.
    pub fn session(&self) -> Option<&Url> {
        self.session.as_ref().map(|session| &session.url)
    }

    pub fn status(&self) -> PublisherStatus {
        let (state, live_since, retry_at) = match &self.phase {
            PublisherPhase::Waiting { until } => ("waiting", None, Some(*until)),
            PublisherPhase::Live { since } => ("live", Some(*since), None),
            PublisherPhase::Ended => ("ended", None, None),
            _ => ("connecting", None, None),
        };
        PublisherStatus { state, live_since, problem: self.problem.clone(), retry_at }
    }

    /// Something has happened to the connection.
    pub fn handle_event(&mut self, now: Instant, event: PublishEvent) {
        if let PublisherPhase::Deleting(call) | PublisherPhase::Posting(call) = &mut self.phase {
            call.handle_event(now, event);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.end.is_some_and(|end| end <= now) {
            // Its connection goes with the process.
            self.phase = PublisherPhase::Ended;
        }
        match &mut self.phase {
            PublisherPhase::Waiting { until } if *until <= now => self.begin(now),
            PublisherPhase::Deleting(call) | PublisherPhase::Posting(call) => {
                call.handle_timeout(now)
            }
            _ => {}
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = match &self.phase {
            PublisherPhase::Waiting { until } => Some(*until),
            PublisherPhase::Deleting(call) | PublisherPhase::Posting(call) => call.poll_timeout(),
            PublisherPhase::Offering | PublisherPhase::Connecting | PublisherPhase::Live { .. } => {
                None
            }
            PublisherPhase::Ended => return None,
        };
        next.into_iter().chain(self.end).min()
    }

    /// What is to be done, in order, until `None`.
    pub fn poll_effect(&mut self, now: Instant) -> Option<PublisherEffect> {
        match &mut self.phase {
            PublisherPhase::Deleting(call) | PublisherPhase::Posting(call) => {
                if let Some(command) = call.poll_command() {
                    return Some(PublisherEffect::Command(command));
                }
                let outcome = call.take_outcome()?;
                match self.phase {
                    PublisherPhase::Posting(_) => self.posted(now, outcome),
                    _ => {
                        self.deleted(now, outcome);
                        self.poll_effect(now)
                    }
                }
            }
            PublisherPhase::Offering => Some(PublisherEffect::MakeOffer),
            _ => None,
        }
    }

    /// The offer that was to be made.
    pub fn post(&mut self, now: Instant, offer: String) {
        debug_assert!(
            matches!(self.phase, PublisherPhase::Offering),
            "an offer that was not asked for"
        );
        let url = self.target.url.clone();
        self.phase = PublisherPhase::Posting(self.call(Method::Post, url, offer, None, now));
    }

    /// The media connection is up.
    pub fn connected(&mut self, now: Instant) {
        if matches!(self.phase, PublisherPhase::Connecting) {
            self.phase = PublisherPhase::Live { since: now };
            self.problem = None;
            self.sessions += 1;
        }
    }

    /// The media connection will not come up, for this reason; the attempt has its time all the same.
    pub fn note_problem(&mut self, why: PublishCause) {
        if matches!(self.phase, PublisherPhase::Connecting) {
            self.problem = Some(why.into());
        }
    }

    /// The media connection could not be made, or is gone.
    pub fn connect_failed(&mut self, now: Instant, why: PublishCause) {
        let live_for = match self.phase {
            PublisherPhase::Connecting => Duration::ZERO,
            PublisherPhase::Live { since } => now.saturating_duration_since(since),
            _ => return,
        };
        self.fail(now, live_for, None, why.into());
    }

    /// Deletes the session, if there is one, and does nothing more. One that is being made is waited
    /// for: only the answer tells what is to be deleted. It is over after [`END_LIMIT`] at most.
    pub fn shut_down(&mut self, now: Instant) {
        self.end = Some(now + END_LIMIT);
        match self.phase {
            PublisherPhase::Deleting(_) | PublisherPhase::Posting(_) | PublisherPhase::Ended => {}
            _ => self.begin(now),
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self.phase, PublisherPhase::Live { .. })
    }

    /// Whether there is nothing more to be done, after [`shut_down`](Self::shut_down).
    pub fn is_over(&self) -> bool {
        matches!(self.phase, PublisherPhase::Ended)
    }

    /// Deletes what is there, then makes what is to be made.
    fn begin(&mut self, now: Instant) {
        self.phase = match &mut self.session {
            Some(session) => {
                session.delete_attempts += 1;
                let (url, known) = (session.url.clone(), session.known);
                PublisherPhase::Deleting(self.call(Method::Delete, url, String::new(), known, now))
            }
            None if self.end.is_some() => PublisherPhase::Ended,
            None => PublisherPhase::Offering,
        };
    }

    fn call(
        &self,
        method: Method,
        url: Url,
        body: String,
        known: Option<SocketAddr>,
        now: Instant,
    ) -> Box<Call> {
        let Publisher { target, announced, .. } = self;
        Box::new(Call::new(target, announced, method, url, body, known, now))
    }

    fn deleted(&mut self, now: Instant, outcome: Outcome) {
        // Whatever the server says, it knows the session no more, or will not let go of it. One that it
        // says is at this device will never be asked for.
        let never = |why: &Problem| why.cause == PublishCause::LeadsToThisDevice;
        let is_settled = outcome.head.is_some() || outcome.body.as_ref().is_err_and(never);
        let attempts = self.session.as_ref().map_or(0, |session| session.delete_attempts);
        if is_settled || attempts >= DELETE_ATTEMPTS {
            self.session = None;
        }
        match outcome.body {
            Err(why) if !is_settled && self.end.is_none() => {
                self.fail(now, Duration::ZERO, None, why)
            }
            // There is no time for more.
            Err(_) if !is_settled => self.phase = PublisherPhase::Ended,
            _ => self.begin(now),
        }
    }

    fn posted(&mut self, now: Instant, outcome: Outcome) -> Option<PublisherEffect> {
        let token = self.target.token.as_ref().map(BearerToken::text);
        // A path may name a stream that is not for everybody, and a query may have a key.
        let parts = [&self.target.url, &outcome.url].map(|url| url.target.split('?'));
        let parts = parts.into_iter().flatten().filter(|part| !["", "/"].contains(part));
        let secrets: Vec<&str> = token.into_iter().chain(parts).collect();
        let answer = whip::read_answer(&outcome, &self.target, &secrets);
        let url = answer.session;
        self.session = url.map(|url| Session {
            known: outcome.address.filter(|_| url.authority == outcome.url.authority),
            url,
            delete_attempts: 0,
        });
        match answer.sdp {
            _ if self.end.is_some() => self.begin(now),
            Ok(sdp) => {
                self.phase = PublisherPhase::Connecting;
                return Some(PublisherEffect::Connect(sdp));
            }
            Err(why) => self.fail(now, Duration::ZERO, answer.retry_after, why),
        }
        self.poll_effect(now)
    }

    fn fail(
        &mut self,
        now: Instant,
        live_for: Duration,
        retry_after: Option<Duration>,
        why: Problem,
    ) {
        let wanted = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        let pause = self.backoff.pause_after(live_for).max(wanted);
        self.problem = Some(why);
        self.phase = PublisherPhase::Waiting { until: now + pause };
    }
}
