//! The page and its files, from memory.

use bytes::Bytes;

use super::access::AccessPolicy;
use super::headers::policy_with_ancestors;
use super::proxies::Visitor;
use crate::http::{Head, Response, WHITE_SPACE};

/// A file that is part of the binary.
#[derive(Debug, PartialEq, Eq)]
pub struct Asset {
    content_type: &'static str,
    content: &'static [u8],
    /// A digest of the content: a new version of the program is a new file to browsers.
    digest: u64,
}

macro_rules! asset {
    ($content_type:literal, $file:literal) => {{
        const CONTENT: &[u8] = include_bytes!(concat!("../../static/", $file));
        Asset { content_type: $content_type, content: CONTENT, digest: fnv1a(CONTENT) }
    }};
}

static PAGE: Asset = asset!("text/html; charset=utf-8", "index.html");
pub(super) static STYLE: Asset = asset!("text/css; charset=utf-8", "style.css");
pub(super) static SCRIPT: Asset = asset!("text/javascript; charset=utf-8", "ballcast.js");
pub(super) static ICON: Asset = asset!("image/svg+xml", "icon.svg");

/// What the page has in place of a title.
const NO_TITLE: &str = "data-title=\"\"";

/// The page with its title.
#[derive(Debug)]
pub struct Page {
    content: Bytes,
    digest: u64,
}

impl Page {
    /// Without a title, the page shows the name and the port that it was opened by.
    pub fn new(title: Option<&str>) -> Page {
        let content = match (title, str::from_utf8(PAGE.content)) {
            (Some(title), Ok(page)) => {
                let title = title.replace('&', "&amp;").replace('"', "&quot;");
                page.replacen(NO_TITLE, &format!("data-title=\"{title}\""), 1).into()
            }
            _ => Bytes::from_static(PAGE.content),
        };
        Page { digest: fnv1a(&content), content }
    }

    /// The page, or 304 if the browser has it already.
    pub fn respond(&self, head: &Head, visitor: &Visitor, access: &AccessPolicy) -> Response {
        respond(PAGE.content_type, self.content.clone(), self.digest, head, visitor, access)
    }
}

impl Asset {
    /// The file, or 304 if the browser has it already.
    pub fn respond(&self, head: &Head, visitor: &Visitor, access: &AccessPolicy) -> Response {
        let content = Bytes::from_static(self.content);
        respond(self.content_type, content, self.digest, head, visitor, access)
    }
}

fn respond(
    content_type: &'static str,
    content: Bytes,
    digest: u64,
    head: &Head,
    visitor: &Visitor,
    access: &AccessPolicy,
) -> Response {
    let etag = format!("\"{digest:016x}\"");
    let known = head.header("if-none-match").is_some_and(|tags| matches_etag(tags, &etag));
    let response = match known {
        true => Response::new(304),
        false => Response::new(200).with_body(content_type, content),
    };
    let policy = policy_with_ancestors(&frame_ancestors(visitor, access));
    response
        .with_header("Content-Security-Policy", policy)
        .with_header("ETag", etag)
        .with_header("Cache-Control", "no-cache")
}

/// The origins whose pages may show our page in a frame (CSP 3, `frame-ancestors`): those that may
/// connect here. CSP has no syntax for IPv6 addresses.
fn frame_ancestors(visitor: &Visitor, access: &AccessPolicy) -> String {
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

/// If-None-Match compares weakly (RFC 9110, section 13.1.2).
fn matches_etag(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(|tag| tag.trim_matches(WHITE_SPACE))
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
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
