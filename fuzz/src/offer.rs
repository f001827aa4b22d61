//! An SDP offer and its answer: `POST /offer` to a server in virtual time.
//!
//! Input that begins with `v=0` is the SDP itself, so that recorded offers are seeds. Any other
//! input describes one: a recorded or a generated offer, and edits of its text. The response is
//! checked against the offer with an SDP parser that shares no code with the server's.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use ballcast::testing::http::BODY_MAX_BYTES;
use ballcast::testing::server::limits::admission::Limits;
use serde_json::{Value, json};
use str0m::change::SdpAnswer;

use crate::Outcomes;
use crate::edits::{Edit, edited, pick};
use crate::support::crypto;
use crate::support::world::World;

/// Longer than the server keeps a viewer that does not connect.
const UNCONNECTED_FREED_AFTER: Duration = Duration::from_secs(11);
/// An offer whose length is a multiple of this is posted twice. Not every one is, because most of
/// the time is spent in str0m's parser.
const REPEAT_EVERY: usize = 4;
/// The seed of every server's random numbers.
const SEED: u64 = 0x0ff3;

pub fn run(data: &[u8]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let sdp = sdp_of(data, &mut outcomes);
    let body = json!({"type": "offer", "sdp": sdp}).to_string();
    if body.len() > BODY_MAX_BYTES {
        outcomes.insert("too long".to_owned());
        return outcomes;
    }
    let (mut world, response) = post(&body);
    if body.len().is_multiple_of(REPEAT_EVERY) {
        let (_, again) = post(&body);
        assert_eq!(response, again, "the same offer gives the same answer");
    }

    let response = Response::read(&response);
    let viewers = usize::from(response.status == 200);
    assert_eq!(world.server.viewers(), viewers, "a viewer if and only if there is an answer");
    let checker = ResponseChecker { offer: &sdp, response: &response, outcomes };
    let outcomes = match response.status {
        200 => checker.answer(),
        _ => checker.refusal(),
    };

    world.run(UNCONNECTED_FREED_AFTER);
    assert_eq!(world.server.viewers(), 0, "viewers are left");
    assert_eq!(world.server.connections(), 0);
    assert_eq!(world.deadline(), None, "a timer is left");
    assert!(
        world.undeliverable.is_empty(),
        "an offer makes the server send nothing: {:?}",
        world.undeliverable
    );
    outcomes
}

/// A new server and its response.
fn post(body: &str) -> (World, Vec<u8>) {
    fastrand::seed(SEED);
    let mut world = World::with_crypto(Limits::default(), crypto::provider());
    let head = format!(
        "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let from = "10.0.0.1:1".parse().unwrap();
    let response = world.http_raw(from, (head + body).as_bytes());
    (world, response)
}

struct Response {
    status: u16,
    head: String,
    document: Value,
}

impl Response {
    fn read(bytes: &[u8]) -> Response {
        let text = std::str::from_utf8(bytes).expect("a response is UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a response has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Response {
            status: status.expect("a response has a status"),
            head: head.to_owned(),
            document: serde_json::from_str(body).expect("a response is JSON"),
        }
    }

    fn text(&self, field: &str) -> &str {
        self.document[field].as_str().unwrap_or_else(|| panic!("{field}: {}", self.document))
    }

    fn has_type(&self, content_type: &str) -> bool {
        let line = format!("Content-Type: {content_type}");
        self.head.lines().any(|header| header.eq_ignore_ascii_case(&line))
    }
}

/// Checks the response to one offer.
struct ResponseChecker<'a> {
    offer: &'a str,
    response: &'a Response,
    outcomes: Outcomes,
}

