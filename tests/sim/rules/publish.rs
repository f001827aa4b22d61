//! What is published to a media server: one connection and one session at a time, pauses between
//! attempts, no secret where somebody may read it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ballcast::testing::http::Url;
use ballcast::testing::publish::PublishCommand;
use ballcast::testing::server::stats::TargetStatistics;

use super::{RuleResult, rule};
use crate::media_server::{Head, Request, SECRET_MARK, TOKEN_MARK, TargetOptions, Told};
use crate::tally::{Happening, Tally};

/// How often a session is to be deleted, at least, before it is left to the server.
const DELETE_ATTEMPTS: u32 = 3;
const MAX_REDIRECTS: usize = 5;
/// Candidates of one answer that are tried.
const MAX_CANDIDATES: usize = 16;
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// What people are told.
const MAX_SENTENCE: usize = 400;
/// Until a healthy server has the picture: the longest pause, and the way to it.
const PICTURE_WITHIN: Duration = Duration::from_secs(35);
/// Once it has it.
const LONGEST_GAP: Duration = Duration::from_secs(6);
/// How often the state of the targets is looked at.
pub const INSPECTION_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, PartialEq)]
enum Connection {
    Closed,
    Resolving,
    Resolved,
    Connecting,
    Failed,
    Open,
    /// The request is sent.
    Sent,
}

/// A session whose place is known to the device.
#[derive(Debug)]
struct Session {
    url: Url,
    /// Attempts to delete it.
    deletes: u32,
}

#[derive(Debug)]
pub struct TargetRules {
    url: Url,
    token: Option<String>,
    connection: Connection,
    names: BTreeMap<String, Vec<IpAddr>>,
    /// Where the request was redirected to, and how often.
    redirected: Option<Url>,
    redirects: usize,
    /// The request goes, or has gone, to another origin than the target's.
    is_elsewhere: bool,
    session: Option<Session>,
    /// Of an earlier process, until it is deleted.
    left: Option<Url>,
    /// Which a process that comes after the device's own would know of.
    kept: Option<Url>,
    /// What is under way is a DELETE.
    deletes: bool,
    closed_at: Option<Instant>,
    /// When the attempt began, and when it was seen to have failed.
    began_at: Option<Instant>,
    failed_at: Option<Instant>,
    retry_after: Duration,
    /// What the server's answers have named, and where checks of ours have gone.
    candidates: BTreeSet<SocketAddr>,
    checked: BTreeSet<SocketAddr>,
    /// Since when nothing was wrong with the server or with the attempt.
    healthy_since: Option<Instant>,
    had_picture_at: Option<Instant>,
    ending: bool,
}

impl TargetRules {
    pub fn new(options: &TargetOptions) -> TargetRules {
        let token = format!("Bearer {TOKEN_MARK}-{}", options.index);
        let left = options.left_session();
        TargetRules {
            url: options.url(),
            token: options.has_token.then_some(token),
            connection: Connection::Closed,
            names: BTreeMap::new(),
            redirected: None,
            redirects: 0,
            is_elsewhere: false,
            session: left.clone().map(|url| Session { url, deletes: 0 }),
            kept: left.clone(),
            left,
            deletes: false,
            closed_at: None,
            began_at: None,
            failed_at: None,
            retry_after: Duration::ZERO,
            candidates: BTreeSet::new(),
            checked: BTreeSet::new(),
            healthy_since: None,
            had_picture_at: None,
            ending: false,
        }
    }

    /// Where the next request has to go.
    pub fn expected_url(&self) -> &Url {
        let of_session = self.session.as_ref().map(|session| &session.url);
        self.redirected.as_ref().or(of_session).unwrap_or(&self.url)
    }

    /// The core wants its session to be kept, or none.
    pub fn keep(&mut self, session: Option<&Url>) -> RuleResult {
        let known = self.session.as_ref().map(|session| &session.url);
        let is_right = session.is_none() || session == known;
        rule!(is_right, "S27: the session {session:?} is kept, and it is {known:?}");
        self.kept = session.cloned();
        Ok(())
    }

    pub fn shut_down(&mut self) {
        self.ending = true;
    }

    /// Whether the device knows a session that it has not deleted.
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Whether the last attempt, to make or to delete a session, began before `at`.
    pub fn began_before(&self, at: Instant) -> bool {
        self.began_at.is_some_and(|began| began < at)
    }

