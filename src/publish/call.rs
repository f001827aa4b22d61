//! One request to a media server, from the name of its host to the response: its addresses are tried
//! in turn, and redirects are followed.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{BearerToken, Command, Event, MAX_ADDRESSES};
use crate::http::client::{Exchange, Request, Response, ResponseHead};
use crate::http::{Method, Url, UrlError};

/// How long a name may take. The resolver of the C library asks a server again after 5 s.
const RESOLVE_TIME: Duration = Duration::from_secs(6);
/// How long each address may take: the SYN is sent again after 1 s (RFC 6298, section 2.1).
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// More redirects than this are taken for a circle.
const MAX_REDIRECTS: usize = 5;

/// A request under way. It has the connection of its target for itself.
pub struct Call {
    method: Method,
    token: Option<BearerToken>,
    /// Of the type `application/sdp`.
    body: String,
    /// Where it goes now.
    url: Url,
    redirects: usize,
    step: Step,
    /// Those of the host that are not tried yet.
    addresses: VecDeque<SocketAddr>,
    /// Where the connection goes.
    address: Option<SocketAddr>,
    commands: VecDeque<Command>,
    outcome: Option<Outcome>,
}

enum Step {
    Resolving { until: Instant },
    Connecting { until: Instant },
    Exchanging(Exchange),
    Over,
}

/// What has become of a request.
#[derive(Debug)]
pub struct Outcome {
    /// Where it went in the end, and the address that the connection went to.
    pub url: Url,
    pub address: Option<SocketAddr>,
    /// Of the response, if it came so far.
    pub head: Option<ResponseHead>,
    /// The body of a response that is whole. Otherwise, why there is none: a clause without a full
    /// stop.
    pub body: Result<Vec<u8>, String>,
}