impl ResponseChecker<'_> {
    fn refusal(mut self) -> Outcomes {
        const REASONS: [(u16, &str); 6] = [
            (400, "offer-malformed"),
            (413, "offer-too-large"),
            (422, "ice-lite"),
            (422, "no-video"),
            (422, "video-not-receiving"),
            (422, "no-codec"),
        ];
        let (status, reason) = (self.response.status, self.response.text("reason"));
        self.check("a refusal has a known reason", REASONS.contains(&(status, reason)));
        self.check("a refusal is a problem", self.response.has_type("application/problem+json"));
        let detail = self.response.text("detail");
        self.check("a refusal's detail is prose", is_prose(detail));
        self.check("a refusal quotes no secret", !quotes_secret(detail, self.offer));
        self.note(format!("refused {reason} {status}"));
        self.outcomes
    }

    fn answer(mut self) -> Outcomes {
        self.check("an answer is JSON", self.response.has_type("application/json"));
        self.check("an answer has the type answer", self.response.text("type") == "answer");
        let text = self.response.text("sdp");
        self.check("an answer's lines are well-formed", has_whole_lines(text));
        self.check("an answer quotes no secret", !quotes_secret(text, self.offer));

        let (offer, answer) = (Description::read(self.offer), Description::read(text));
        self.note("answered");
        self.check("an answer has the offer's m-lines", offer.media.len() == answer.media.len());
        if offer.media.len() != answer.media.len() {
            return self.outcomes;
        }
        self.sections(&offer, &answer);
        self.refusals(&offer, &answer);
        self.bundle(&offer, &answer);
        let mut accepted = offer
            .media
            .iter()
            .zip(&answer.media)
            .filter(|(_, answered)| answered.kind() == "video" && answered.is_used());
        let video = accepted.next();
        self.check("one video is accepted", video.is_some() && accepted.next().is_none());
        if let Some((offered, answered)) = video {
            // The other sections repeat parts of the offer, which str0m may not be able to parse.
            let ours = [&answer.session[..], &answered.lines].concat().join("\r\n") + "\r\n";
            // Nor does it know of other profiles, or of sections without a mid.
            let profile = format!(" {} ", answered.protocol());
            let ours = ours.replacen(&profile, " UDP/TLS/RTP/SAVPF ", 1);
            let mid = if answered.value("mid").is_some() { "" } else { "a=mid:0\r\n" };
            let ours = ours + mid;
            self.check(
                "the video's answer can be parsed",
                SdpAnswer::from_sdp_string(&ours).is_ok(),
            );
            self.direction(&offer, offered, answered);
            self.codecs(offered, answered);
            self.extensions(offered, answered);
            self.transport(&offer, answered);
        }
        self.outcomes
    }

    /// RFC 3264, section 6: the same number of m-lines, each with the same media type; RFC 8829,
    /// section 5.3.1: the mid.
    fn sections(&mut self, offer: &Description, answer: &Description) {
        let mut videos = 0;
        for (offered, answered) in offer.media.iter().zip(&answer.media) {
            self.check("an m-line keeps its kind", offered.kind() == answered.kind());
            let mid = answered.value("mid");
            let is_name = |mid: &&str| !mid.is_empty() && mid.bytes().all(|b| b.is_ascii_graphic());
            self.check("an m-line keeps its mid", mid == offered.value("mid").filter(is_name));
            self.check("an m-line keeps its protocol", offered.protocol() == answered.protocol());
            // RFC 9143, section 7.3: the first section of a bundle has the transport of all.
            let brings = mid.is_some_and(|mid| {
                offer.bundles().iter().any(|bundle| bundle.first() == Some(&mid))
            });
            let unused = answered.is_refused() || brings && !answered.is_used();
            match answered.kind() {
                "video" => {
                    videos += 1;
                    if videos == 2 {
                        self.note("answered second video");
                    }
                }
                kind => {
                    self.check("only video is used", unused);
                    let known = matches!(kind, "audio" | "application");
                    let kind = if known { kind } else { "another kind" };
                    let how = if answered.is_refused() { "refused" } else { "inactive" };
                    self.note(format!("answered {kind} {how}"));
                }
            }
        }
    }

    /// RFC 3264, section 6: port 0 is answered with port 0, except for a bundle-only section (RFC
    /// 9143, section 6).
    fn refusals(&mut self, offer: &Description, answer: &Description) {
        let bundle = offer.bundled();
        for (offered, answered) in offer.media.iter().zip(&answer.media) {
            let shares = offered.value("mid").is_some_and(|mid| bundle.contains(&mid));
            let kept = !offered.is_refused() || shares || answered.is_refused();
            self.check("what the offer refuses stays refused", kept);
        }
    }

    /// RFC 9143, section 7.3.
    fn bundle(&mut self, offer: &Description, answer: &Description) {
        let (offered, answered) = (offer.bundled(), answer.bundled());
        self.check("an answered bundle was offered", answered.is_empty() || !offered.is_empty());
        let known = offered.is_empty() || answered.iter().all(|mid| offered.contains(mid));
        self.check("a bundle has only mids of the offer's", known);
        for media in &answer.media {
            let is_in =
                |bundle: &[&str]| media.value("mid").is_some_and(|mid| bundle.contains(&mid));
            let (bundled, wanted) = (is_in(&answered), is_in(&offered) && !media.is_refused());
            self.check("a bundle has exactly the accepted sections", bundled == wanted);
        }
    }

    fn direction(&mut self, offer: &Description, offered: &Media, answered: &Media) {
        self.check("video is sendonly", answered.directions() == ["sendonly"]);
        let of_session = directions(&offer.session).first().copied().unwrap_or("sendrecv");
        let offered = offered.directions().first().copied().unwrap_or(of_session);
        self.check("the offer can receive video", matches!(offered, "recvonly" | "sendrecv"));
        self.note(format!("answered {offered}"));
    }

    /// RFC 3264, section 6.1, and RFC 6184, section 8.2.2: payload types, packetization mode and
    /// profile are the offer's.
    fn codecs(&mut self, offered: &Media, answered: &Media) {
        let types = answered.payload_types();
        self.check("video has one codec and at most its RTX", matches!(types.len(), 1 | 2));
        let Some(&video) = types.first() else { return };
        let known = types.iter().all(|pt| offered.payload_types().contains(pt));
        self.check("a payload type is the offer's", known);
        for rtpmap in answered.values("rtpmap") {
            let (pt, name) = rtpmap.split_once(' ').unwrap_or((rtpmap, ""));
            let mut named = offered.of_type("rtpmap", pt.parse().unwrap_or(u8::MAX));
            let same = named.any(|other| other.eq_ignore_ascii_case(name));
            self.check("an rtpmap is the offer's", same);
        }
        self.check("the codec is the offer's", answered.codec(video) == offered.codec(video));
        match answered.codec(video).as_deref() {
            Some("h264/90000") => self.h264(video, offered, answered),
            Some("vp8/90000") => self.vp8(offered),
            _ => self.check("the codec is H.264 or VP8", false),
        }
        let repairs = |media: &Media, pt: u8| {
            media.codec(pt).as_deref() == Some("rtx/90000")
                && media.parameter(pt, "apt").as_deref() == Some(&video.to_string())
        };
        let possible = offered.payload_types().into_iter().any(|pt| repairs(offered, pt));
        self.check("RTX is accepted if it is offered", possible == (types.len() == 2));
        if let Some(&rtx) = types.get(1) {
            self.check(
                "RTX is for the accepted codec",
                repairs(answered, rtx) && repairs(offered, rtx),
            );
            self.note("answered with rtx");
        }
        self.feedback(video, offered, answered);
    }

    fn h264(&mut self, h264: u8, offered: &Media, answered: &Media) {
        let modes = [offered, answered].map(|media| media.parameter(h264, "packetization-mode"));
        self.check("the mode is 1", modes.iter().all(|mode| mode.as_deref() == Some("1")));
        self.profile(h264, offered, answered);
        let asymmetry = [offered, answered]
            .map(|media| media.parameter(h264, "level-asymmetry-allowed").as_deref() == Some("1"));
        self.check("levels may differ if the offer says so", asymmetry[0] == asymmetry[1]);
    }

    fn vp8(&mut self, offered: &Media) {
        let h264 = |pt| offered.parameter(pt, "profile-level-id");
        let mut profiles = offered.h264_types().filter_map(h264);
        let has_h264 = profiles.any(|profile| is_constrained_baseline(&profile));
        self.check("VP8 is accepted only without usable H.264", !has_h264);
        self.note("answered VP8");
    }

    /// The level is the offer's too: our stream conforms to every level.
    fn profile(&mut self, h264: u8, offered: &Media, answered: &Media) {
        let of = |media: &Media, pt| {
            media.parameter(pt, "profile-level-id").unwrap_or_else(|| "42000a".to_owned())
        };
        let profile = of(answered, h264);
        self.check("the profile is the offer's", profile == of(offered, h264));
        let possible = offered.h264_types().any(|pt| is_constrained_baseline(&of(offered, pt)));
        let nearest = !possible || is_constrained_baseline(&profile);
        self.check("constrained baseline comes first", nearest);
        // Without the level, which changes nothing.
        self.note(format!("answered profile {}", profile.get(..4).unwrap_or(&profile)));
    }

    /// RFC 4585, section 4.2: an answer has only feedback types of the offer.
    fn feedback(&mut self, video: u8, offered: &Media, answered: &Media) {
        for feedback in answered.values("rtcp-fb") {
            let (pt, kind) = feedback.split_once(' ').unwrap_or((feedback, ""));
            let for_all = format!("* {kind}");
            let same = offered.of_type("rtcp-fb", video).any(|other| other == kind)
                || offered.values("rtcp-fb").any(|other| other == for_all);
            self.check("feedback is for the codec", pt == video.to_string());
            self.check("feedback is the offer's", same);
            self.check("bandwidth is not estimated", !kind.ends_with("-cc") && kind != "goog-remb");
        }
    }

    /// RFC 8285, section 6: an answer's extensions are the offer's, with the same ID and URI.
    fn extensions(&mut self, offered: &Media, answered: &Media) {
        let mut numbers = Vec::new();
        for (number, uri) in answered.extensions() {
            self.check(
                "an extension is the offer's",
                offered.extensions().contains(&(number, uri)),
            );
            self.check("an extension ID is unique", !numbers.contains(&number));
            numbers.push(number);
            self.note(format!(
                "answered extension {}",
                uri.rsplit(['/', ':']).next().unwrap_or(uri)
            ));
        }
    }

    fn transport(&mut self, offer: &Description, answered: &Media) {
        let long = |name, least| answered.value(name).is_some_and(|value| value.len() >= least);
        self.check("there are ICE credentials", long("ice-ufrag", 4) && long("ice-pwd", 22));
        let fingerprint = answered.value("fingerprint").unwrap_or_default();
        self.check("there is a fingerprint", fingerprint.starts_with("sha-256 "));
        self.check("RTP and RTCP share a port", answered.lines.contains(&"a=rtcp-mux"));
        let candidates: Vec<&str> = answered.values("candidate").collect();
        let ours = matches!(&candidates[..], [one] if one.contains(" 1 udp ")
            && one.contains(" 10.0.0.254 8080 typ host"));
        self.check("the video section has exactly our candidate", ours);
        // A session with contradicting setup attributes may be answered either way.
        let mut setups: Vec<&str> = offer.every("setup").collect();
        setups.dedup();
        let setup = answered.value("setup").unwrap_or_default();
        let possible: &[&str] = match setups[..] {
            ["active"] => &["passive"],
            ["passive"] => &["active"],
            _ => &["active", "passive"],
        };
        self.check("the DTLS roles fit", possible.contains(&setup));
        self.note(format!("answered {setup}"));
    }

    fn note(&mut self, what: impl Into<String>) {
        self.outcomes.insert(what.into());
    }

    fn check(&mut self, property: &str, holds: bool) {
        if holds {
            return;
        }
        panic!(
            "violated: {property}\n--- offer\n{}\n--- response\n{}\n{}",
            self.offer.escape_debug().to_string().replace("\\n", "\\n\n"),
            self.response.head,
            self.response.document.to_string().replace("\\r\\n", "\n"),
        );
    }
}

