//! One request to a media server, from the name of its host to the response. It tries the host's addresses
//! in turn and follows redirects.
//!
//! A media server may be a stranger's, and it names URLs: in redirects and for its sessions. A URL at
//! another origin (scheme, host and port, as for curl and browsers) than the target's is *elsewhere*. A
//! request there carries no token and never goes to an address of this device or its link, and its response
//! is not quoted. A request that was elsewhere once stays so, even if it is redirected back.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{MAX_ADDRESSES, Problem, PublishCause, PublishCommand, PublishEvent, Target};
use crate::foreign::Foreign;
use crate::http::client::{ClientRequest, ClientResponse, Exchange, ResponseHead};
use crate::http::{Method, Url, UrlError};

/// The time to resolve a name. The resolver of the C library repeats a query after 5 s.
pub(super) const RESOLVE_TIME: Duration = Duration::from_secs(6);
/// The time to connect to one address: the SYN is repeated after 1 s (RFC 6298, section 2.1).
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(3);
/// More redirects than this count as a loop.
pub(super) const MAX_REDIRECTS: usize = 5;

/// A request under way, on a connection of its own.
pub struct Call {
    method: Method,
    target: Target,
    /// Announced addresses, which lead to this device from outside.
    announced: Vec<IpAddr>,
    /// `application/sdp`.
    body: String,
    /// The current URL, after redirects.
    url: Url,
    /// Whether the request is, or was, at another origin than the target's.
    is_elsewhere: bool,
    redirects: usize,
    step: CallStep,
    /// The addresses of the host that were not tried yet.
    addresses: VecDeque<SocketAddr>,
    /// The address of the connection.
    address: Option<SocketAddr>,
    commands: VecDeque<PublishCommand>,
    outcome: Option<Outcome>,
}

enum CallStep {
    Resolving { until: Instant },
    Connecting { until: Instant },
    Exchanging(Exchange),
    Over,
}

/// The outcome of a request.
#[derive(Debug)]
pub struct Outcome {
    /// The last URL, and the address of its connection.
    pub url: Url,
    pub address: Option<SocketAddr>,
    /// Whether the request was ever at another origin than the target's.
    pub is_elsewhere: bool,
    /// The head of the response, if it is complete.
    pub head: Option<ResponseHead>,
    /// The body of a complete response, or why there is none.
    pub body: Result<Vec<u8>, Problem>,
}

impl Call {
    /// Starts a request. `announced` are addresses that lead to this device from outside; `known` is an address
    /// of the URL's host.
    pub fn new(
        target: &Target,
        announced: &[IpAddr],
        method: Method,
        url: Url,
        body: String,
        known: Option<SocketAddr>,
        now: Instant,
    ) -> Call {
        let mut call = Call {
            method,
            target: target.clone(),
            announced: announced.to_vec(),
            body,
            is_elsewhere: !url.has_origin_of(&target.url),
            url,
            redirects: 0,
            step: CallStep::Over,
            addresses: known.into_iter().collect(),
            address: None,
            commands: VecDeque::new(),
            outcome: None,
        };
        call.begin(now);
        call
    }

