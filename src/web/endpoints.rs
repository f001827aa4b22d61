//! The endpoints of this server, one row each. Routing, 404, 405 with `Allow`, `OPTIONS`, the guards and
//! CORS all read this table:
//!
//! | paths | methods | guard | bodies | other sites |
//! |---|---|---|---|---|
//! | `/snapshot.jpg` `/snapshot` `/?action=snapshot` `/?action=snapshot_0` | GET, HEAD | Picture | - | Show |
//! | `/stream.mjpg` `/stream` `/?action=stream` `/?action=stream_0` | GET, HEAD | Picture | - | Show |
//! | `/` | GET, HEAD | Host | - | Closed |
//! | `/static/style.css` | GET, HEAD | Host | - | Closed |
//! | `/static/ballcast.js` | GET, HEAD | Host | - | Closed |
//! | `/static/icon.svg` | GET, HEAD | Host | - | Closed |
//! | `/offer` | POST, OPTIONS | Change | POST `application/json` | Read |
//! | `/whep` | GET, HEAD, POST, OPTIONS | Change | POST `application/sdp`, PATCH `application/trickle-ice-sdpfrag` | Read |
//! | `/whep/{session}` | GET, HEAD, PATCH, DELETE, OPTIONS | Change | POST `application/sdp`, PATCH `application/trickle-ice-sdpfrag` | Read |
//! | `/stats` | GET, HEAD | Token | - | Closed |
//! | `/metrics` | GET, HEAD | Token | - | Closed |
//! | `/health` | GET, HEAD | LocalHost | - | Closed |
//! | `*` | OPTIONS | Host | - | Closed |

use std::fmt;

use super::assets::{self, Asset};
use super::reason::Reason;
use super::refusal::Refusal;
use super::{offer_api, query, whep};
use crate::http::{Head, Method, Response};

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Page,
    Asset(&'static Asset),
    /// The page's offers.
    Offer,
    /// Offers of players.
    Whep,
    /// One viewer of WHEP, by its [secret name](whep::session_key).
    WhepSession,
    /// The statistics as JSON.
    Stats,
    /// The statistics for Prometheus.
    Metrics,
    /// Whether there is a picture.
    Health,
    /// One picture.
    Snapshot,
    /// One picture after the other.
    MotionJpeg,
    /// `OPTIONS *`: the server as a whole.
    Server,
}

/// Who may make a request. Every request has to be for [a host of this server](super::access).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Everybody.
    Host,
    /// Everybody, by a loopback name too: a monitor on the machine of a trusted proxy asks in its own
    /// name.
    LocalHost,
    /// Whoever has the token: the answer tells who watches, and how many.
    Token,
    /// Pages of this host, with the token, where the method is not safe (RFC 9110, section 9.2.1). A safe
    /// method changes nothing and tells nothing; a browser sends no token with a preflight.
    Change,
    /// Pages that may show the picture, with the token. It may be in the query.
    Picture,
}

/// What pages of other, allowed origins may do with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherSites {
    Closed,
    /// Their scripts may read it.
    Read,
    /// They may show it, and their scripts may read it.
    Show,
}

