//! A reference parser of HTTP/1.1 requests, written from the grammar alone: RFC 9112 for messages,
//! RFC 9110 for fields, RFC 3986 for targets and hosts.
//!
//! It parses the whole stream at once, without regard for time, pieces or memory. Functions are
//! named after the rules of the ABNF. Where the server differs from the RFCs on purpose, a constant
//! or a function under *Policy* says so, and why.
//!
//! A head may have several faults, and the server chooses which of them it answers: the reference
//! finds all, and returns every status that fits one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ballcast::testing::http::{BLANK_LINES_MAX, BODY_MAX_BYTES, DISCARD_MAX_BYTES};
use ballcast::testing::http::{
    HEADERS_MAX, HEADERS_MAX_BYTES, REQUEST_LINE_MAX_BYTES, TARGET_MAX_BYTES,
};

/// The requests in a stream of bytes, and how the stream ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Stream {
    pub requests: Vec<Request>,
    pub end: End,
}

/// One complete request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub host: Host,
    pub fields: Fields,
    /// `None` if the server does not want it.
    pub body: Option<Vec<u8>>,
    /// Nothing after this request is parsed.
    pub closes: bool,
}

/// `uri-host [ ":" port ]`, the name in lower case and an IPv6 address in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub port: Option<u16>,
}

/// How a stream ends.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// After a request, or before any.
    Consumed,
    /// After a request that closes the connection; what follows is ignored.
    Closed,
    /// Within a request that has no fault so far. With `awaits_body`, its head is complete and
    /// expects `100 Continue`, and nothing has followed it.
    Incomplete { awaits_body: bool },
    /// Within a request with faults, each of which is answered by one of these.
    Faulty(Statuses),
}

/// The values of all field lines, in order, by lower-case name.
pub type Fields = BTreeMap<String, Vec<String>>;
pub type Statuses = BTreeSet<u16>;

/// Parses everything that a peer sends. The server reads the bodies of the methods that it wants.
pub fn stream(mut bytes: &[u8], is_wanted: fn(&str) -> bool) -> Stream {
    let mut requests = Vec::new();
    let end = loop {
        match http_message(bytes, is_wanted) {
            Ok(Some((request, rest))) => {
                bytes = rest;
                requests.push(request);
            }
            Ok(None) => break End::Consumed,
            Err(end) => break end,
        }
        if requests.last().is_some_and(|request| request.closes) {
            break End::Closed;
        }
    };
    Stream { requests, end }
}

// -------------------------------------------------------------------------------------------------
// Policy: where the server is narrower, or wider, than the grammar.

/// CONNECT and TRACE are left out: no target here has a tunnel or an echo.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A request with this method has content and must have a length (RFC 9110 section 15.5.12).
fn needs_length(method: &str) -> bool {
    method == "POST"
}

/// RFC 9110 section 2.5 would treat HTTP/1.2 as HTTP/1.1. That version does not exist.
fn is_known_version(version: &[u8]) -> bool {
    matches!(version, b"HTTP/1.0" | b"HTTP/1.1")
}

/// RFC 9112 section 9.3 leaves it to the server whether an HTTP/1.0 connection persists.
fn version_closes(version: &[u8]) -> bool {
    version == b"HTTP/1.0"
}

/// Wider than `pchar`: browsers send some of what RFC 3986 would have percent-encoded, such as `|`
/// and `[`, and nothing here decodes a target.
fn is_target_character(byte: u8) -> bool {
    is_vchar(byte) && byte != b'#'
}

/// Narrower than `reg-name`: neither percent-encoding nor `sub-delims`. No browser sends them.
fn is_name_character(byte: u8) -> bool {
    is_unreserved(byte)
}

/// The grammar has no upper bound; TCP has.
fn port_number(digits: &[u8]) -> Option<u16> {
    let number = digits.iter().try_fold(0_u32, |number, digit| {
        Some(number * 10 + u32::from(digit - b'0')).filter(|&number| number <= 65_535)
    })?;
    u16::try_from(number).ok()
}