    /// The core wants something to be done to the connection.
    pub fn executed(
        &mut self,
        now: Instant,
        command: &PublishCommand,
        tally: &mut Tally,
    ) -> RuleResult {
        match command {
            PublishCommand::Resolve(name) => {
                let free = self.connection == Connection::Closed;
                rule!(
                    free,
                    "S22: {name} is looked up, and the connection is {:?}",
                    self.connection
                );
                self.begin(now, tally)?;
                let expected = &self.expected_url().authority.name;
                rule!(name == expected, "S22: {name} is looked up, not {expected}");
                self.connection = Connection::Resolving;
            }
            PublishCommand::Connect(address) | PublishCommand::ConnectElsewhere(address) => {
                let free = matches!(
                    self.connection,
                    Connection::Closed | Connection::Resolved | Connection::Failed
                );
                rule!(free, "S22: connects twice, and the connection is {:?}", self.connection);
                if self.connection == Connection::Closed {
                    self.begin(now, tally)?;
                }
                let url = self.expected_url();
                let resolved = self.names.get(&url.authority.name).into_iter().flatten();
                let mut known = resolved.copied().chain(url.authority.name.parse().ok());
                let is_known = known.any(|ip| ip == address.ip()) && address.port() == url.port();
                rule!(is_known, "S22: connects to {address}, which is not of {}", url.authority);
                let is_elsewhere = matches!(command, PublishCommand::ConnectElsewhere(_));
                let expected = self.is_elsewhere;
                rule!(is_elsewhere == expected, "S26: elsewhere is {expected} for {address}");
                let is_inside = match address.ip().to_canonical() {
                    IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
                    IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
                };
                rule!(!is_inside, "S26: a redirect leads to {address}");
                self.connection = Connection::Connecting;
            }
            PublishCommand::Send(bytes) => {
                let open = self.connection == Connection::Open;
                rule!(open, "S22: sends, and the connection is {:?}", self.connection);
                self.connection = Connection::Sent;
                self.check_secrets(bytes)?;
            }
            PublishCommand::Close => {
                self.connection = Connection::Closed;
                self.closed_at = Some(now);
            }
        }
        Ok(())
    }

    /// A connection begins: of an attempt, or of the next request of one.
    fn begin(&mut self, now: Instant, tally: &mut Tally) -> RuleResult {
        let closed_at = self.closed_at;
        if closed_at == Some(now) {
            return Ok(());
        }
        (self.redirected, self.redirects) = (None, 0);
        let session = self.session.as_ref().filter(|session| session.deletes < DELETE_ATTEMPTS);
        let (session, kept) = (session.map(|session| &session.url), self.kept.as_ref());
        rule!(
            session == kept,
            "S27: the session {session:?} is to be deleted, and {kept:?} is kept"
        );
        if let Some(session) = &mut self.session {
            if session.deletes >= DELETE_ATTEMPTS {
                tally.happened(Happening::DeleteGivenUp);
                self.session = None;
            } else {
                session.deletes += 1;
            }
        }
        if let Some(closed_at) = closed_at.filter(|_| !self.ending) {
            let failed_at = self.failed_at.map(|at| at - INSPECTION_INTERVAL);
            let pause = now - failed_at.map_or(closed_at, |at| at.max(closed_at));
            rule!(pause >= SHORTEST_PAUSE, "S24: an attempt begins {pause:?} after the last one");
        }
        self.is_elsewhere = !self.expected_url().has_origin_of(&self.url);
        (self.began_at, self.failed_at) = (Some(now), None);
        Ok(())
    }

    /// The token is in the header that is for it, and nowhere else.
    fn check_secrets(&self, bytes: &[u8]) -> RuleResult {
        let text = String::from_utf8_lossy(bytes);
        let count = text.matches(TOKEN_MARK).count();
        let most = usize::from(self.token.is_some() && !self.is_elsewhere);
        rule!(count == most, "S25: the token is in a request {count} times, not {most}");
        Ok(())
    }

    /// What the request has to be.
    pub fn requested(&mut self, request: &Request) -> RuleResult {
        let url = self.expected_url().clone();
        let wants_delete = self.session.is_some();
        self.deletes = request.method == "DELETE";
        let first = "S23: a session is made, and the last one is not deleted";
        rule!(self.deletes || !wants_delete, "{first}: {:?}", self.session);
        rule!(
            !self.deletes || wants_delete,
            "S26: {} is deleted, and there is none",
            request.target
        );
        rule!(request.target == url.target, "S26: the request is for {}", request.target);
        let expected = [
            ("host", Some(url.authority.to_string())),
            ("authorization", self.token.clone().filter(|_| !self.is_elsewhere)),
            ("connection", Some("close".to_owned())),
            ("content-type", (!self.deletes).then(|| "application/sdp".to_owned())),
        ];
        for (name, value) in expected {
            let found = request.header(name);
            rule!(found == value.as_deref(), "S26: {name} is {found:?}, not {value:?}");
        }
        rule!(self.redirects <= MAX_REDIRECTS, "S26: {} redirects are followed", self.redirects);
        self.retry_after = Duration::ZERO;
        Ok(())
    }