impl Call {
    /// A request that has no connection yet. `known` is an address of the URL's host.
    pub fn new(
        method: Method,
        url: Url,
        token: Option<BearerToken>,
        body: String,
        known: Option<SocketAddr>,
        now: Instant,
    ) -> Call {
        let mut call = Call {
            method,
            token,
            body,
            url,
            redirects: 0,
            step: Step::Over,
            addresses: known.into_iter().collect(),
            address: None,
            commands: VecDeque::new(),
            outcome: None,
        };
        call.begin(now);
        call
    }

    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match (&mut self.step, event) {
            (Step::Resolving { .. }, Event::Resolved(addresses)) => {
                let port = self.url.port();
                let addresses = addresses.iter().map(|ip| SocketAddr::new(*ip, port));
                self.addresses = addresses.take(MAX_ADDRESSES).collect();
                self.connect_to_next(now, "its name has no address".to_owned());
            }
            (Step::Resolving { .. }, Event::Failed(why)) => self.fail(why.to_owned()),
            (Step::Connecting { .. }, Event::Connected) => {
                self.step = Step::Exchanging(Exchange::new(now));
                self.send_request();
            }
            (Step::Connecting { .. }, Event::Failed(why)) => {
                self.connect_to_next(now, why.to_owned());
            }
            (Step::Exchanging(exchange), Event::Received(bytes)) => {
                exchange.receive(now, bytes);
                self.finish_exchange(now);
            }
            (Step::Exchanging(exchange), Event::Ended) => {
                exchange.closed();
                self.finish_exchange(now);
            }
            (Step::Exchanging(exchange), Event::Failed(why)) => {
                let head = exchange.head().cloned();
                self.end(head, Err(why.to_owned()));
            }
            // Of something that is given up.
            _ => {}
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.step {
            Step::Resolving { until } if *until <= now => {
                let (name, seconds) = (&self.url.authority.name, RESOLVE_TIME.as_secs());
                self.fail(format!("the name {name} is not resolved within {seconds} s"));
            }
            Step::Connecting { until } if *until <= now => {
                self.commands.push_back(Command::Close);
                let seconds = CONNECT_TIME.as_secs();
                let why = self.of_address(&format!("does not answer within {seconds} s"));
                self.connect_to_next(now, why);
            }
            Step::Exchanging(exchange) => {
                exchange.handle_timeout(now);
                self.finish_exchange(now);
            }
            _ => {}
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` once it is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.step {
            Step::Resolving { until } | Step::Connecting { until } => Some(*until),
            Step::Exchanging(exchange) => exchange.poll_timeout(),
            Step::Over => None,
        }
    }

    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Once, when it is over.
    pub fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// Finds out where the URL leads.
    fn begin(&mut self, now: Instant) {
        let name = &self.url.authority.name;
        if let Ok(ip) = name.parse::<IpAddr>() {
            self.addresses = [SocketAddr::new(ip, self.url.port())].into();
        }
        if self.addresses.is_empty() {
            self.commands.push_back(Command::Resolve(name.clone()));
            self.step = Step::Resolving { until: now + RESOLVE_TIME };
        } else {
            self.connect_to_next(now, String::new());
        }
    }

    /// Tries the next address. Where there is none, `why` is why.
    fn connect_to_next(&mut self, now: Instant, why: String) {
        let Some(address) = self.addresses.pop_front() else { return self.fail(why) };
        self.address = Some(address);
        self.commands.push_back(Command::Connect(address));
        self.step = Step::Connecting { until: now + CONNECT_TIME };
    }

    fn send_request(&mut self) {
        let token = self.token.as_ref().map(|token| format!("Bearer {}", token.text()));
        let mut headers: Vec<(&str, &str)> = Vec::new();
        headers.extend(token.as_deref().map(|token| ("Authorization", token)));
        if !self.body.is_empty() {
            headers.extend([("Content-Type", "application/sdp"), ("Accept", "application/sdp")]);
        }
        let (url, body) = (&self.url, self.body.as_bytes());
        let request = Request { method: self.method, url, headers: &headers, body };
        self.commands.push_back(Command::Send(request.to_bytes()));
    }

    fn finish_exchange(&mut self, now: Instant) {
        let Step::Exchanging(exchange) = &mut self.step else { return };
        match exchange.take_outcome() {
            None => {}
            Some(Ok(response)) if matches!(response.head.status, 307 | 308) => {
                self.redirect(now, &response);
            }
            Some(Ok(Response { head, body })) => self.end(Some(head), Ok(body)),
            Some(Err(error)) => {
                let head = exchange.head().cloned();
                let why = self.of_address(&error.to_string());
                self.end(head, Err(why));
            }
        }
    }

    /// RFC 9725, section 4.5, and RFC 9110, sections 15.4.8 and 15.4.9: the same request goes to
    /// another URL. It has the token, too: the one server has sent us to the other.
    fn redirect(&mut self, now: Instant, response: &Response) {
        let location = response.head.header("location").map(|location| self.url.join(location));
        self.redirects += 1;
        match location {
            _ if self.redirects > MAX_REDIRECTS => {
                self.fail(format!("it redirects more than {MAX_REDIRECTS} times"));
            }
            Some(Ok(url)) => {
                self.commands.push_back(Command::Close);
                self.url = url;
                self.addresses.clear();
                self.begin(now);
            }
            Some(Err(UrlError::Https)) => {
                self.fail("it redirects to https, and this version publishes over http".to_owned());
            }
            Some(Err(_)) | None => self.fail("it redirects, and not to a URL".to_owned()),
        }
    }

    fn fail(&mut self, why: String) {
        self.end(None, Err(why));
    }

    fn end(&mut self, head: Option<ResponseHead>, body: Result<Vec<u8>, String>) {
        self.commands.push_back(Command::Close);
        self.step = Step::Over;
        let (url, address) = (self.url.clone(), self.address);
        self.outcome = Some(Outcome { url, address, head, body });
    }

    /// A clause whose subject is where the connection goes.
    fn of_address(&self, clause: &str) -> String {
        match self.address {
            Some(address) => format!("{address} {clause}"),
            None => clause.to_owned(),
        }
    }
}
