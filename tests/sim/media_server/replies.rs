//! What a media server answers to a request.

use std::time::{Duration, Instant};

use ballcast::testing::http::Url;
use ballcast::testing::publish::PublishCause;

use super::reply::Response;
use super::{Head, MediaServer, Reply, Request, SECRET_MARK, Told};
use crate::tally::{Fault, Happening, Tally};

/// An answer that is worse than a good one.
#[derive(Debug, Clone, Copy)]
enum Bad {
    Late,
    TooLate,
    Cut,
    Dribbled,
    Status,
    RetryAfter,
    HugeRetryAfter,
    NoLocation,
    NoSdp,
    NoVideo,
    OtherCodec,
    Garbage,
    EndlessHead,
    EndlessBody,
    Strangers,
    ManyCandidates,
    HostileText,
    EchoedToken,
    Redirect,
    RedirectCircle,
    RedirectHttps,
    RedirectNowhere,
    RedirectInside,
    NeverConnects,
}

const BAD: [Bad; 24] = [
    Bad::Late,
    Bad::TooLate,
    Bad::Cut,
    Bad::Dribbled,
    Bad::Status,
    Bad::RetryAfter,
    Bad::HugeRetryAfter,
    Bad::NoLocation,
    Bad::NoSdp,
    Bad::NoVideo,
    Bad::OtherCodec,
    Bad::Garbage,
    Bad::EndlessHead,
    Bad::EndlessBody,
    Bad::Strangers,
    Bad::ManyCandidates,
    Bad::HostileText,
    Bad::EchoedToken,
    Bad::Redirect,
    Bad::RedirectCircle,
    Bad::RedirectHttps,
    Bad::RedirectNowhere,
    Bad::RedirectInside,
    Bad::NeverConnects,
];
/// Requests that are redirected in a circle: more than anybody follows.
const CIRCLE: u8 = 9;
/// Addresses that lead to whoever asks, or to its own link.
const INSIDE: [&str; 6] =
    ["127.0.0.1", "169.254.169.254", "0.0.0.0", "[::1]", "[fe80::1]", "[::ffff:127.0.0.1]"];
/// In the answer of a hostile server.
const MANY: usize = 1_000;

impl MediaServer {
    /// Answers a request. Nothing comes of one that does not arrive.
    pub fn reply(
        &mut self,
        now: Instant,
        url: &Url,
        request: &Request,
        tally: &mut Tally,
    ) -> Option<Reply> {
        if self.is_down(now) {
            return None;
        }
        match request.method.as_str() {
            "POST" => Some(self.reply_to_offer(now, url, request, tally)),
            _ => Some(self.reply_to_delete(url, request, tally)),
        }
    }

    fn reply_to_delete(&mut self, url: &Url, request: &Request, tally: &mut Tally) -> Reply {
        let session = self.sessions.iter().position(|it| it.path == request.target);
        if self.goes_wrong(self.options.bad_responses) {
            tally.fault(Fault::DeleteFails);
            let edge = self.edge_url().join(&request.target).expect("a path is a reference");
            return match self.rng.u8(..4) {
                0 => Reply { told: Vec::new(), head: None },
                1 => self.garbage(),
                2 if *url != edge => self.redirect(&edge),
                _ => self.simple(Response::new(500, "no")),
            };
        }
        match session {
            Some(session) => {
                self.sessions.remove(session);
                self.simple(Response::new(200, ""))
            }
            None => {
                tally.happened(Happening::DeleteNotFound);
                self.simple(Response::new(404, "no such session"))
            }
        }
    }

    fn reply_to_offer(
        &mut self,
        now: Instant,
        url: &Url,
        request: &Request,
        tally: &mut Tally,
    ) -> Reply {
        if let Some(left) = self.circles.checked_sub(1) {
            self.circles = left;
            return self.redirect(&url.clone());
        }
        let bad = self.goes_wrong(self.options.bad_responses);
        let bad = bad.then(|| BAD[self.rng.usize(..BAD.len())]);
        if let Some(bad) = bad
            && let Some(reply) = self.refuse(bad, url, request, tally)
        {
            return reply;
        }
        let Some((path, answer)) = self.make_session(now, &request.body, tally) else {
            return self.simple(Response::new(406, "no codec of these"));
        };
        let location = url.join(&path).expect("a path is a reference");
        let whole = self.options.is_absolute;
        let written = if whole { location.to_string() } else { path };
        let answer = bad.map_or(answer.clone(), |bad| self.spoil(bad, &answer, tally));
        let mut response = Response::new(201, answer)
            .header("Content-Type", "application/sdp")
            .header("ETag", "*")
            .chunked(self.options.is_chunked);
        if self.options.is_chunked {
            tally.happened(Happening::ChunkedAnswer);
        }
        if matches!(bad, Some(Bad::NoLocation)) {
            tally.fault(Fault::NoLocation);
        } else {
            response = response.location(&location, &written);
        }
        let (bytes, head) = response.write(&mut self.rng);
        self.deliver(bad, bytes, head, tally)
    }