/// Whether a detail is a sentence that a page can show.
fn is_prose(detail: &str) -> bool {
    detail.len() > 20 && detail.ends_with('.') && !detail.contains(char::is_control)
}

/// Whether a text contains one of the offer's credentials. Values that occur elsewhere in the offer
/// too, or that could be a word, do not count.
fn quotes_secret(text: &str, offer: &str) -> bool {
    const NAMES: [&str; 3] = ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:sha-256 "];
    let mut secrets = offer
        .lines()
        .filter_map(|line| NAMES.iter().find_map(|name| line.trim_end().strip_prefix(name)));
    secrets.any(|secret| {
        let is_word = secret.len() < 16
            || secret.contains(char::is_whitespace)
            || !secret.contains(|c: char| c.is_ascii_digit());
        let lines = offer.lines().filter(|line| line.contains(secret));
        let named = lines.clone().all(|line| NAMES.iter().any(|name| line.starts_with(name)));
        !is_word && named && text.contains(secret)
    })
}

/// Whether every line is `x=…` and ends with CRLF (RFC 8866, section 5).
fn has_whole_lines(text: &str) -> bool {
    let Some(lines) = text.strip_suffix("\r\n") else {
        return false;
    };
    lines.split("\r\n").all(|line| {
        matches!(line.as_bytes(), [b'a'..=b'z', b'=', _, ..]) && !line.contains(['\r', '\n'])
    })
}