/// The path of a target, as one row of the table has it.
#[derive(Debug, Clone, Copy)]
enum PathPattern {
    Exact(&'static str),
    /// `/?action=` and this: how mjpg-streamer takes requests. The number of a camera may follow, and this
    /// server's is the first.
    Action(&'static str),
    /// One path segment or more below this one.
    Below(&'static str),
}

/// The media type that the body of a method must have.
#[derive(Debug)]
struct BodyType {
    method: Method,
    media_type: &'static str,
    /// What to do about a body of another type.
    sentence: &'static str,
}

/// One row of the [table](self).
#[derive(Debug)]
pub struct Endpoint {
    pub route: Route,
    paths: &'static [PathPattern],
    methods: &'static [Method],
    pub guard: Guard,
    /// What is announced, whether or not the endpoint has the method.
    bodies: &'static [BodyType],
    pub other_sites: OtherSites,
}

const READ: &[Method] = &[Method::Get, Method::Head];

/// Of the WHEP endpoint and its sessions together.
const WHEP_BODIES: &[BodyType] = &[
    BodyType {
        method: Method::Post,
        media_type: whep::SDP,
        sentence: "Send the body as application/sdp.",
    },
    BodyType {
        method: Method::Patch,
        media_type: whep::FRAGMENT,
        sentence: "Send the body as application/trickle-ice-sdpfrag.",
    },
];

/// In the order in which they are compared.
static ENDPOINTS: [Endpoint; 13] = [
    Endpoint {
        paths: &[
            PathPattern::Exact("/snapshot.jpg"),
            PathPattern::Exact("/snapshot"),
            PathPattern::Action("snapshot"),
            PathPattern::Action("snapshot_0"),
        ],
        guard: Guard::Picture,
        other_sites: OtherSites::Show,
        ..Endpoint::readable(Route::Snapshot)
    },
    Endpoint {
        paths: &[
            PathPattern::Exact("/stream.mjpg"),
            PathPattern::Exact("/stream"),
            PathPattern::Action("stream"),
            PathPattern::Action("stream_0"),
        ],
        guard: Guard::Picture,
        other_sites: OtherSites::Show,
        ..Endpoint::readable(Route::MotionJpeg)
    },
    Endpoint { paths: &[PathPattern::Exact("/")], ..Endpoint::readable(Route::Page) },
    Endpoint {
        paths: &[PathPattern::Exact("/static/style.css")],
        ..Endpoint::readable(Route::Asset(&assets::STYLE))
    },
    Endpoint {
        paths: &[PathPattern::Exact("/static/ballcast.js")],
        ..Endpoint::readable(Route::Asset(&assets::SCRIPT))
    },
    Endpoint {
        paths: &[PathPattern::Exact("/static/icon.svg")],
        ..Endpoint::readable(Route::Asset(&assets::ICON))
    },
    Endpoint {
        route: Route::Offer,
        paths: &[PathPattern::Exact(offer_api::ENDPOINT)],
        methods: &[Method::Post, Method::Options],
        guard: Guard::Change,
        bodies: &[BodyType {
            method: Method::Post,
            media_type: offer_api::JSON,
            sentence: "Send the offer as application/json: {\"type\": \"offer\", \"sdp\": …}.",
        }],
        other_sites: OtherSites::Read,
    },
    Endpoint {
        route: Route::Whep,
        paths: &[PathPattern::Exact(whep::ENDPOINT)],
        methods: &[Method::Get, Method::Head, Method::Post, Method::Options],
        guard: Guard::Change,
        bodies: WHEP_BODIES,
        other_sites: OtherSites::Read,
    },
    Endpoint {
        route: Route::WhepSession,
        paths: &[PathPattern::Below(whep::ENDPOINT)],
        methods: &[Method::Get, Method::Head, Method::Patch, Method::Delete, Method::Options],
        guard: Guard::Change,
        bodies: WHEP_BODIES,
        other_sites: OtherSites::Read,
    },
    Endpoint {
        paths: &[PathPattern::Exact("/stats")],
        guard: Guard::Token,
        ..Endpoint::readable(Route::Stats)
    },
    Endpoint {
        paths: &[PathPattern::Exact("/metrics")],
        guard: Guard::Token,
        ..Endpoint::readable(Route::Metrics)
    },
    Endpoint {
        paths: &[PathPattern::Exact(super::health::ENDPOINT)],
        guard: Guard::LocalHost,
        ..Endpoint::readable(Route::Health)
    },
    Endpoint {
        paths: &[PathPattern::Exact("*")],
        methods: &[Method::Options],
        ..Endpoint::readable(Route::Server)
    },
];

/// Finds the endpoint of a request, whatever its method.
pub fn find(head: &Head) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|endpoint| endpoint.paths.iter().any(|path| path.matches(head)))
}

/// The refusal of a request that no endpoint has the path of.
pub(super) fn not_found() -> Refusal {
    Refusal::new(404, Reason::NotFound, "There is nothing here. The picture is at /.")
}

impl Endpoint {
    /// An endpoint that everybody may read, without paths.
    const fn readable(route: Route) -> Endpoint {
        Endpoint {
            route,
            paths: &[],
            methods: READ,
            guard: Guard::Host,
            bodies: &[],
            other_sites: OtherSites::Closed,
        }
    }

    /// Rejects a method that the endpoint does not have (RFC 9110, section 15.5.6).
    pub(super) fn check_method(&self, method: Method) -> Result<(), Refusal> {
        if self.methods.contains(&method) {
            return Ok(());
        }
        let allowed = self.allowed();
        let sentence = format!("This path accepts only {allowed}.");
        Err(Refusal::new(405, Reason::MethodNotAllowed, sentence).with_header("Allow", allowed))
    }

