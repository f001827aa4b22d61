//! The page and what belongs to it, from memory.

use super::access::AccessPolicy;
use super::cors::framing_policy;
use super::proxies::Visitor;
use crate::http::{Head, Response, WHITE_SPACE};

/// A file of the page, as it is in the binary.
#[derive(Debug, PartialEq, Eq)]
pub struct Asset {
    pub(super) path: &'static str,
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

pub(super) static ASSETS: [Asset; 4] = [
    asset!("/", "text/html; charset=utf-8", "index.html"),
    asset!("/static/style.css", "text/css; charset=utf-8", "style.css"),
    asset!("/static/ballcast.js", "text/javascript; charset=utf-8", "ballcast.js"),
    asset!("/static/icon.svg", "image/svg+xml", "icon.svg"),
];

/// An asset from memory, or 304 when the browser has it already.
pub fn respond(
    asset: &'static Asset,
    head: &Head,
    visitor: &Visitor,
    access: &AccessPolicy,
) -> Response {
    let etag = format!("\"{:016x}\"", asset.digest);
    let known = head.header("if-none-match").is_some_and(|tags| matches_etag(tags, &etag));
    let response = if known {
        Response::new(304)
    } else {
        Response::new(200).with_body(asset.content_type, asset.content)
    };
    response
        .framed_by(&framing_policy(visitor, access))
        .with_header("ETag", etag)
        .with_header("Cache-Control", "no-cache")
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