/// The empty line that ends the head counts as one of its lines.
fn size_bytes(field_lines: &[Line]) -> usize {
    field_lines.iter().map(|line| line.text.len() + 2).sum::<usize>() + 2
}

/// A body that is not wanted is discarded if it is small and certain to follow. A client that waits
/// for 100 may omit it (RFC 9110 section 10.1.1).
fn is_discarded(framing: &Framing) -> bool {
    match framing.length {
        0 => true,
        length => length <= DISCARD_MAX_BYTES && !framing.expects_continue,
    }
}

/// RFC 9112 section 6.1 asks for 501 for an unknown coding, and section 6.3 allows 411 for
/// `chunked`. The server answers all but plain `chunked` with 400.
fn is_plain_chunked(values: &[String]) -> bool {
    matches!(values, [value] if value.eq_ignore_ascii_case("chunked"))
}

/// Narrower than `#expectation`: one member, and no empty ones. There is no second expectation that
/// a list could hold.
fn is_continue(values: &[String]) -> bool {
    matches!(values, [value] if value.eq_ignore_ascii_case("100-continue"))
}

// -------------------------------------------------------------------------------------------------
// HTTP-message = start-line CRLF *( field-line CRLF ) CRLF [ message-body ]

/// The next request and what follows it, or `None` if there is none.
fn http_message(
    bytes: &[u8],
    is_wanted: fn(&str) -> bool,
) -> Result<Option<(Request, &[u8])>, End> {
    let bytes = after_empty_lines(bytes);
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut faults = Statuses::new();
    let head = Lines::split(bytes, &mut faults);
    let line = request_line(&head.first, &mut faults);
    let fields = field_lines(&head.rest, &mut faults);
    let Some(after) = head.after else {
        if faults.is_empty() {
            return Err(End::Incomplete { awaits_body: false });
        }
        // Besides its faults, the head is incomplete.
        faults.insert(400);
        return Err(End::Faulty(faults));
    };
    let framing = framing(line.as_ref(), &fields, &mut faults);
    let (Some(line), Some(framing), true) = (line, framing, faults.is_empty()) else {
        assert!(!faults.is_empty(), "refused without a fault");
        return Err(End::Faulty(faults));
    };
    let is_wanted = is_wanted(&line.method);
    let (body, rest) = match after.split_at_checked(framing.length) {
        Some((body, rest)) => (is_wanted.then(|| body.to_vec()), rest),
        None if is_wanted => {
            let awaits_body = framing.expects_continue && after.is_empty();
            return Err(End::Incomplete { awaits_body });
        }
        // It is answered before its body is complete, and nothing follows.
        None => (None, &[][..]),
    };
    let closes = framing.closes || !(is_wanted || is_discarded(&framing));
    let request = Request {
        method: line.method,
        path: line.target.path,
        query: line.target.query,
        host: line.target.host.unwrap_or(framing.host),
        fields,
        body,
        closes,
    };
    Ok(Some((request, rest)))
}

/// RFC 9112 section 2.2: a server SHOULD ignore at least one empty line before the request line.
fn after_empty_lines(mut bytes: &[u8]) -> &[u8] {
    for _ in 0..BLANK_LINES_MAX {
        bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    }
    bytes
}

/// The lines of a head. The request line may be empty, which is a fault; the field lines end with
/// the first empty line.
struct Lines<'a> {
    first: Line<'a>,
    rest: Vec<Line<'a>>,
    /// What follows the head, if the head is complete.
    after: Option<&'a [u8]>,
}

/// A line without its line end. It is not whole if the line end is missing.
struct Line<'a> {
    text: &'a [u8],
    is_whole: bool,
}

impl<'a> Lines<'a> {
    fn split(bytes: &'a [u8], faults: &mut Statuses) -> Self {
        let (first, mut after) = line(bytes, faults);
        let mut rest = Vec::new();
        while let Some(bytes) = after {
            let (line, next) = line(bytes, faults);
            after = next;
            if line.is_whole && line.text.is_empty() {
                break;
            }
            rest.push(line);
        }
        Self { first, rest, after }
    }
}