/// RFC 6184, table 5.
fn is_constrained_baseline(profile_level_id: &str) -> bool {
    let Ok(id) = u32::from_str_radix(profile_level_id, 16) else {
        return false;
    };
    let constraints = id >> 8 & 0xff;
    match id >> 16 {
        0x42 => constraints & 0x40 != 0,
        0x4d => constraints & 0x80 != 0,
        0x58 => constraints & 0xc0 == 0xc0,
        _ => false,
    }
}

/// The lines of an SDP, by section.
struct Description<'a> {
    session: Vec<&'a str>,
    media: Vec<Media<'a>>,
}

struct Media<'a> {
    lines: Vec<&'a str>,
}

impl<'a> Description<'a> {
    fn read(text: &'a str) -> Description<'a> {
        let mut description = Description { session: Vec::new(), media: Vec::new() };
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if line.starts_with("m=") {
                description.media.push(Media { lines: Vec::new() });
            }
            match description.media.last_mut() {
                Some(media) => media.lines.push(line),
                None => description.session.push(line),
            }
        }
        description
    }

    /// The mids of each BUNDLE group.
    fn bundles(&self) -> Vec<Vec<&'a str>> {
        let groups = values(&self.session, "group");
        let bundles = groups.filter_map(|group| group.strip_prefix("BUNDLE "));
        bundles.map(|bundle| bundle.split_ascii_whitespace().collect()).collect()
    }

    fn bundled(&self) -> Vec<&'a str> {
        self.bundles().concat()
    }

    /// The values of an attribute at all levels.
    fn every(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let levels = std::iter::once(&self.session).chain(self.media.iter().map(|m| &m.lines));
        levels.flat_map(move |lines| values(lines, name))
    }
}