    /// Rejects a body of another media type than the method takes (RFC 9110, section 15.5.16).
    pub(super) fn check_body(&self, head: &Head) -> Result<(), Refusal> {
        let body = self.bodies.iter().find(|body| body.method == head.method);
        let Some(body) = body.filter(|body| !head.has_media_type(body.media_type)) else {
            return Ok(());
        };
        let refusal = Refusal::new(415, Reason::ContentType, body.sentence);
        Err(refusal.with_header(body.header(), body.media_type))
    }

    /// The answer to OPTIONS. Mainsail, a web interface of printers, plays only after a 204.
    pub fn options(&self) -> Response {
        if self.route == Route::Server {
            return Response::new(200).with_header("Allow", Method::ALL_NAMES);
        }
        let response = Response::new(204).with_header("Allow", self.allowed());
        self.bodies
            .iter()
            .fold(response, |response, body| response.with_header(body.header(), body.media_type))
    }

    fn allowed(&self) -> String {
        let names: Vec<&str> = self.methods.iter().map(|method| method.as_str()).collect();
        names.join(", ")
    }
}

impl PathPattern {
    fn matches(self, head: &Head) -> bool {
        match self {
            PathPattern::Exact(path) => head.path == path,
            PathPattern::Action(action) => {
                head.path == "/" && query::parameter(head, "action").is_some_and(|it| it == action)
            }
            PathPattern::Below(path) => {
                head.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
            }
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathPattern::Exact(path) => f.write_str(path),
            PathPattern::Action(action) => write!(f, "/?action={action}"),
            PathPattern::Below(path) => write!(f, "{path}/{{session}}"),
        }
    }
}

impl BodyType {
    /// The header that announces the media type (Linked Data Platform 1.0, section 7.1, and RFC 5789,
    /// section 3.1).
    fn header(&self) -> &'static str {
        match self.method {
            Method::Patch => "Accept-Patch",
            _ => "Accept-Post",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(endpoint: &Endpoint) -> String {
        let paths: Vec<String> = endpoint.paths.iter().map(|path| format!("`{path}`")).collect();
        let body = |it: &BodyType| format!("{} `{}`", it.method.as_str(), it.media_type);
        let bodies: Vec<String> = endpoint.bodies.iter().map(body).collect();
        let bodies = if bodies.is_empty() { "-".to_owned() } else { bodies.join(", ") };
        let Endpoint { guard, other_sites, .. } = endpoint;
        let (paths, methods) = (paths.join(" "), endpoint.allowed());
        format!("| {paths} | {methods} | {guard:?} | {bodies} | {other_sites:?} |")
    }

    #[test]
    fn the_documentation_has_the_rows_of_the_table() {
        let lines = include_str!("endpoints.rs").lines();
        let documented: Vec<&str> = lines
            .filter_map(|line| line.strip_prefix("//! "))
            .filter(|it| it.starts_with("| `"))
            .collect();
        assert_eq!(documented, ENDPOINTS.iter().map(row).collect::<Vec<_>>());
    }

    #[test]
    fn each_endpoint_has_a_path_and_each_path_one_endpoint() {
        assert!(ENDPOINTS.iter().all(|endpoint| !endpoint.paths.is_empty()));
        let paths = ENDPOINTS.iter().flat_map(|endpoint| endpoint.paths);
        let mut paths: Vec<String> = paths.map(PathPattern::to_string).collect();
        paths.sort();
        assert!(paths.windows(2).all(|pair| pair[0] != pair[1]), "{paths:?}");
    }

    #[test]
    fn what_needs_no_token_cannot_change_anything() {
        for endpoint in &ENDPOINTS {
            let is_guarded = !matches!(endpoint.guard, Guard::Host | Guard::LocalHost);
            let are_safe = endpoint.methods.iter().all(|method| method.is_safe());
            assert!(is_guarded || are_safe, "{endpoint:?}");
        }
    }

    #[test]
    fn only_pictures_take_a_token_in_the_query_and_only_they_are_shown_elsewhere() {
        for Endpoint { guard, other_sites, route, .. } in &ENDPOINTS {
            let is_picture = matches!(route, Route::Snapshot | Route::MotionJpeg);
            assert_eq!(*guard == Guard::Picture, is_picture, "{route:?}");
            assert_eq!(*other_sites == OtherSites::Show, is_picture, "{route:?}");
        }
    }
}