/// The first line, and what follows it if it is whole. RFC 9112 section 2.2: a bare CR is invalid.
/// A recipient MAY accept a bare LF as a line end; here it is a fault, and accepted only to find
/// further faults.
fn line<'a>(bytes: &'a [u8], faults: &mut Statuses) -> (Line<'a>, Option<&'a [u8]>) {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let raw = &bytes[..end.unwrap_or(bytes.len())];
    let text = raw.strip_suffix(b"\r");
    let is_bare_lf = text.is_none() && end.is_some();
    let text = text.unwrap_or(raw);
    if is_bare_lf || text.contains(&b'\r') {
        faults.insert(400);
    }
    (Line { text, is_whole: end.is_some() }, end.map(|end| &bytes[end + 1..]))
}

// -------------------------------------------------------------------------------------------------
// request-line = method SP request-target SP HTTP-version

struct RequestLine {
    method: String,
    target: Target,
    version: Vec<u8>,
}

/// Parses a request line, which may be incomplete.
fn request_line(line: &Line, faults: &mut Statuses) -> Option<RequestLine> {
    // An endless line has a target that is too long.
    if line.text.len() + 2 > REQUEST_LINE_MAX_BYTES {
        faults.insert(414);
    }
    if !line.text.iter().all(|&byte| is_vchar(byte) || byte == b' ') {
        faults.insert(400);
    }
    let parts: Vec<&[u8]> = line.text.split(|&byte| byte == b' ').collect();
    let method = method(parts[0], line.is_whole || parts.len() > 1, faults);
    if parts.get(1).is_some_and(|target| target.len() > TARGET_MAX_BYTES) {
        faults.insert(414);
    }
    if let (true, [_, .., version]) = (line.is_whole, parts.as_slice()) {
        http_version(version, faults);
    }
    let &[_, target, version] = parts.as_slice() else {
        if line.is_whole || parts.len() > 3 {
            faults.insert(400);
        }
        return None;
    };
    let method = method?;
    let target = request_target(target, &method);
    if target.is_none() {
        faults.insert(400);
    }
    Some(RequestLine { method, target: target?, version: version.to_vec() })
}

/// `method = token`
fn method(text: &[u8], is_whole: bool, faults: &mut Statuses) -> Option<String> {
    if !text.iter().all(|&byte| is_tchar(byte)) || (text.is_empty() && is_whole) {
        faults.insert(400);
        return None;
    }
    let known = METHODS.into_iter().find(|known| known.as_bytes() == text);
    // RFC 9112 section 3: a method longer than every known method is unknown, however it ends.
    let is_long = METHODS.iter().all(|known| text.len() > known.len());
    if known.is_none() && (is_whole || is_long) {
        faults.insert(501);
    }
    known.filter(|_| is_whole).map(str::to_owned)
}

/// `HTTP-version = HTTP-name "/" DIGIT "." DIGIT`
fn http_version(text: &[u8], faults: &mut Statuses) {
    match text {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            if !is_known_version(text) {
                faults.insert(505);
            }
        }
        _ => {
            faults.insert(400);
        }
    }
}

struct Target {
    path: String,
    query: Option<String>,
    host: Option<Host>,
}

/// `request-target = origin-form / absolute-form / authority-form / asterisk-form`, of which the
/// third is only for CONNECT, and the last only for OPTIONS.
fn request_target(text: &[u8], method: &str) -> Option<Target> {
    if method == "OPTIONS" && text == b"*" {
        return Some(Target { path: "*".to_owned(), query: None, host: None });
    }
    let mut target = origin_form(text).or_else(|| absolute_form(text))?;
    if target.path.is_empty() {
        // RFC 9112 section 3.2.4, else RFC 9110 section 4.2.3.
        let is_for_server = method == "OPTIONS" && target.query.is_none();
        target.path = if is_for_server { "*" } else { "/" }.to_owned();
    }
    Some(target)
}

/// `origin-form = absolute-path [ "?" query ]`
fn origin_form(text: &[u8]) -> Option<Target> {
    if text.starts_with(b"/") { path_and_query(text, None) } else { None }
}