    pub fn handle_event(&mut self, now: Instant, event: PublishEvent) {
        match (&mut self.step, event) {
            (CallStep::Resolving { .. }, PublishEvent::Resolved(addresses)) => {
                let port = self.url.port();
                let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, port));
                self.addresses = addresses.take(MAX_ADDRESSES).collect();
                self.connect_to_next(now, PublishCause::NameWithoutAddress.into());
            }
            (CallStep::Resolving { .. }, PublishEvent::Failed(failure)) => {
                self.fail(self.problem(failure.cause, failure.words));
            }
            (CallStep::Connecting { .. }, PublishEvent::Connected) => {
                self.step = CallStep::Exchanging(Exchange::new(now));
                self.send_request();
            }
            (CallStep::Connecting { .. }, PublishEvent::Failed(failure)) => {
                self.connect_to_next(now, self.problem(failure.cause, None));
            }
            (CallStep::Exchanging(exchange), PublishEvent::Received(bytes)) => {
                exchange.receive(now, bytes);
                self.finish_exchange(now);
            }
            (CallStep::Exchanging(exchange), PublishEvent::Ended) => {
                exchange.closed();
                self.finish_exchange(now);
            }
            (CallStep::Exchanging(exchange), PublishEvent::Failed(failure)) => {
                let head = exchange.head().cloned();
                self.end(head, Err(self.problem(failure.cause, None)));
            }
            // An event of an attempt that was cancelled.
            _ => {}
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.step {
            CallStep::Resolving { until } if *until <= now => {
                self.fail(PublishCause::NameLate.into());
            }
            CallStep::Connecting { until } if *until <= now => {
                self.commands.push_back(PublishCommand::Close);
                self.connect_to_next(now, self.problem(PublishCause::ConnectionLate, None));
            }
            CallStep::Exchanging(exchange) => {
                exchange.handle_timeout(now);
                self.finish_exchange(now);
            }
            _ => {}
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` after the outcome.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.step {
            CallStep::Resolving { until } | CallStep::Connecting { until } => Some(*until),
            CallStep::Exchanging(exchange) => exchange.poll_timeout(),
            CallStep::Over => None,
        }
    }

    pub fn poll_command(&mut self) -> Option<PublishCommand> {
        self.commands.pop_front()
    }

    /// Takes the outcome, once there is one.
    pub fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// Finds the addresses of the URL's host.
    fn begin(&mut self, now: Instant) {
        let name = &self.url.authority.name;
        if let Ok(ip) = name.parse::<IpAddr>() {
            self.addresses = [SocketAddr::new(ip, self.url.port())].into();
        }
        if self.addresses.is_empty() {
            self.commands.push_back(PublishCommand::Resolve(name.clone()));
            self.step = CallStep::Resolving { until: now + RESOLVE_TIME };
        } else {
            self.connect_to_next(now, PublishCause::NameWithoutAddress.into());
        }
    }

    /// Tries the next address. If there is none, the request fails with `why`.
    fn connect_to_next(&mut self, now: Instant, mut why: Problem) {
        while let Some(address) = self.addresses.pop_front() {
            if self.is_elsewhere && self.leads_to_this_device(address.ip()) {
                why = PublishCause::LeadsToThisDevice.into();
                continue;
            }
            self.address = Some(address);
            self.commands.push_back(match self.is_elsewhere {
                true => PublishCommand::ConnectElsewhere(address),
                false => PublishCommand::Connect(address),
            });
            self.step = CallStep::Connecting { until: now + CONNECT_TIME };
            return;
        }
        self.fail(why);
    }

    /// Whether an address is one of this device or of its link, by its kind or because it is announced. The
    /// driver knows the addresses of the interfaces.
    fn leads_to_this_device(&self, address: IpAddr) -> bool {
        let is_special = match address.to_canonical() {
            IpAddr::V4(v4) => {
                let is_this_network = v4.octets()[0] == 0; // RFC 1122, section 3.2.1.3
                v4.is_loopback()
                    || v4.is_link_local()
                    || v4.is_multicast()
                    || v4.is_broadcast()
                    || is_this_network
            }
            IpAddr::V6(v6) => {
                v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.is_multicast()
                    || v6.is_unicast_link_local()
            }
        };
        is_special || self.announced.contains(&address.to_canonical())
    }

    fn send_request(&mut self) {
        let token = self.target.token.as_ref().filter(|_| !self.is_elsewhere);
        let token = token.map(|token| format!("Bearer {}", token.text()));
        let mut headers: Vec<(&str, &str)> = Vec::new();
        headers.extend(token.as_deref().map(|token| ("Authorization", token)));
        if !self.body.is_empty() {
            headers.extend([("Content-Type", "application/sdp"), ("Accept", "application/sdp")]);
        }
        let (url, body) = (&self.url, self.body.as_bytes());
        let request = ClientRequest { method: self.method, url, headers: &headers, body };
        self.commands.push_back(PublishCommand::Send(request.to_bytes()));
    }

    fn finish_exchange(&mut self, now: Instant) {
        let CallStep::Exchanging(exchange) = &mut self.step else { return };
        match exchange.take_outcome() {
            None => {}
            Some(Ok(response)) if matches!(response.head.status, 307 | 308) => {
                self.redirect(now, &response);
            }
            Some(Ok(ClientResponse { head, body })) => self.end(Some(head), Ok(body)),
            Some(Err(error)) => {
                let head = exchange.head().cloned();
                self.end(head, Err(self.problem(PublishCause::Exchange(error), None)));
            }
        }
    }

    /// Sends the same request to another URL (RFC 9725, section 4.5; RFC 9110, sections 15.4.8 and 15.4.9).
    fn redirect(&mut self, now: Instant, response: &ClientResponse) {
        let location = response.head.header("location").map(|location| self.url.join(location));
        self.redirects += 1;
        match location {
            _ if self.redirects > MAX_REDIRECTS => {
                self.fail(PublishCause::RedirectsTooOften.into());
            }
            Some(Ok(url)) => {
                self.commands.push_back(PublishCommand::Close);
                self.is_elsewhere |= !url.has_origin_of(&self.target.url);
                self.url = url;
                self.addresses.clear();
                self.address = None;
                self.begin(now);
            }
            Some(Err(UrlError::Https)) => {
                self.fail(PublishCause::RedirectsToHttps.into());
            }
            Some(Err(_)) | None => self.fail(PublishCause::RedirectsToNoUrl.into()),
        }
    }

    fn fail(&mut self, why: Problem) {
        self.end(None, Err(why));
    }

    fn end(&mut self, head: Option<ResponseHead>, body: Result<Vec<u8>, Problem>) {
        self.commands.push_back(PublishCommand::Close);
        self.step = CallStep::Over;
        let (url, address, is_elsewhere) = (self.url.clone(), self.address, self.is_elsewhere);
        self.outcome = Some(Outcome { url, address, is_elsewhere, head, body });
    }

    /// A problem with where the connection goes, if there is one yet.
    fn problem(&self, cause: PublishCause, words: Option<Foreign>) -> Problem {
        Problem { cause, address: self.address, words }
    }
}