    /// A reply without a session.
    fn refuse(
        &mut self,
        bad: Bad,
        url: &Url,
        request: &Request,
        tally: &mut Tally,
    ) -> Option<Reply> {
        let status = [400, 401, 403, 404, 405, 409, 415, 429, 500, 503][self.rng.usize(..10)];
        Some(match bad {
            Bad::Status => {
                tally.fault(Fault::WrongStatus);
                self.simple(Response::new(status, "not now"))
            }
            Bad::RetryAfter => {
                tally.fault(Fault::RetryAfter);
                let seconds = self.rng.u64(0..45);
                self.simple(Response::new(status, "not now").retry_after(seconds))
            }
            Bad::HugeRetryAfter => {
                tally.fault(Fault::HugeRetryAfter);
                self.simple(Response::new(503, "not now").retry_after(u64::from(u32::MAX)))
            }
            Bad::HostileText => {
                tally.fault(Fault::HostileText);
                let texts = [
                    "<script>alert(1)</script>".into(),
                    "\u{1b}[31m\"red\"\u{7}\0\r\nERROR: all is lost".into(),
                    format!("it{}", "\u{85}".repeat(300)),
                    "\u{e9}".repeat(20_000),
                ];
                let text: String = texts[self.rng.usize(..texts.len())].clone();
                self.simple(Response::new(status, text))
            }
            Bad::EchoedToken => {
                let authorization = request.header("authorization").unwrap_or("none").to_owned();
                tally.fault(Fault::EchoedToken);
                self.simple(Response::new(401, format!("wrong: {authorization} for {url}")))
            }
            Bad::Garbage => {
                tally.fault(Fault::Garbage);
                self.garbage()
            }
            Bad::EndlessHead => {
                tally.fault(Fault::EndlessHead);
                let mut bytes = b"HTTP/1.1 201 Created\r\n".to_vec();
                (0..4_000).for_each(|n| bytes.extend(format!("X-{n}: x\r\n").into_bytes()));
                self.pieces(bytes, 1_000, 1..20)
            }
            Bad::EndlessBody => {
                tally.fault(Fault::EndlessBody);
                let mut bytes = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
                let size = if self.rng.bool() { 1 } else { 1_000 };
                let chunk = format!("{size:x};x=y\r\n{}\r\n", "a".repeat(size));
                (0..3_000).for_each(|_| bytes.extend(chunk.as_bytes()));
                self.pieces(bytes, 20_000, 1..400)
            }
            Bad::Redirect => {
                tally.fault(Fault::Redirected);
                self.redirect(&self.edge_url())
            }
            Bad::RedirectCircle => {
                tally.fault(Fault::RedirectCircle);
                self.circles = CIRCLE;
                self.redirect(url)
            }
            Bad::RedirectHttps => {
                tally.fault(Fault::RedirectHttps);
                let to = format!("https://media.example/{SECRET_MARK}");
                self.simple(Response::new(307, "").header("Location", &to))
            }
            Bad::RedirectNowhere => {
                tally.fault(Fault::RedirectNowhere);
                let name = "long-".repeat(self.rng.usize(1..500)) + "name.example";
                let to = format!("http://{name}/{SECRET_MARK}");
                match Url::parse(&to) {
                    Ok(to) => self.redirect(&to),
                    Err(_) => self.simple(Response::new(307, "").header("Location", &to)),
                }
            }
            Bad::RedirectInside => {
                tally.fault(Fault::RedirectInside);
                let host = INSIDE[self.rng.usize(..INSIDE.len())];
                let to = format!("http://{host}:631/{SECRET_MARK}");
                self.redirect(&Url::parse(&to).expect("it is a URL"))
            }
            _ => return None,
        })
    }