/// `absolute-form = absolute-URI`, of which `"http" "://" authority path-abempty [ "?" query ]` is
/// what can reach a server without TLS (RFC 9110 section 4.2.1).
fn absolute_form(text: &[u8]) -> Option<Target> {
    let (scheme, rest) = text.split_at_checked("http://".len())?;
    if !scheme.eq_ignore_ascii_case(b"http://") {
        return None;
    }
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    path_and_query(path, Some(uri_host_and_port(authority)?))
}

fn path_and_query(text: &[u8], host: Option<Host>) -> Option<Target> {
    if !text.iter().all(|&byte| is_target_character(byte)) {
        return None;
    }
    let mut parts = text.splitn(2, |&byte| byte == b'?').map(latin_1);
    Some(Target { path: parts.next()?, query: parts.next(), host })
}

// -------------------------------------------------------------------------------------------------
// field-line = field-name ":" OWS field-value OWS

fn field_lines(lines: &[Line], faults: &mut Statuses) -> Fields {
    if size_bytes(lines) > HEADERS_MAX_BYTES || lines.len() > HEADERS_MAX {
        faults.insert(431);
    }
    let mut fields = Fields::new();
    for line in lines {
        match field_line(line) {
            Ok(Some((name, value))) => fields.entry(name).or_default().push(value),
            Ok(None) => {}
            Err(Malformed) => {
                faults.insert(400);
            }
        }
    }
    fields
}

struct Malformed;

/// `None` if the line is incomplete and has no fault so far.
fn field_line(line: &Line) -> Result<Option<(String, String)>, Malformed> {
    let mut parts = line.text.splitn(2, |&byte| byte == b':');
    let name = parts.next().unwrap_or_default();
    let value = parts.next();
    // `obs-fold` begins with a space or a tab (RFC 9112 section 5.2), which no token does.
    let is_token = name.iter().all(|&byte| is_tchar(byte)) && (!name.is_empty() || value.is_none());
    if !is_token || (value.is_none() && line.is_whole) {
        return Err(Malformed);
    }
    let value = value.unwrap_or_default();
    if !value.iter().all(|&byte| is_field_vchar(byte) || is_ows(byte)) {
        return Err(Malformed);
    }
    let field = || (latin_1(name).to_ascii_lowercase(), latin_1(without_ows(value)));
    Ok(line.is_whole.then(field))
}

/// `#element`, whose empty elements a recipient ignores (RFC 9110 section 5.6.1.2).
fn list(values: &[String]) -> impl Iterator<Item = &str> {
    let elements = values.iter().flat_map(|value| value.split(','));
    elements.map(|element| element.trim_matches([' ', '\t'])).filter(|element| !element.is_empty())
}

// -------------------------------------------------------------------------------------------------
// Framing and the other fields that the server reads.

struct Framing {
    host: Host,
    length: usize,
    closes: bool,
    expects_continue: bool,
}

fn framing(line: Option<&RequestLine>, fields: &Fields, faults: &mut Statuses) -> Option<Framing> {
    let values = |name: &str| fields.get(name).map_or(&[][..], Vec::as_slice);
    let is_http_1_0 = line.is_some_and(|line| version_closes(&line.version));
    let host = host(values("host"), faults);
    let length = content_length(values("content-length"), faults);
    transfer_encoding(values("transfer-encoding"), length, is_http_1_0, faults);
    if length.is_none() && line.is_some_and(|line| needs_length(&line.method)) {
        faults.insert(411);
    }
    let expects_continue = expect(values("expect"), is_http_1_0, faults);
    let closes = list(values("connection")).any(|option| option.eq_ignore_ascii_case("close"));
    Some(Framing {
        host: host?,
        length: length.unwrap_or(0),
        closes: closes || is_http_1_0,
        expects_continue,
    })
}

/// `Host = uri-host [ ":" port ]`. RFC 9112 section 3.2: 400 unless there is one, and it is valid.
/// Required of HTTP/1.0 too, because the server recognises pages of other sites by it.
fn host(values: &[String], faults: &mut Statuses) -> Option<Host> {
    let host = match values {
        [value] => uri_host_and_port(value.as_bytes()),
        _ => None,
    };
    if host.is_none() {
        faults.insert(400);
    }
    host
}

