//! Whose pages may use this server: by the names that it is reached under, and by the origins of
//! other sites.

use std::net::IpAddr;

use crate::http::{Head, Method, Response};
use crate::refusal::Reason;
use crate::web::{snapshot, whep};

/// What a page of an allowed origin may read of an answer beside the body.
const EXPOSED: &str = "Location, ETag, Link, Accept-Post, Retry-After";
const PREFLIGHT_HEADERS: &str = "Content-Type, If-Match, Authorization";
const PREFLIGHT_SECONDS: &str = "86400";

/// The names under which this server may be reached, beside its addresses, and whose pages may use
/// it.
#[derive(Debug, Clone, Default)]
pub struct AccessPolicy {
    /// Lower case: the host name, its `.local` name, and what the operator allowed.
    pub names: Vec<String>,
    /// The origins of other sites' pages that may use WHEP, as browsers write them.
    pub origins: Vec<String>,
}

impl AccessPolicy {
    /// Whether a Host header may carry `host`. A page of another site can point its own name at
    /// our address (DNS rebinding); its requests carry that name.
    pub(super) fn allows_host(&self, host: &str, addresses: &[IpAddr]) -> bool {
        // A name with a dot at its end is the same name, and complete (RFC 1034, section 3.1).
        let host = host.strip_suffix('.').unwrap_or(host);
        if host == "localhost" || self.names.iter().any(|name| name == host) {
            return true;
        }
        let address: Result<IpAddr, _> = host.parse();
        address.is_ok_and(|address| address.is_loopback() || addresses.contains(&address))
    }
}

/// Whether the page that asks is our own, or one of an origin in the list.
pub(super) fn admit_origin(head: &Head, origins: &[String]) -> Result<(), Response> {
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
            Reason::ForeignOrigin,
            "Another site's page may not connect here. Open this server's own page, or start it \
             with --allow-origin and let the page use WHEP.",
        ));
    }
    Ok(())
}

/// Whether the page that shows a picture may, as far as its request tells. A browser says which page
/// that is to `https` and the loopback address only; elsewhere the answer's
/// Cross-Origin-Resource-Policy keeps other sites' pages from showing it.
pub(super) fn admit_picture_origin(head: &Head, origins: &[String]) -> Result<(), Response> {
    // Of an allowed origin an `<img>` sends no Origin. An address that is opened is shown by no page.
    let is_untold = head.header("origin").is_none();
    let is_opened = head.header("sec-fetch-mode") == Some("navigate");
    if is_untold && (is_opened || !origins.is_empty()) {
        return Ok(());
    }
    admit_origin(head, origins)
}

/// Adds what pages of allowed origins need to read the answer, where they may.
pub fn add_cors_headers(head: &Head, access: &AccessPolicy, response: Response) -> Response {
    let below_whep = head.path.strip_prefix(whep::ENDPOINT);
    let is_whep = below_whep.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_picture = [snapshot::SNAPSHOT, snapshot::STREAM].contains(&head.path.as_str());
    if !is_whep && !is_picture {
        return response;
    }
    let mut response = response.with_header("Vary", "Origin");
    if is_picture {
        // A page on another port of the same host may show it, such as that of the printer whose
        // camera this is. The policy cannot name origins: with an allowed one it is all or none.
        let policy = if access.origins.is_empty() { "same-site" } else { "cross-origin" };
        response = response.with_header("Cross-Origin-Resource-Policy", policy);
    }
    let Some(origin) =
        head.header("origin").filter(|o| access.origins.iter().any(|known| known == o))
    else {
        return response;
    };
    let response = response
        .with_header("Access-Control-Allow-Origin", origin.to_owned())
        .with_header("Access-Control-Expose-Headers", EXPOSED);
    if head.header("access-control-request-method").is_none() {
        return response;
    }
    response
        .with_header("Access-Control-Allow-Methods", Method::ALL_NAMES)
        .with_header("Access-Control-Allow-Headers", PREFLIGHT_HEADERS)
        .with_header("Access-Control-Max-Age", PREFLIGHT_SECONDS)
}