impl<'a> Media<'a> {
    fn field(&self, index: usize) -> &'a str {
        let first = self.lines[0].strip_prefix("m=").unwrap_or_default();
        first.split_ascii_whitespace().nth(index).unwrap_or_default()
    }

    fn kind(&self) -> &'a str {
        self.field(0)
    }

    fn is_refused(&self) -> bool {
        self.field(1) == "0"
    }

    /// Accepted, and not as `inactive`.
    fn is_used(&self) -> bool {
        !self.is_refused() && self.directions() != ["inactive"]
    }

    fn protocol(&self) -> &'a str {
        self.field(2)
    }

    fn payload_types(&self) -> Vec<u8> {
        let formats = self.lines[0].split_ascii_whitespace().skip(3);
        formats.filter_map(|pt| pt.parse().ok()).filter(|pt| *pt < 128).collect()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        values(&self.lines, name)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.values(name).next()
    }

    fn directions(&self) -> Vec<&'a str> {
        directions(&self.lines)
    }

    /// The rest of the `rtpmap` or `fmtp` lines of a payload type.
    fn of_type(&self, name: &str, payload_type: u8) -> impl Iterator<Item = &'a str> {
        self.values(name).filter_map(move |value| {
            let (pt, rest) = value.split_once(' ')?;
            (pt.parse() == Ok(payload_type)).then_some(rest.trim())
        })
    }

    /// `name/clock rate`, in lower case.
    fn codec(&self, payload_type: u8) -> Option<String> {
        self.of_type("rtpmap", payload_type).next().map(str::to_ascii_lowercase)
    }

    /// The payload types with H.264 in mode 1.
    fn h264_types(&self) -> impl Iterator<Item = u8> {
        self.payload_types().into_iter().filter(|pt| {
            self.codec(*pt).as_deref() == Some("h264/90000")
                && self.parameter(*pt, "packetization-mode").as_deref() == Some("1")
        })
    }

    /// A parameter of a payload type, in lower case.
    fn parameter(&self, payload_type: u8, name: &str) -> Option<String> {
        let mut parameters =
            self.of_type("fmtp", payload_type).flat_map(|fmtp| fmtp.split(';')).map(str::trim);
        parameters.find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
        })
    }

    /// Number and URI of each header extension.
    fn extensions(&self) -> Vec<(u8, &'a str)> {
        let extension = |value: &'a str| {
            let (number, uri) = value.split_once(' ')?;
            let number = number.split('/').next()?.parse().ok()?;
            Some((number, uri.split(' ').next()?))
        };
        self.values("extmap").filter_map(extension).collect()
    }
}

fn values<'a>(lines: &[&'a str], name: &str) -> impl Iterator<Item = &'a str> {
    lines
        .iter()
        .filter_map(move |line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

fn directions<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let names = lines.iter().filter_map(|line| line.strip_prefix("a="));
    names
        .filter(|name| matches!(*name, "recvonly" | "sendonly" | "sendrecv" | "inactive"))
        .collect()
}

fn sdp_of(data: &[u8], outcomes: &mut Outcomes) -> String {
    if data.starts_with(b"v=0") {
        outcomes.insert("raw".to_owned());
        return String::from_utf8_lossy(data).into_owned();
    }
    let Ok(Plan { source, edits }) = Plan::arbitrary_take_rest(Unstructured::new(data)) else {
        return String::new();
    };
    let (shape, text) = match source {
        Source::Built(model) => ("structured", model.render()),
        Source::Recorded(which) => ("recorded", pick(RECORDED, which).to_owned()),
    };
    outcomes.insert(shape.to_owned());
    if edits.is_empty() {
        return text;
    }
    outcomes.insert("noise".to_owned());
    edited(text, &edits, EXTRAS)
}

const MAX_SECTIONS: usize = 5;
const MAX_TYPES: usize = 8;
const MAX_EXTRAS: usize = 6;

/// All of them offer H.264; most of them are small.
const RECORDED: &[&str] = &[
    include_str!("../../tests/offers/chromium-156.sdp"),
    include_str!("../../tests/offers/chromium-156-audio-video.sdp"),
    include_str!("../../tests/offers/chromium-156-everything.sdp"),
    include_str!("../../tests/offers/firefox-openh264.sdp"),
    include_str!("../../tests/offers/safari-ios.sdp"),
    include_str!("../../tests/offers/safari-ios-12.sdp"),
    include_str!("../../tests/offers/aiortc-1.16.sdp"),
    include_str!("../../tests/offers/gstreamer-max-bundle.sdp"),
    include_str!("../../tests/offers/libdatachannel.sdp"),
    include_str!("../../tests/offers/pion.sdp"),
];

