//! Whose pages may use this server: by the names that it is reached under, and by the origins of
//! other sites.

use std::net::IpAddr;

use crate::http::{Head, Method, Response};
use crate::refusal::Reason;
use crate::web::whep;

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

/// Adds what pages of allowed origins need to read the answer, where they may.
pub fn add_cors_headers(head: &Head, access: &AccessPolicy, response: Response) -> Response {
    let below_whep = head.path.strip_prefix(whep::ENDPOINT);
    if below_whep.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        return response;
    }
    let response = response.with_header("Vary", "Origin");
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
