//! Refusals: why a request is not served, for a program and for a person.

use std::borrow::Cow;
use std::time::Duration;

use super::headers;
use super::reason::Reason;
use crate::http::{self, Head, Response};

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 599.
    pub status: u16,
    /// For programs; `/stats` counts by it.
    pub reason: Reason,
    /// For people. Guests read it, so it names no option of the server; [`Reason::remedy`] does.
    sentence: Cow<'static, str>,
    headers: Vec<(&'static str, Cow<'static, str>)>,
}

impl Refusal {
    pub fn new(status: u16, reason: Reason, sentence: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, reason, sentence: sentence.into(), headers: Vec::new() }
    }

    /// Adds a header to the response, as [`Response::with_header`] does.
    pub fn with_header(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        self.headers.push((name, value.into()));
        self
    }

    /// Tells the client when to try again (RFC 9110 section 10.2.3), in seconds rounded up.
    pub fn retry_after(self, wait: Duration) -> Refusal {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with_header("Retry-After", seconds.to_string())
    }

    /// A page with the sentence if [a person reads it](wants_page), else a problem document.
    pub fn into_response(self, wants_page: bool) -> Response {
        if wants_page { self.into_page() } else { self.into_problem() }
    }

    /// `application/problem+json` (RFC 9457). `detail` is the sentence, `reason` the reason's name.
    fn into_problem(self) -> Response {
        let problem = serde_json::json!({
            "type": "about:blank",
            "title": http::reason_phrase(self.status),
            "status": self.status,
            "detail": self.sentence,
            "reason": self.reason.name(),
        });
        let response = Response::new(self.status)
            .with_body("application/problem+json", problem.to_string().into_bytes());
        with_headers(response, self.headers)
    }

    /// There is nothing to press in the page, so pages of all sites may show it in a frame: whoever looks
    /// at one gets the reason, too.
    fn into_page(self) -> Response {
        let title = http::reason_phrase(self.status);
        let sentence = self.sentence.replace('&', "&amp;").replace('<', "&lt;");
        let page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}</title>\n<p>{sentence}</p>\n"
        );
        with_headers(Response::new(self.status), self.headers)
            .with_body("text/html; charset=utf-8", page.into_bytes())
            .with_header("Cache-Control", "no-store")
            .with_header("Content-Security-Policy", headers::policy_with_ancestors("*"))
    }
}

/// Whether a person reads the answer: browsers accept HTML for an address that somebody opens, and not
/// for what pages load. Programs do not ask for it.
pub(crate) fn wants_page(head: &Head) -> bool {
    head.accepts("text/html")
}

fn with_headers(response: Response, headers: Vec<(&'static str, Cow<'static, str>)>) -> Response {
    headers.into_iter().fold(response, |response, (name, value)| response.with_header(name, value))
}