/// `Content-Length = 1*DIGIT`. RFC 9110 section 8.6 allows a recipient to reject a list of equal
/// lengths, and the server does.
fn content_length(values: &[String], faults: &mut Statuses) -> Option<usize> {
    let digits = match values {
        [] => return None,
        [value] if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
            value.trim_start_matches('0')
        }
        _ => {
            faults.insert(400);
            // There is a length, even if it is malformed.
            return Some(0);
        }
    };
    let length = match digits.len() {
        0 => 0,
        1..=9 => digits.bytes().fold(0, |length, digit| length * 10 + usize::from(digit - b'0')),
        _ => usize::MAX,
    };
    if length > BODY_MAX_BYTES {
        faults.insert(413);
    }
    Some(length)
}

/// `Transfer-Encoding = #transfer-coding`. None is supported: RFC 9112 section 6.3 allows 411 for a
/// body without a length.
fn transfer_encoding(
    values: &[String],
    length: Option<usize>,
    is_http_1_0: bool,
    faults: &mut Statuses,
) {
    if values.is_empty() {
        return;
    }
    // RFC 9112 section 6.1: with a length, or in HTTP/1.0, the framing is faulty.
    if length.is_some() || is_http_1_0 {
        faults.insert(400);
    }
    let codings: Vec<&str> = list(values).collect();
    let is_chunked = |coding: &str| coding.eq_ignore_ascii_case("chunked");
    let is_last = codings.last().is_some_and(|coding| is_chunked(coding));
    if is_last {
        faults.insert(411);
    }
    // RFC 9112 section 6.3: chunked is the last; section 6.1: and only once.
    if !is_plain_chunked(values) {
        faults.insert(400);
    }
    // RFC 9112 section 6.1: SHOULD be 501.
    if !codings.iter().all(|coding| is_chunked(coding)) {
        faults.insert(501);
    }
}

/// `Expect = #expectation`. RFC 9110 section 10.1.1: 417 for any other than `100-continue`, and
/// nothing is expected in HTTP/1.0.
fn expect(values: &[String], is_http_1_0: bool, faults: &mut Statuses) -> bool {
    if values.is_empty() || is_http_1_0 {
        return false;
    }
    if !is_continue(values) {
        faults.insert(417);
    }
    true
}

// -------------------------------------------------------------------------------------------------
// RFC 3986: host and port.

/// `uri-host [ ":" port ]`
fn uri_host_and_port(text: &[u8]) -> Option<Host> {
    let (name, rest) = match text.first()? {
        b'[' => ip_literal(text)?,
        _ => reg_name(text)?,
    };
    let port = match rest {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(port(digits)?),
        _ => return None,
    };
    Some(Host { name, port })
}

/// `port = *DIGIT`
fn port(digits: &[u8]) -> Option<u16> {
    if digits.iter().all(u8::is_ascii_digit) { port_number(digits) } else { None }
}