    /// Changes an answer, and what becomes of its session.
    fn spoil(&mut self, bad: Bad, answer: &str, tally: &mut Tally) -> String {
        let stranger = |n: usize| {
            format!("a=candidate:s{n} 1 udp 1 10.99.{}.{} 9 typ host\r\n", n / 200, 1 + n % 200)
        };
        let session = self.sessions.last_mut();
        match bad {
            Bad::NoSdp => {
                tally.fault(Fault::NoSdp);
                "<!DOCTYPE html><p>It works!".into()
            }
            Bad::NoVideo => {
                tally.fault(Fault::NoVideo);
                match self.rng.bool() {
                    true => answer.replace("a=recvonly", "a=inactive"),
                    false => answer.replace("m=video 9", "m=video 0"),
                }
            }
            Bad::OtherCodec => {
                tally.fault(Fault::OtherCodec);
                answer.replace(" H264/", " H265/").replace(" VP8/", " VP9/")
            }
            Bad::Strangers => {
                tally.fault(Fault::StrangeCandidates);
                let own = "a=candidate:x 1 udp 9 10.0.0.254 8080 typ host\r\n\
                           a=candidate:y 1 udp 8 10.1.0.1 5001 typ host\r\n\
                           a=candidate:z 1 udp 7 no-name.local 9 typ host\r\n";
                format!("{answer}{own}{}", (0..3).map(stranger).collect::<String>())
            }
            Bad::ManyCandidates => {
                tally.fault(Fault::ManyCandidates);
                format!("{answer}{}", (0..MANY).map(stranger).collect::<String>())
            }
            Bad::NeverConnects => {
                tally.fault(Fault::NeverConnects);
                session.into_iter().for_each(|session| session.peer = None);
                answer.into()
            }
            _ => answer.into(),
        }
    }

    /// The bytes of a response come as they come.
    fn deliver(
        &mut self,
        bad: Option<Bad>,
        bytes: Vec<u8>,
        head: Head,
        tally: &mut Tally,
    ) -> Reply {
        let head = Some(head);
        let wait = match bad {
            Some(Bad::Late) => self.milliseconds(1_000..9_900),
            Some(Bad::TooLate) => self.milliseconds(10_100..20_000),
            _ => self.milliseconds(1..80),
        };
        match bad {
            Some(Bad::Cut) => {
                tally.fault(Fault::ReplyCut);
                let cut = bytes[..self.rng.usize(..bytes.len())].to_vec();
                let end = match self.rng.bool() {
                    true => Told::Ended,
                    false => Told::Failed(PublishCause::ConnectionReset.into()),
                };
                let told = vec![(wait, Told::Bytes(cut)), (wait, end)];
                Reply { told: told.into_iter().filter(|it| !is_empty(&it.1)).collect(), head }
            }
            Some(Bad::Dribbled) => {
                tally.fault(Fault::ReplyDribbled);
                let size = self.rng.usize(1..300);
                let most = [3, 30, 300][self.rng.usize(..3)];
                Reply { head, ..self.pieces(bytes, size, 1..most) }
            }
            _ => {
                if matches!(bad, Some(Bad::Late | Bad::TooLate)) {
                    tally.fault(Fault::ReplyLate);
                }
                let told = vec![(wait, Told::Bytes(bytes)), (wait, Told::Ended)];
                Reply { told, head }
            }
        }
    }

    fn simple(&mut self, response: Response) -> Reply {
        let (bytes, head) = response.write(&mut self.rng);
        let wait = self.milliseconds(1..80);
        Reply { told: vec![(wait, Told::Bytes(bytes)), (wait, Told::Ended)], head: Some(head) }
    }

    fn redirect(&mut self, to: &Url) -> Reply {
        let status = if self.rng.bool() { 307 } else { 308 };
        self.simple(Response::new(status, "").location(to, &to.to_string()))
    }

    fn garbage(&mut self) -> Reply {
        let mut bytes = vec![0; self.rng.usize(1..3_000)];
        self.rng.fill(&mut bytes);
        if self.rng.bool() {
            bytes.splice(..0, *b"HTTP/1.1 ");
        }
        Reply { told: vec![(self.milliseconds(1..80), Told::Bytes(bytes))], head: None }
    }

    /// In pieces of a size, with waits between them in milliseconds.
    fn pieces(&mut self, bytes: Vec<u8>, size: usize, waits: std::ops::Range<u64>) -> Reply {
        let mut at = Duration::ZERO;
        let mut told = Vec::new();
        for piece in bytes.chunks(size) {
            at += self.milliseconds(waits.clone());
            told.push((at, Told::Bytes(piece.to_vec())));
        }
        Reply { told, head: None }
    }
}

fn is_empty(told: &Told) -> bool {
    matches!(told, Told::Bytes(bytes) if bytes.is_empty())
}