    /// Something has happened to the connection, and the core is about to be told.
    pub fn told(&mut self, told: &Told) {
        match told {
            Told::Resolved(addresses) => {
                let name = self.expected_url().authority.name.clone();
                self.names.insert(name, addresses.clone());
                self.connection = Connection::Resolved;
            }
            Told::Connected => self.connection = Connection::Open,
            Told::Failed(_) if self.connection == Connection::Connecting => {
                self.connection = Connection::Failed;
            }
            Told::Bytes(_) | Told::Ended | Told::Failed(_) => {}
        }
    }

    /// The head of a response has come.
    pub fn answered(&mut self, head: &Head, tally: &mut Tally) {
        let retry_after = Duration::from_secs(head.retry_after.unwrap_or(0));
        self.retry_after = retry_after.min(LONGEST_RETRY_AFTER);
        match (head.status, &head.location) {
            (307 | 308, Some(location)) => {
                self.redirects += 1;
                self.redirected = Some(location.clone());
                self.is_elsewhere |= !location.has_origin_of(&self.url);
            }
            (307 | 308, None) => {}
            _ if self.deletes => {
                tally.happened(Happening::SessionDeleted);
                let deleted = self.session.take().map(|session| session.url);
                if self.left.take_if(|left| Some(&*left) == deleted.as_ref()).is_some() {
                    tally.happened(Happening::LeftSessionDeleted);
                }
                self.redirected = None;
                self.redirects = 0;
                self.is_elsewhere = false;
            }
            (200..300, location) => {
                let is_taken = |url: &&Url| !(self.is_elsewhere && url.has_origin_of(&self.url));
                let location = location.as_ref().filter(is_taken);
                let session = location.map(|url| Session { url: url.clone(), deletes: 0 });
                self.is_elsewhere =
                    session.as_ref().is_some_and(|it| !it.url.has_origin_of(&self.url));
                self.session = session;
                self.redirected = None;
                self.checked.clear();
                self.candidates = head.candidates.iter().copied().collect();
            }
            _ => {}
        }
    }

    /// Whether an address that nothing came from may be asked whether it is a media server: the first
    /// ones that an answer has named.
    pub fn check(&mut self, to: SocketAddr) -> Result<bool, String> {
        if !self.candidates.contains(&to) {
            return Ok(false);
        }
        self.checked.insert(to);
        let count = self.checked.len();
        rule!(count <= MAX_CANDIDATES, "S4: {count} addresses of one answer are asked");
        Ok(true)
    }

    /// What people can read of it, and when it is tried again.
    pub fn inspect(&mut self, now: Instant, shown: &TargetStatistics) -> RuleResult {
        if let Some(problem) = &shown.sentence {
            let count = problem.chars().count();
            rule!(!problem.contains(char::is_control), "S25: a control character in {problem:?}");
            rule!(count <= MAX_SENTENCE, "S25: a sentence of {count} characters");
        }
        if let Some(retry_in) = shown.retry_in.filter(|_| shown.state == "waiting") {
            let most = LONGEST_PAUSE.max(self.retry_after);
            rule!(retry_in <= most, "S24: it is tried again in {retry_in:?}");
            self.failed_at = self.failed_at.or(Some(now));
        }
        Ok(())
    }

    /// Whether a server that nothing is wrong with since `mended_at` has the picture in time. With
    /// `may_turn`, the stream may turn out to be in another codec.
    pub fn check_picture(
        &mut self,
        now: Instant,
        mended_at: Instant,
        state: &str,
        has_picture: bool,
        may_turn: bool,
    ) -> RuleResult {
        if has_picture && may_turn {
            self.healthy_since = Some(now);
            return Ok(());
        }
        if has_picture {
            self.had_picture_at = Some(now);
            return Ok(());
        }
        // What was under way with a server that was not well has its own limits of time.
        let is_old = self.began_before(mended_at) && state != "waiting";
        let since = if is_old { now } else { self.healthy_since.unwrap_or(mended_at) };
        self.healthy_since = Some(since);
        let is_new = !self.began_before(mended_at);
        if let Some(last) = self.had_picture_at.filter(|_| is_new) {
            let gap = now - last;
            rule!(gap <= LONGEST_GAP, "L11: a media server has lost the picture for {gap:?}");
        }
        let waits = now - since;
        let most = PICTURE_WITHIN + self.retry_after;
        rule!(waits <= most, "L11: a media server has had no picture for {waits:?}, it is {state}");
        Ok(())
    }
}

/// All that is published is text that people may read.
pub fn check_text(text: &str) -> RuleResult {
    for mark in [TOKEN_MARK, SECRET_MARK] {
        rule!(!text.contains(mark), "S25: a secret is in {text:?}");
    }
    Ok(())
}

/// A line of the log.
pub fn check_line(line: &str) -> RuleResult {
    check_text(line)?;
    rule!(!line.contains(char::is_control), "S25: a control character in {line:?}");
    let count = line.chars().count();
    rule!(count <= MAX_SENTENCE, "S25: a line of {count} characters");
    Ok(())
}