/// `reg-name = *( unreserved / pct-encoded / sub-delims )`, of which every IPv4address is one, and
/// what follows. Not empty in an `http` URI (RFC 9110 section 4.2.1).
fn reg_name(text: &[u8]) -> Option<(String, &[u8])> {
    let end = text.iter().position(|&byte| !is_name_character(byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty()).then(|| (latin_1(name).to_ascii_lowercase(), rest))
}

/// `IP-literal = "[" ( IPv6address / IPvFuture ) "]"`, and what follows. There is no IPvFuture yet.
fn ip_literal(text: &[u8]) -> Option<(String, &[u8])> {
    let end = text.iter().position(|&byte| byte == b']')?;
    let address = ipv6_address(std::str::from_utf8(&text[1..end]).ok()?)?;
    Some((address.to_string(), &text[end + 1..]))
}

/// `IPv6address`: eight groups, or fewer around one `::`, the last two of which may be an
/// IPv4address.
fn ipv6_address(text: &str) -> Option<Ipv6Addr> {
    let (left, right) = match text.split_once("::") {
        Some((left, right)) => (groups(left, false)?, Some(groups(right, true)?)),
        None => (groups(text, true)?, None),
    };
    let mut segments = [0; 8];
    match right {
        None if left.len() == 8 => segments.copy_from_slice(&left),
        Some(right) if left.len() + right.len() < 8 => {
            segments[..left.len()].copy_from_slice(&left);
            segments[8 - right.len()..].copy_from_slice(&right);
        }
        _ => return None,
    }
    Some(Ipv6Addr::from(segments))
}

/// `[ *( h16 ":" ) ( h16 / ls32 ) ]`, with `ls32` only where the address ends.
fn groups(text: &str, is_end: bool) -> Option<Vec<u16>> {
    let mut groups = Vec::new();
    let mut parts = text.split(':').filter(|_| !text.is_empty()).peekable();
    while let Some(part) = parts.next() {
        if is_end && parts.peek().is_none() && part.contains('.') {
            let [a, b, c, d] = ipv4_address(part)?.octets();
            groups.extend([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
        } else {
            groups.push(h16(part)?);
        }
    }
    Some(groups)
}

/// `h16 = 1*4HEXDIG`
fn h16(text: &str) -> Option<u16> {
    let is_valid = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_valid { u16::from_str_radix(text, 16).ok() } else { None }
}

/// `IPv4address = dec-octet "." dec-octet "." dec-octet "." dec-octet`
fn ipv4_address(text: &str) -> Option<Ipv4Addr> {
    let octets: Option<Vec<u8>> = text.split('.').map(dec_octet).collect();
    let octets: [u8; 4] = octets?.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

/// `dec-octet`: 0 to 255 without leading zeros.
fn dec_octet(text: &str) -> Option<u8> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_valid = is_decimal && (text == "0" || !text.starts_with('0'));
    if is_valid { text.parse().ok() } else { None }
}

// -------------------------------------------------------------------------------------------------
// Characters.

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_vchar(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte)
}

/// `field-vchar = VCHAR / obs-text`
fn is_field_vchar(byte: u8) -> bool {
    is_vchar(byte) || byte >= 0x80
}

fn is_ows(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn without_ows(text: &[u8]) -> &[u8] {
    let Some(start) = text.iter().position(|&byte| !is_ows(byte)) else {
        return &[];
    };
    let end = text.iter().rposition(|&byte| !is_ows(byte)).unwrap_or(start);
    &text[start..=end]
}

/// RFC 9110 section 5.5: obs-text is opaque. Latin-1 keeps its bytes distinct.
fn latin_1(text: &[u8]) -> String {
    text.iter().map(|&byte| char::from(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(bytes: &str) -> End {
        stream(bytes.as_bytes(), |method| method != "DELETE").end
    }

    fn faults(bytes: &str) -> Vec<u16> {
        match end(bytes) {
            End::Faulty(statuses) => statuses.into_iter().collect(),
            end => panic!("{end:?} of {bytes:?}"),
        }
    }

    fn only(bytes: &str) -> Request {
        let Stream { mut requests, .. } = stream(bytes.as_bytes(), |_| true);
        assert_eq!(requests.len(), 1, "requests in {bytes:?}");
        requests.remove(0)
    }

    /// RFC 9112, sections 3.2.1, 3.2.2 and 3.2.4.
    #[test]
    fn http_examples_of_the_rfc_are_requests() {
        let request = only("GET /where?q=now HTTP/1.1\r\nHost: www.example.org\r\n\r\n");
        assert_eq!((request.path.as_str(), request.query.as_deref()), ("/where", Some("q=now")));
        let line = "GET http://www.example.org/pub/WWW/TheProject.html HTTP/1.1";
        let request = only(&format!("{line}\r\nHost: other\r\n\r\n"));
        assert_eq!(request.host.name, "www.example.org");
        assert_eq!(request.path, "/pub/WWW/TheProject.html");
        let request = only("OPTIONS http://www.example.org:8001 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((request.path.as_str(), request.host.port), ("*", Some(8001)));
        assert_eq!(only("OPTIONS * HTTP/1.1\r\nHost: a:\r\n\r\n").host.port, None);
    }

    #[test]
    fn http_streams_end_in_one_of_four_ways() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n";
        let put = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(end(""), End::Consumed);
        assert_eq!(end(&format!("\r\n{get}\r\n\r\n")), End::Consumed);
        assert_eq!(end(&format!("{get}Connection: x , Close\r\n\r\nrubbish")), End::Closed);
        assert_eq!(end(get), End::Incomplete { awaits_body: false });
        assert_eq!(end(put), End::Incomplete { awaits_body: true });
        assert_eq!(end(&format!("{put}ab")), End::Incomplete { awaits_body: false });
        assert_eq!(end(&format!("{put}abc")), End::Consumed);
        assert_eq!(faults(&format!("{get}\r\n{get} folded\r\n\r\n")), [400]);
    }

    #[test]
    fn http_bodies_are_skipped_where_they_are_not_wanted() {
        let delete = |fields: &str| format!("DELETE / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(end(&(delete("Content-Length: 7\r\n") + "rubbish")), End::Consumed);
        assert_eq!(end(&(delete("Content-Length: 7\r\n") + "rub")), End::Consumed);
        assert_eq!(end(&delete("Content-Length: 16385\r\n")), End::Closed);
        assert_eq!(end(&delete("Content-Length: 7\r\nExpect: 100-continue\r\n")), End::Closed);
    }

    #[test]
    fn http_faults_have_their_statuses() {
        let head = |line: &str, fields: &str| format!("{line}\r\nHost: a\r\n{fields}\r\n");
        let fields = |fields: &str| faults(&head("PUT / HTTP/1.1", fields));
        assert_eq!(faults(&head("GET /#a HTTP/1.1", "")), [400]);
        assert_eq!(faults(&head("GET / HTTP/2.0", "")), [505]);
        assert_eq!(faults(&head("get / HTTP/1.1", "")), [501]);
        assert_eq!(faults(&head("CONNECT a:1 HTTP/1.1", "")), [501]);
        assert_eq!(faults(&head("POST / HTTP/1.1", "")), [411]);
        assert_eq!(faults(&head(&format!("GET /{} HTTP/1.1", "a".repeat(8192)), "")), [414]);
        assert_eq!(fields("Content-Length: 65537\r\n"), [413]);
        assert_eq!(fields("Content-Length: +1\r\n"), [400]);
        assert_eq!(fields("Content-Length: 1\r\nContent-Length: 1\r\n"), [400]);
        assert_eq!(fields("Transfer-Encoding: chunked\r\n"), [411]);
        assert_eq!(fields("Transfer-Encoding: chunked, gzip\r\n"), [400, 501]);
        assert_eq!(fields("Expect: tea\r\n"), [417]);
        assert_eq!(fields(&"A: b\r\n".repeat(64)), [431]);
        assert_eq!(fields("A : b\r\n"), [400]);
        assert_eq!(fields("A: b\n"), [400]);
        assert_eq!(fields("A: b\rc\r\n"), [400]);
        assert_eq!(fields("A: \u{7f}\r\n"), [400]);
        assert_eq!(fields("Host: a\r\n"), [400]);
    }

    #[test]
    fn http_hosts_are_read_by_the_grammar() {
        let host =
            |text: &str| uri_host_and_port(text.as_bytes()).map(|host| (host.name, host.port));
        let some = |name: &str, port| Some((name.to_owned(), port));
        assert_eq!(host("Camera.local:0080"), some("camera.local", Some(80)));
        assert_eq!(host("[2001:DB8::0:1]:8554"), some("2001:db8::1", Some(8554)));
        assert_eq!(host("[::ffff:192.0.2.1]"), some("::ffff:192.0.2.1", None));
        assert_eq!(host("[1:2:3:4:5:6:7::]"), some("1:2:3:4:5:6:7:0", None));
        let wrong = "|:80|a:+1|a:65536|a b|u@a|a%41|[::1|[::1]80|[1::2::3]|[::1%25a]|\
                     [1:2:3:4:5:6:7:8::]|[::192.0.2.1:1]|[::192.0.2.01]|[v1.a]|[12345::]|[:1::]|::1";
        for wrong in wrong.split('|') {
            assert_eq!(host(wrong), None, "{wrong:?}");
        }
    }
}