/// Numbers are indices into the tables below, so that every input is an offer, and an input of
/// zeros is a valid one.
#[derive(Debug, Arbitrary)]
struct Plan {
    source: Source,
    edits: Vec<Edit>,
}

#[derive(Debug, Arbitrary)]
enum Source {
    Built(Model),
    Recorded(u8),
}

#[derive(Debug, Arbitrary)]
struct Model {
    group: Group,
    /// Bits of [`IDENTITY`]: the attributes at session level.
    shared: u8,
    setup: u8,
    direction: Option<u8>,
    extras: Vec<u8>,
    sections: Vec<Section>,
}

#[derive(Debug, Arbitrary)]
enum Group {
    All,
    /// All but the sections of these bits.
    Some(u8),
    Reversed,
    None,
    Other,
    Two,
}

#[derive(Debug, Arbitrary)]
struct Section {
    kind: Kind,
    port: Port,
    protocol: u8,
    mid: MidForm,
    direction: u8,
    /// Bits of [`IDENTITY`]: the attributes that are missing.
    lacks: u8,
    setup: u8,
    types: Vec<PayloadType>,
    extensions: Vec<(u8, u8)>,
    extras: Vec<u8>,
}

#[derive(Debug, Arbitrary, PartialEq)]
enum Kind {
    Video,
    Audio,
    Application,
    Other,
}

#[derive(Debug, Arbitrary)]
enum Port {
    Nine,
    Zero,
    Other(u16),
}

#[derive(Debug, Arbitrary)]
enum MidForm {
    Index,
    /// The same as the first section's.
    Index0,
    Named(u8),
    Missing,
}

#[derive(Debug, Arbitrary)]
struct PayloadType {
    codec: CodecForm,
    /// 0 stands for the next free number.
    number: u8,
    repaired: bool,
    feedback: u8,
}

#[derive(Debug, Arbitrary)]
enum CodecForm {
    H264 { profile: u8, mode: u8, asymmetry: u8, style: u8 },
    Other(u8),
    Rtx { apt: u8 },
}

const IDENTITY: [&str; 4] = [
    "a=ice-ufrag:uF4gmEnt7",
    "a=ice-pwd:pAssw0rdpAssw0rdpAssw0rd",
    "a=fingerprint:sha-256 A0:A1:A2:A3:A4:A5:A6:A7:A8:A9:AA:AB:AC:AD:AE:AF:\
     B0:B1:B2:B3:B4:B5:B6:B7:B8:B9:BA:BB:BC:BD:BE:BF",
    "a=rtcp-mux",
];
const SETUPS: &[&str] = &["actpass", "active", "passive", "holdconn", ""];
const DIRECTIONS: &[&str] =
    &["recvonly", "sendrecv", "", "sendonly", "inactive", "recvonly\r\na=sendonly"];
const PROTOCOLS: &[&str] =
    &["UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF", "RTP/AVP", "RTP/SAVPF", "DTLS/SCTP"];
const MIDS: &[&str] =
    &["video", "sdparta_0", "video-0", "a.b", "0123456789abcdef", "0123456789abcdefg", "é", "a b"];
const PROFILES: &[&str] = &[
    "42e01f", "42001f", "42c01f", "4d001f", "4d0032", "640c1f", "640034", "58c01f", "f4001f",
    "42E034", "+42e01", "42e0", "zzzzzz", "",
];
const MODES: &[&str] = &["1", "0", "2", "", "01"];
const ASYMMETRIES: &[&str] = &["1", "", "0"];
const CODECS: &[&str] = &[
    "VP8/90000",
    "VP9/90000",
    "AV1/90000",
    "H265/90000",
    "red/90000",
    "ulpfec/90000",
    "flexfec-03/90000",
    "opus/48000/2",
    "PCMU/8000",
    "telephone-event/8000",
    "H264/8000",
    "h264/90000",
    "X-H264UC/90000",
    "H264",
    "red/48000/2",
];
const FEEDBACK: [&str; 7] =
    ["nack", "nack pli", "ccm fir", "goog-remb", "transport-cc", "ack rpsi", "trr-int 100"];
