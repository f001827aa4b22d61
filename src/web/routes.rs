//! Which request is welcome, and the answers that need nothing but the request: the page and its
//! assets from memory. Offers and statistics are the server's own.

use std::net::IpAddr;

use crate::http::{Head, Method, Response, WHITE_SPACE};
use crate::web::auth::Lock;
use crate::web::whep;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    Asset(&'static Asset),
    Offer,
    Whep,
    /// One viewer of WHEP, by its secret name.
    WhepSession(&'a str),
    Stats,
    /// `OPTIONS *`: the server as a whole.
    Server,
}

/// A file of the page, as it is in the binary.
#[derive(Debug, PartialEq, Eq)]
pub struct Asset {
    path: &'static str,
    content_type: &'static str,
    content: &'static [u8],
    /// A digest of the content, so that a new version of the program is a new page.
    digest: u64,
}

macro_rules! asset {
    ($path:literal, $content_type:literal, $file:literal) => {{
        const CONTENT: &[u8] = include_bytes!(concat!("../../static/", $file));
        Asset { path: $path, content_type: $content_type, content: CONTENT, digest: fnv1a(CONTENT) }
    }};
}

static ASSETS: [Asset; 4] = [
    asset!("/", "text/html; charset=utf-8", "index.html"),
    asset!("/static/style.css", "text/css; charset=utf-8", "style.css"),
    asset!("/static/ballcast.js", "text/javascript; charset=utf-8", "ballcast.js"),
    asset!("/static/icon.svg", "image/svg+xml", "icon.svg"),
];

/// The names under which this server may be reached, beside its addresses, and whose pages may.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// Lower case: the host name, its `.local` name, and what the operator allowed.
    pub names: Vec<String>,
    /// The origins of other sites' pages that may use WHEP, as browsers write them.
    pub origins: Vec<String>,
}

impl Hosts {
    /// Whether a Host header may carry `host`. A page of another site can point its own name at
    /// our address (DNS rebinding); its requests carry that name.
    fn allow(&self, host: &str, addresses: &[IpAddr]) -> bool {
        if host == "localhost" || self.names.iter().any(|name| name == host) {
            return true;
        }
        let address: Result<IpAddr, _> = host.parse();
        address.is_ok_and(|address| address.is_loopback() || addresses.contains(&address))
    }
}

/// Decides on the head alone whether the rest of a request is wanted.
pub fn admit(
    head: &Head,
    hosts: &Hosts,
    addresses: &[IpAddr],
    lock: Option<Lock>,
) -> Result<(), Response> {
    admit_unshared(head, hosts, addresses, lock).map_err(|refusal| share(head, hosts, refusal))
}

/// Adds what pages of other origins need to read an answer, where they may.
pub fn share(head: &Head, hosts: &Hosts, response: Response) -> Response {
    let is_whep = head.path.strip_prefix(whep::ENDPOINT);
    if is_whep.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        whep::share(head, &hosts.origins, response)
    } else {
        response
    }
}

fn admit_unshared(
    head: &Head,
    hosts: &Hosts,
    addresses: &[IpAddr],
    lock: Option<Lock>,
) -> Result<(), Response> {
    if !hosts.allow(&head.host.name, addresses) {
        return Err(Response::problem(
            421,
            "host-unknown",
            &format!(
                "This server does not answer to the name {}. Use one of its addresses, or start \
                 it with --allow-host {}.",
                head.host.name, head.host.name
            ),
        ));
    }
    // The origin first: another site's page could use up the tries of whoever looks at it.
    let unlock = || lock.map_or(Ok(()), |lock| lock.admit(head));
    match route(head)? {
        Route::Offer => {
            admit_origin(head, &[])?;
            unlock()?;
            admit_offer(head)
        }
        Route::Whep | Route::WhepSession(_) => {
            // What changes nothing says nothing either, and a browser sends no token with a
            // preflight.
            if !matches!(head.method, Method::Get | Method::Head | Method::Options) {
                admit_origin(head, &hosts.origins)?;
                unlock()?;
            }
            whep::admit(head)
        }
        // It lists the viewers' addresses.
        Route::Stats => unlock(),
        Route::Asset(_) | Route::Server => Ok(()),
    }
}

/// The route of a request, or the answer that there is none.
pub fn route(head: &Head) -> Result<Route<'_>, Response> {
    let (route, allowed) = if let Some(asset) = ASSETS.iter().find(|a| a.path == head.path) {
        (Route::Asset(asset), "GET, HEAD")
    } else {
        match head.path.as_str() {
            "/offer" => (Route::Offer, "POST"),
            "/stats" => (Route::Stats, "GET, HEAD"),
            "*" => (Route::Server, "OPTIONS"),
            whep::ENDPOINT => (Route::Whep, whep::ENDPOINT_METHODS),
            path => match path.strip_prefix(whep::ENDPOINT).and_then(|p| p.strip_prefix('/')) {
                Some(session) => (Route::WhepSession(session), whep::SESSION_METHODS),
                None => {
                    let sentence = "There is nothing here. The picture is at /.";
                    return Err(Response::problem(404, "not-found", sentence));
                }
            },
        }
    };
    if allowed.split(", ").any(|method| method == head.method.as_str()) {
        return Ok(route);
    }
    let sentence = format!("This path takes {allowed} only.");
    Err(Response::problem(405, "method-not-allowed", &sentence).with_header("Allow", allowed))
}

/// Whether the page that asks is our own, or one of an origin in the list.
fn admit_origin(head: &Head, origins: &[String]) -> Result<(), Response> {
    let origin = head.header("origin");
    if origin.is_some_and(|origin| origins.iter().any(|known| known == origin)) {
        return Ok(());
    }
    let own = |origin: &str| {
        let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        authority.is_some_and(|a| a.eq_ignore_ascii_case(&head.host.to_string()))
    };
    let foreign = origin.is_some_and(|origin| !own(origin));
    let cross_site = head.header("sec-fetch-site") == Some("cross-site");
    if foreign || cross_site {
        return Err(Response::problem(
            403,
            "foreign-origin",
            "Another site's page may not connect here. Open this server's own page, or start it \
             with --allow-origin and let the page use WHEP.",
        ));
    }
    Ok(())
}

fn admit_offer(head: &Head) -> Result<(), Response> {
    if head.has_media_type("application/json") {
        return Ok(());
    }
    Err(Response::problem(
        415,
        "content-type",
        "Send the offer as application/json: {\"type\": \"offer\", \"sdp\": …}.",
    )
    .with_header("Accept-Post", "application/json"))
}

/// An asset from memory, or 304 when the browser has it already.
pub fn asset(asset: &'static Asset, head: &Head) -> Response {
    let etag = format!("\"{:016x}\"", asset.digest);
    let known = head.header("if-none-match").is_some_and(|tags| matches_etag(tags, &etag));
    let response = if known {
        Response::new(304)
    } else {
        Response::new(200).with_body(asset.content_type, asset.content)
    };
    response.with_header("ETag", etag).with_header("Cache-Control", "no-cache")
}

/// If-None-Match compares weakly (RFC 9110, section 13.1.2).
fn matches_etag(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(|tag| tag.trim_matches(WHITE_SPACE))
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// `OPTIONS *`: what the server as a whole can do.
pub fn server_options() -> Response {
    Response::new(200).with_header("Allow", Method::ALL_NAMES)
}

const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x100_0000_01b3);
        index += 1;
    }
    hash
}
