//! What other sites' pages may do with an answer: read it, show it, or show a page of ours inside.

use super::access::AccessPolicy;
use super::proxies::Visitor;
use super::{offer_api, snapshot, whep};
use crate::http::{Head, Method, Response};

/// What a page of an allowed origin may read of an answer beside the body.
const EXPOSED: &str = "Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After";
/// What it may send. OctoPrint adds `Cache-Control` to all that it posts.
const PREFLIGHT_HEADERS: &str =
    "Content-Type, If-Match, Authorization, Ballcast-Client-Id, Cache-Control";
const PREFLIGHT_SECONDS: &str = "86400";

/// Adds what pages of allowed origins need to read the answer, where they may.
pub fn add_cors_headers(
    head: &Head,
    visitor: &Visitor,
    access: &AccessPolicy,
    response: Response,
) -> Response {
    let below_whep = head.path.strip_prefix(whep::ENDPOINT);
    let is_whep = below_whep.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_picture = snapshot::wanted(head).is_some();
    if !is_whep && !is_picture && head.path != offer_api::ENDPOINT {
        return response;
    }
    let mut response = response.with_header("Vary", "Origin");
    if is_picture {
        // A page on another port of the same host may show it, such as that of the printer whose
        // camera this is. To Chromium an IP address is the same site as nothing, its other ports
        // included, so a page that says where it is from is judged here. The policy cannot name
        // origins: with an allowed one it is all or none.
        let is_shown = !access.origins.is_empty() || access.names_own_page(head, &visitor.host);
        let policy = if is_shown { "cross-origin" } else { "same-site" };
        response = response.with_header("Cross-Origin-Resource-Policy", policy);
    }
    let allows = |origin: &&str| access.allows_origin(origin, &visitor.host);
    let Some(origin) = head.header("origin").filter(allows) else {
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

/// Lets the pages that may connect here show ours inside them (CSP 3, `frame-ancestors`). An IPv6
/// address has no form there.
pub fn framing_policy(visitor: &Visitor, access: &AccessPolicy) -> String {
    let mut ancestors = String::from("'self'");
    let host = &visitor.host.name;
    let others = access.all_names().filter(|name| *name != host);
    for name in [host].into_iter().chain(others).filter(|name| !name.contains(':')) {
        ancestors += &format!(" http://{name}:* https://{name}:*");
    }
    for origin in &access.origins {
        ancestors.push(' ');
        ancestors += origin;
    }
    ancestors
}
