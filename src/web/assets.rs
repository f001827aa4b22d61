//! The page and what belongs to it, from memory.

use bytes::Bytes;

use super::access::AccessPolicy;
use super::cors::framing_policy;
use super::proxies::Visitor;
use crate::http::{Head, Response, WHITE_SPACE};

/// Where the page is.
const PAGE: &str = "/";

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
    ($path:expr, $content_type:literal, $file:literal) => {{
        const CONTENT: &[u8] = include_bytes!(concat!("../../static/", $file));
        Asset { path: $path, content_type: $content_type, content: CONTENT, digest: fnv1a(CONTENT) }
    }};
}

pub(super) static ASSETS: [Asset; 4] = [
    asset!(PAGE, "text/html; charset=utf-8", "index.html"),
    asset!("/static/style.css", "text/css; charset=utf-8", "style.css"),
    asset!("/static/ballcast.js", "text/javascript; charset=utf-8", "ballcast.js"),
    asset!("/static/icon.svg", "image/svg+xml", "icon.svg"),
];

/// What the page has in place of a title.
const NO_TITLE: &str = "data-title=\"\"";

/// The page with its title.
#[derive(Debug)]
pub struct Page {
    content: Bytes,
    digest: u64,
}

impl Page {
    /// Without a title, the page has the name and the port that it was opened by.
    pub fn new(title: Option<&str>) -> Page {
        let page = ASSETS[0].content;
        let content = match (title, str::from_utf8(page)) {
            (Some(title), Ok(page)) => {
                let title = title.replace('&', "&amp;").replace('"', "&quot;");
                page.replacen(NO_TITLE, &format!("data-title=\"{title}\""), 1).into()
            }
            _ => Bytes::from_static(page),
        };
        Page { digest: fnv1a(&content), content }
    }
}

/// An asset from memory, or 304 when the browser has it already.
pub fn respond(
    asset: &'static Asset,
    page: &Page,
    head: &Head,
    visitor: &Visitor,
    access: &AccessPolicy,
) -> Response {
    let (content, digest) = match asset.path {
        PAGE => (page.content.clone(), page.digest),
        _ => (Bytes::from_static(asset.content), asset.digest),
    };
    let etag = format!("\"{digest:016x}\"");
    let known = head.header("if-none-match").is_some_and(|tags| matches_etag(tags, &etag));
    let response = if known {
        Response::new(304)
    } else {
        Response::new(200).with_body(asset.content_type, content)
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