const EXTENSIONS: &[&str] = &[
    "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    "urn:ietf:params:rtp-hdrext:sdes:mid",
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "urn:ietf:params:rtp-hdrext:toffset",
    "urn:3gpp:video-orientation",
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    "urn:ietf:params:rtp-hdrext:encrypt urn:ietf:params:rtp-hdrext:sdes:mid",
    "urn:example:unknown",
];
const EXTRAS: &[&str] = &[
    "a=candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host generation 0 network-id 1",
    "a=candidate:1 1 udp 2122260223 8f0c5a1e-1d5b-4b57-a1f2-0f6c5d9d2a11.local 50000 typ host",
    "a=candidate:2 1 udp 1685987071 198.51.100.7 50000 typ srflx raddr 192.0.2.7 rport 50000",
    "a=candidate:3 1 tcp 1518280447 2001:db8::7 9 typ host tcptype active",
    "a=candidate:4 2 UDP 1 ::1 65536 typ host",
    "a=candidate:",
    "a=end-of-candidates",
    "a=ssrc:1001 cname:c\r\na=ssrc:1001 msid:s t\r\na=ssrc:1002 cname:c\r\na=ssrc-group:FID 1001 1002",
    "a=msid:- {5d0f}",
    "a=rid:h recv\r\na=rid:l recv pt=96\r\na=simulcast:recv h;~l",
    "a=rid:h send\r\na=simulcast:send h",
    "a=simulcast:recv ;",
    "a=bundle-only",
    "a=rtcp-rsize",
    "a=rtcp:9 IN IP4 0.0.0.0",
    "a=extmap-allow-mixed",
    "a=ice-lite",
    "a=ice-options:trickle",
    "a=msid-semantic: WMS *",
    "a=sctp-port:5000\r\na=max-message-size:262144",
    "a=sctpmap:5000 webrtc-datachannel 1024",
    "a=sctp-init:AQAAAA==",
    "a=rtcp-fb:* nack",
    "a=fingerprint:sha-1 00:01",
    "a=setup:active",
    "a=ice-ufrag:other",
    "a=mid:again",
    "a=identity:e30=",
    "a=x-google-flag:conference",
    "b=AS:300",
    "b=TIAS:300000",
    "i=information",
    "k=clear:x",
    "c=IN IP6 ::",
];

impl Model {
    fn render(&self) -> String {
        let mut lines: Vec<String> =
            ["v=0", "o=- 4611731400430051336 2 IN IP4 127.0.0.1", "s=-", "t=0 0"]
                .map(str::to_owned)
                .into();
        let sections = &self.sections[..self.sections.len().min(MAX_SECTIONS)];
        lines.extend(self.group.render(sections));
        lines.extend(identity(self.shared));
        push_value(
            &mut lines,
            "a=setup:",
            if self.setup == 0 { "" } else { pick(SETUPS, self.setup) },
        );
        push_value(&mut lines, "a=", self.direction.map_or("", |which| pick(DIRECTIONS, which)));
        lines.extend(extras(&self.extras));
        for (index, section) in sections.iter().enumerate() {
            section.render(index, &mut lines);
        }
        lines.join("\r\n") + "\r\n"
    }
}

impl Group {
    fn render(&self, sections: &[Section]) -> Vec<String> {
        let named = |bits: u8| {
            let mids = sections.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 0);
            mids.filter_map(|(index, section)| section.mid.render(index)).collect::<Vec<_>>()
        };
        let group = |name: &str, mids: Vec<String>| format!("a=group:{name} {}", mids.join(" "));
        match self {
            Group::All => vec![group("BUNDLE", named(0))],
            Group::Some(without) => vec![group("BUNDLE", named(*without))],
            Group::Reversed => vec![group("BUNDLE", named(0).into_iter().rev().collect())],
            Group::None => Vec::new(),
            Group::Other => vec![group("LS", named(0))],
            Group::Two => vec![group("LS", named(0)), group("BUNDLE", named(0))],
        }
    }
}

impl MidForm {
    fn render(&self, index: usize) -> Option<String> {
        match self {
            MidForm::Index => Some(index.to_string()),
            MidForm::Index0 => Some("0".to_owned()),
            MidForm::Named(which) => Some(pick(MIDS, *which).to_owned()),
            MidForm::Missing => None,
        }
    }
}

impl Section {
    fn render(&self, index: usize, lines: &mut Vec<String>) {
        let (kind, proto) = match self.kind {
            Kind::Video => ("video", pick(PROTOCOLS, self.protocol)),
            Kind::Audio => ("audio", pick(PROTOCOLS, self.protocol)),
            Kind::Application => ("application", "UDP/DTLS/SCTP"),
            Kind::Other => ("text", pick(PROTOCOLS, self.protocol)),
        };
        let port = match self.port {
            Port::Nine => 9,
            Port::Zero => 0,
            Port::Other(port) => port,
        };
        let mut formats = Vec::new();
        let mut details = Vec::new();
        if self.kind == Kind::Application {
            formats.push("webrtc-datachannel".to_owned());
        } else {
            self.render_types(&mut formats, &mut details);
        }
        lines.push(format!("m={kind} {port} {proto} {}", formats.join(" ")));
        lines.push("c=IN IP4 0.0.0.0".to_owned());
        lines.extend(extras(&self.extras));
        lines.extend(identity(!self.lacks));
        push_value(lines, "a=setup:", pick(SETUPS, self.setup));
        push_value(lines, "a=mid:", &self.mid.render(index).unwrap_or_default());
        if self.kind != Kind::Application {
            push_value(lines, "a=", pick(DIRECTIONS, self.direction));
        }
        for (number, uri) in self.extensions.iter().take(MAX_TYPES) {
            let direction = if number & 0x80 == 0 { "" } else { "/recvonly" };
            lines.push(format!("a=extmap:{}{direction} {}", number & 0x1f, pick(EXTENSIONS, *uri)));
        }
        lines.append(&mut details);
    }

