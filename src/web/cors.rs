//! What pages of other sites may do with an answer: read it or show it.

use std::borrow::Cow;

use super::access::AccessPolicy;
use super::endpoints::{Endpoint, OtherSites};
use super::proxies::Visitor;
use crate::http::{Head, Method};

/// What a page of an allowed origin may read of an answer beside the body.
const EXPOSED: &str = "Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After";
/// What it may send. OctoPrint adds `Cache-Control` to everything that it posts.
const PREFLIGHT_HEADERS: &str =
    "Content-Type, If-Match, Authorization, Ballcast-Client-Id, Cache-Control";
const PREFLIGHT_SECONDS: &str = "86400";

/// The headers by which a browser lets pages of allowed origins use the answer to this request (Fetch,
/// section 3.3).
pub fn headers(
    head: &Head,
    endpoint: Option<&Endpoint>,
    visitor: &Visitor,
    access: &AccessPolicy,
) -> Vec<(&'static str, Cow<'static, str>)> {
    let other_sites = endpoint.map_or(OtherSites::Closed, |endpoint| endpoint.other_sites);
    if other_sites == OtherSites::Closed {
        return Vec::new();
    }
    let mut headers = vec![("Vary", "Origin".into())];
    if other_sites == OtherSites::Show {
        // A page on another port of the same host may show the picture, such as that of the printer
        // whose camera this is. Chromium takes no two ports of an IP address for the same site, so a
        // page that names its origin is judged here. The policy cannot name origins: with an allowed
        // one it is all or none.
        let is_shown = !access.origins.is_empty() || access.names_own_page(head, &visitor.host);
        let policy = if is_shown { "cross-origin" } else { "same-site" };
        headers.push(("Cross-Origin-Resource-Policy", policy.into()));
    }
    let allows = |origin: &&str| access.allows_origin(origin, &visitor.host);
    let Some(origin) = head.header("origin").filter(allows) else {
        return headers;
    };
    headers.push(("Access-Control-Allow-Origin", origin.to_owned().into()));
    headers.push(("Access-Control-Expose-Headers", EXPOSED.into()));
    if head.header("access-control-request-method").is_some() {
        headers.push(("Access-Control-Allow-Methods", Method::ALL_NAMES.into()));
        headers.push(("Access-Control-Allow-Headers", PREFLIGHT_HEADERS.into()));
        headers.push(("Access-Control-Max-Age", PREFLIGHT_SECONDS.into()));
    }
    headers
}