    /// At least one codec: H.264 as browsers offer it, or Opus.
    fn render_types(&self, formats: &mut Vec<String>, details: &mut Vec<String>) {
        let codec = match self.kind {
            Kind::Audio => CodecForm::Other(7),
            _ => CodecForm::H264 { profile: 0, mode: 0, asymmetry: 0, style: 0 },
        };
        let usual = [PayloadType { codec, number: 0, repaired: true, feedback: 0b111 }];
        let types = if self.types.is_empty() { &usual[..] } else { &self.types[..] };
        for (index, payload_type) in types.iter().take(MAX_TYPES).enumerate() {
            let number = match payload_type.number {
                0 => 96 + 2 * index as u8,
                number => number,
            };
            payload_type.render(number, formats, details);
        }
    }
}

impl PayloadType {
    fn render(&self, number: u8, formats: &mut Vec<String>, details: &mut Vec<String>) {
        formats.push(number.to_string());
        let (name, parameters) = match &self.codec {
            CodecForm::H264 { profile, mode, asymmetry, style } => (
                "H264/90000",
                h264_parameters(
                    [pick(ASYMMETRIES, *asymmetry), pick(MODES, *mode), pick(PROFILES, *profile)],
                    *style,
                ),
            ),
            CodecForm::Other(which) => (pick(CODECS, *which), String::new()),
            CodecForm::Rtx { apt } => ("rtx/90000", format!("apt={apt}")),
        };
        details.push(format!("a=rtpmap:{number} {name}"));
        let feedback = FEEDBACK.iter().enumerate().filter(|(bit, _)| self.feedback >> bit & 1 != 0);
        details.extend(feedback.map(|(_, kind)| format!("a=rtcp-fb:{number} {kind}")));
        push_value(details, &format!("a=fmtp:{number} "), &parameters);
        if self.repaired {
            let rtx = number.wrapping_add(1);
            formats.push(rtx.to_string());
            details.push(format!("a=rtpmap:{rtx} rtx/90000"));
            details.push(format!("a=fmtp:{rtx} apt={number}"));
        }
    }
}

/// The parameters that have a value, in an order and a spelling that are in use.
fn h264_parameters(values: [&str; 3], style: u8) -> String {
    let names = ["level-asymmetry-allowed", "packetization-mode", "profile-level-id"];
    let mut parameters: Vec<String> = names
        .iter()
        .zip(values)
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if style & 1 != 0 {
        parameters.reverse();
    }
    if style & 2 != 0 {
        parameters.push("max-fs=12288".to_owned());
    }
    let between = if style & 4 != 0 { "; " } else { ";" };
    let end = if style & 8 != 0 { ";" } else { "" };
    parameters.join(between) + end
}

fn identity(bits: u8) -> impl Iterator<Item = String> {
    let set = IDENTITY.into_iter().enumerate().filter(move |(bit, _)| bits >> bit & 1 != 0);
    set.map(|(_, line)| line.to_owned())
}

fn extras(which: &[u8]) -> impl Iterator<Item = String> {
    which.iter().take(MAX_EXTRAS).map(|which| pick(EXTRAS, *which).to_owned())
}

/// Nothing for an empty value.
fn push_value(lines: &mut Vec<String>, name: &str, value: &str) {
    if !value.is_empty() {
        lines.push(format!("{name}{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All zeros except the flag that there is a section.
    const ONE_VIDEO: [u8; 13] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    #[test]
    fn an_offer_of_zeros_is_valid() {
        let outcomes = run(&ONE_VIDEO);
        assert!(outcomes.contains("answered with rtx"), "{outcomes:?}");
        assert!(outcomes.contains("structured"), "{outcomes:?}");
    }

    #[test]
    fn recorded_offers_are_answered() {
        for offer in RECORDED {
            let outcomes = run(offer.as_bytes());
            assert!(outcomes.contains("answered"), "{outcomes:?}\n{offer}");
        }
    }
}
