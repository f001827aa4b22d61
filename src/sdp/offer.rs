//! An SDP offer (RFC 8866, RFC 8829) read with our own needs in mind.
//!
//! An [`Offer`] that exists is one that we can answer with video: it has one payload type for it,
//! chosen by value, and a [`Peer`] to reach. What else the browser wrote is left behind: other
//! codecs, candidates (`.local` names or a stranger's address; the browser's checks teach us where
//! it is), and feedback for a bandwidth estimation that we do not do.

use std::fmt;
use std::ops::RangeInclusive;

use str0m::IceCreds;

use crate::media::Codec;

/// An offer that asks for video in a form that we have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub connection: Connection,
    pub format: Format,
    /// Each m-line, in order.
    pub sections: Vec<Section>,
    /// Which of them gets the video.
    pub chosen: usize,
    /// The mids that share one transport with the video, in order; empty where there is no BUNDLE
    /// (RFC 9143).
    pub bundle: Vec<String>,
    /// Header extensions may be of either kind in one stream (RFC 8285, section 6).
    pub mixes_extensions: bool,
    pub peer: Peer,
    /// Of [`FEEDBACK`], what is offered.
    pub feedback: Vec<&'static str>,
    /// The header extension `playout-delay`.
    pub playout_delay: Option<Extension>,
}

/// What stays the same in all offers of one RTCPeerConnection: the name of its session (RFC 8829,
/// section 5.2.1), and its certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    session: String,
    fingerprint: [u8; 32],
}

/// Who is at the other end of the transport, and how it is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub credentials: IceCreds,
    pub ice_lite: bool,
    /// SHA-256 of its certificate.
    pub fingerprint: [u8; 32],
    pub setup: Setup,
}

/// Which end of DTLS the peer wants to be (RFC 8842, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// The client, or either: we are the server.
    Active,
    /// The server.
    Passive,
}

/// What an answer has to repeat of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `audio`, `video`, `application` or another.
    pub media: String,
    pub protocol: String,
    /// The first of its formats.
    pub format: String,
    pub mid: Option<String>,
    /// What that format is.
    pub rtpmap: Option<String>,
    /// The offer itself has given it up: port 0, and not because another's port is used.
    pub refused: bool,
}

/// A payload type of an offer, in a codec of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub codec: Codec,
    pub payload_type: u8,
    /// The payload type that retransmissions of it use (RFC 4588).
    pub rtx: Option<u8>,
    /// What the answer says of it in a=fmtp.
    pub parameters: Option<String>,
}

/// A header extension of an offer (RFC 8285).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    pub number: u8,
    /// The offer says which way it goes, so the answer has to (section 7).
    pub directed: bool,
}

/// Why there is no video for an offer. The text is for the person who wrote the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferError {
    /// Not an SDP at all, or one without something that every WebRTC offer has.
    Malformed(String),
    NoVideo,
    /// The offer has video, but does not ask to receive any.
    NotReceiving,
    /// Video in these codecs only, none of which is ours.
    NoCodec(Vec<String>),
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OfferError::Malformed(what) => {
                write!(f, "The sdp field is not an offer that can be answered: {what}.")
            }
            OfferError::NoVideo => f.write_str(
                "The offer has no video. Call pc.addTransceiver('video', \
                 {direction: 'recvonly'}) before createOffer().",
            ),
            OfferError::NotReceiving => f.write_str(
                "The offer's video is sendonly or inactive, so there is nothing to send to. \
                 Use the direction recvonly.",
            ),
            OfferError::NoCodec(offered) => write!(
                f,
                "The browser offers video as {}, and this server has H.264 \
                 (packetization-mode 1) and VP8. Use Chrome, Edge, Firefox or Safari with their \
                 usual settings.",
                if offered.is_empty() { "no codec at all".to_owned() } else { offered.join(", ") },
            ),
        }
    }
}

impl Offer {
    pub fn parse(sdp: &str) -> Result<Offer, OfferError> {
        let description = Description::read(sdp)?;
        let Description { session, sections } = &description;
        let is_video = |lines: &Lines| lines.is_video() && !description.is_refused(lines);
        let videos = || sections.iter().filter(|lines| is_video(lines));
        if videos().next().is_none() {
            return Err(OfferError::NoVideo);
        }
        let of_session = session.direction().unwrap_or("sendrecv");
        let receives = |lines: &Lines| {
            matches!(lines.direction().unwrap_or(of_session), "recvonly" | "sendrecv")
        };
        if !videos().any(&receives) {
            return Err(OfferError::NotReceiving);
        }
        let numbered = sections.iter().enumerate();
        let wanted: Vec<(usize, &Lines)> =
            numbered.filter(|(_, lines)| is_video(lines) && receives(lines)).collect();
        let best = |codec| {
            let mut found = wanted.iter();
            found.find_map(|(index, lines)| Some((*index, lines.best_format(codec)?)))
        };
        let Some((chosen, format)) = Codec::ALL.into_iter().find_map(best) else {
            let mut names: Vec<String> = videos().flat_map(Lines::codec_names).collect();
            names.dedup();
            return Err(OfferError::NoCodec(names));
        };
        let video = &sections[chosen];
        let mid = video.mid().ok_or_else(|| lacks("mid"))?;
        let bundle = description.bundle_of(mid);
        let peer = description.peer(video, &bundle)?;
        Ok(Offer {
            connection: Connection {
                session: session.origin().to_owned(),
                fingerprint: peer.fingerprint,
            },
            sections: sections.iter().map(|lines| description.section(lines)).collect(),
            chosen,
            mixes_extensions: session.has("extmap-allow-mixed") || video.has("extmap-allow-mixed"),
            peer,
            feedback: video.feedback(format.payload_type),
            playout_delay: video.playout_delay(),
            bundle: bundle.into_iter().map(str::to_owned).collect(),
            format,
        })
    }

    /// The section that gets the video.
    pub fn video(&self) -> &Section {
        &self.sections[self.chosen]
    }
}

/// The repair that we know: resending, and a new key frame (RFC 4585, section 4.2; RFC 5104).
pub const FEEDBACK: [&str; 3] = ["ccm fir", "nack", "nack pli"];
pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

fn lacks(attribute: &str) -> OfferError {
    OfferError::Malformed(format!("its m=video has no a={attribute}"))
}

fn unreadable(attribute: &str) -> OfferError {
    OfferError::Malformed(format!("its m=video has no a={attribute} that can be read"))
}

/// An offer by its lines.
struct Description<'a> {
    session: Lines<'a>,
    /// From one `m=` to the next.
    sections: Vec<Lines<'a>>,
}

struct Lines<'a>(Vec<&'a str>);

impl<'a> Description<'a> {
    fn read(sdp: &'a str) -> Result<Description<'a>, OfferError> {
        let malformed = |what: &str| Err(OfferError::Malformed(what.into()));
        let mut lines = sdp.lines().map(str::trim_end).filter(|line| !line.is_empty());
        if lines.next() != Some("v=0") {
            return malformed("it does not begin with v=0");
        }
        let (mut session, mut sections) = (Lines(Vec::new()), Vec::<Lines>::new());
        for line in lines {
            if line.contains(|c: char| c.is_control() && c != '\t') {
                return malformed("there is a control character in a line");
            }
            if line.starts_with("m=") {
                if line.split_ascii_whitespace().count() < 4 {
                    return malformed("a line m= has fewer than four parts");
                }
                sections.push(Lines(Vec::new()));
            }
            sections.last_mut().unwrap_or(&mut session).0.push(line);
        }
        let mut mids: Vec<&str> = sections.iter().filter_map(Lines::mid).collect();
        mids.sort_unstable();
        if mids.windows(2).any(|pair| pair[0] == pair[1]) {
            return malformed("two m-lines have the same a=mid");
        }
        Ok(Description { session, sections })
    }

    /// The mids in the BUNDLE group that this one is in.
    fn bundle_of(&self, mid: &str) -> Vec<&'a str> {
        let groups = self.session.values("group").filter_map(|group| group.strip_prefix("BUNDLE "));
        let mut groups = groups.map(|mids| mids.split_ascii_whitespace().collect::<Vec<_>>());
        groups.find(|mids| mids.contains(&mid)).unwrap_or_default()
    }

    /// Port 0, but where another section's port is used (RFC 9143, section 6).
    fn is_refused(&self, lines: &Lines) -> bool {
        let bundled = lines.mid().is_some_and(|mid| !self.bundle_of(mid).is_empty());
        lines.field(1) == "0" && !(bundled && lines.has("bundle-only"))
    }

    fn section(&self, lines: &Lines) -> Section {
        let format = lines.field(3);
        let of_first = |rtpmap: &&str| rtpmap.split_once(' ').is_some_and(|(of, _)| of == format);
        Section {
            media: lines.field(0).to_owned(),
            protocol: lines.field(2).to_owned(),
            mid: lines.mid().map(str::to_owned),
            rtpmap: lines.values("rtpmap").find(of_first).map(str::to_owned),
            refused: self.is_refused(lines),
            format: format.to_owned(),
        }
    }

    /// Who is at the end of the video's transport: by the section's own lines, the session's, or
    /// those of a section that shares it.
    fn peer(&self, video: &Lines<'a>, bundle: &[&str]) -> Result<Peer, OfferError> {
        let bundled =
            self.sections.iter().filter(|s| s.mid().is_some_and(|mid| bundle.contains(&mid)));
        let levels: Vec<&Lines> = [video, &self.session].into_iter().chain(bundled).collect();
        if !levels.iter().any(|lines| lines.has("rtcp-mux")) {
            return Err(lacks("rtcp-mux"));
        }
        let value = |name| {
            let value = levels.iter().find_map(|lines| lines.strongest(name));
            value.ok_or_else(|| lacks(name))
        };
        let credential = |name, lengths: RangeInclusive<usize>| {
            let text = value(name)?;
            is_ice_text(text, lengths).then(|| text.to_owned()).ok_or_else(|| unreadable(name))
        };
        let fingerprint = value("fingerprint")?.strip_prefix("sha-256 ");
        Ok(Peer {
            credentials: IceCreds {
                ufrag: credential("ice-ufrag", UFRAG_BYTES)?,
                pass: credential("ice-pwd", PASSWORD_BYTES)?,
            },
            ice_lite: self.session.has("ice-lite"),
            fingerprint: fingerprint
                .and_then(hash_of)
                .ok_or_else(|| unreadable("fingerprint:sha-256"))?,
            setup: match value("setup")? {
                "actpass" | "active" => Setup::Active,
                "passive" => Setup::Passive,
                _ => return Err(unreadable("setup")),
            },
        })
    }
}

/// How long ICE's user fragments and passwords are (RFC 8839, section 5.4).
pub const UFRAG_BYTES: RangeInclusive<usize> = 4..=256;
pub const PASSWORD_BYTES: RangeInclusive<usize> = 22..=256;

/// Whether a text is as long as it may be, and of ICE's characters only.
pub fn is_ice_text(text: &str, lengths: RangeInclusive<usize>) -> bool {
    let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    lengths.contains(&text.len()) && text.bytes().all(is_ice_char)
}

/// Bytes in hexadecimal, with colons between them (RFC 8122, section 5).
fn hash_of(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let mut parts = text.trim().split(':');
    for byte in &mut hash {
        let part = parts.next().filter(|part| part.len() == 2)?;
        let digits = part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| digits)?;
    }
    parts.next().is_none().then_some(hash)
}

impl<'a> Lines<'a> {
    /// The fields of the m-line.
    fn field(&self, index: usize) -> &'a str {
        let first = self.0.first().and_then(|line| line.strip_prefix("m=")).unwrap_or_default();
        first.split_ascii_whitespace().nth(index).unwrap_or_default()
    }

    fn is_video(&self) -> bool {
        let secure = ["RTP/SAVPF", "RTP/SAVP"].iter().any(|known| self.field(2).ends_with(known));
        self.field(0) == "video" && secure
    }

    /// The user name and number of the session's `o=`, no longer than those of any browser.
    fn origin(&self) -> &'a str {
        let origin = self.0.iter().find_map(|line| line.strip_prefix("o=")).unwrap_or_default();
        let parts = origin.match_indices(' ').nth(1).map_or(origin, |(end, _)| &origin[..end]);
        parts.get(..64).unwrap_or(parts)
    }

    /// Whether there is `a=name`.
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|line| line.strip_prefix("a=") == Some(name))
    }

    /// The values of each `a=name:value`.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter_map(move |line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// The value of an attribute; of several fingerprints the one that everybody can check.
    fn strongest(&self, name: &str) -> Option<&'a str> {
        self.values(name).find(|value| value.starts_with("sha-256 ")).or(self.value(name))
    }

    /// What is no token names nothing (RFC 5888, section 4).
    fn mid(&self) -> Option<&'a str> {
        self.value("mid").filter(|mid| !mid.is_empty() && mid.bytes().all(|b| b.is_ascii_graphic()))
    }

    fn direction(&self) -> Option<&'a str> {
        let names = self.0.iter().filter_map(|line| line.strip_prefix("a="));
        let is_direction =
            |name: &&str| matches!(*name, "recvonly" | "sendonly" | "sendrecv" | "inactive");
        names.into_iter().find(is_direction)
    }

    /// The payload types of the m-line, in the order of preference that the offer gives them.
    fn payload_types(&self) -> impl Iterator<Item = u8> {
        let formats = self.0[0].split_ascii_whitespace().skip(3);
        formats.filter_map(|pt| pt.parse().ok()).filter(|pt| *pt < 128)
    }

    /// What rtpmap, fmtp or rtcp-fb says of a payload type.
    fn of_type(&self, name: &'static str, payload_type: u8) -> impl Iterator<Item = &'a str> {
        self.values(name).filter_map(move |value| {
            let (pt, rest) = value.split_once(' ')?;
            (pt.parse() == Ok(payload_type)).then_some(rest.trim())
        })
    }

    /// Name and clock rate.
    fn codec(&self, payload_type: u8) -> Option<(&'a str, &'a str)> {
        self.of_type("rtpmap", payload_type).next()?.split_once('/')
    }

    fn is_codec(&self, payload_type: u8, name: &str) -> bool {
        self.codec(payload_type)
            .is_some_and(|(codec, clock)| codec.eq_ignore_ascii_case(name) && clock == "90000")
    }

    /// A parameter of a payload type's fmtp, `name=value;…`.
    fn parameter(&self, payload_type: u8, name: &str) -> Option<&'a str> {
        self.of_type("fmtp", payload_type)
            .flat_map(|fmtp| fmtp.split(';'))
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    fn codec_names(&self) -> Vec<String> {
        const REPAIR: [&str; 4] = ["rtx", "red", "ulpfec", "flexfec-03"];
        let mut names: Vec<String> = Vec::new();
        for (name, _) in self.payload_types().filter_map(|pt| self.codec(pt)) {
            let repair = REPAIR.iter().any(|known| name.eq_ignore_ascii_case(known));
            // A sentence will have it: nothing but a name, and no long one.
            let is_name = name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_graphic());
            if is_name && !repair && !names.iter().any(|seen| seen == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// The best of a codec that the section offers; the first of equals, as the offer prefers it.
    fn best_format(&self, codec: Codec) -> Option<Format> {
        let payload_types = || self.payload_types().filter(|pt| self.is_codec(*pt, codec.name()));
        let (payload_type, parameters) = match codec {
            Codec::H264 => {
                let h264 = payload_types().filter_map(|pt| Some((pt, self.h264(pt)?)));
                let (payload_type, h264) =
                    h264.min_by_key(|(_, h264)| profile_rank(h264.profile_level_id))?;
                (payload_type, Some(h264.to_string()))
            }
            Codec::Vp8 => (payload_types().next()?, None),
        };
        let rtx = self.payload_types().find(|pt| {
            let repairs = || self.parameter(*pt, "apt")?.parse::<u8>().ok();
            *pt != payload_type && self.is_codec(*pt, "rtx") && repairs() == Some(payload_type)
        });
        Some(Format { codec, payload_type, rtx, parameters })
    }

    fn h264(&self, payload_type: u8) -> Option<H264> {
        if self.parameter(payload_type, "packetization-mode") != Some("1") {
            return None;
        }
        let profile_level_id = match self.parameter(payload_type, "profile-level-id") {
            Some(id) if id.len() == 6 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u32::from_str_radix(id, 16).ok()?
            }
            Some(_) => return None,
            None => DEFAULT_PROFILE_LEVEL_ID,
        };
        let asymmetry = self.parameter(payload_type, "level-asymmetry-allowed");
        let level_asymmetry_allowed = asymmetry == Some("1");
        let known = PROFILES.contains(&(profile_level_id >> 16));
        known.then_some(H264 { profile_level_id, level_asymmetry_allowed })
    }

    fn feedback(&self, payload_type: u8) -> Vec<&'static str> {
        let offers = |kind: &&str| {
            let for_all = format!("* {kind}");
            self.of_type("rtcp-fb", payload_type).any(|offered| offered == *kind)
                || self.values("rtcp-fb").any(|offered| offered == for_all)
        };
        FEEDBACK.into_iter().filter(offers).collect()
    }

    fn playout_delay(&self) -> Option<Extension> {
        let extensions = self.values("extmap").filter_map(|extmap| extmap.split_once(' '));
        let mut wanted = extensions.filter(|(_, uri)| *uri == PLAYOUT_DELAY);
        let (number, direction) = wanted.find_map(|(number, _)| {
            let (number, direction) = number.split_once('/').unwrap_or((number, "sendrecv"));
            Some((number.parse().ok()?, direction))
        })?;
        let receives = matches!(direction, "recvonly" | "sendrecv");
        // The numbers of one-byte headers (RFC 8285, section 4.2).
        let extension = Extension { number, directed: direction == "recvonly" };
        (receives && (1..=14).contains(&number)).then_some(extension)
    }
}

/// H.264 in packetization-mode 1 (RFC 6184, section 8.1), as an offer and its answer describe it.
struct H264 {
    profile_level_id: u32,
    level_asymmetry_allowed: bool,
}

impl fmt::Display for H264 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.level_asymmetry_allowed {
            f.write_str("level-asymmetry-allowed=1;")?;
        }
        write!(f, "packetization-mode=1;profile-level-id={:06x}", self.profile_level_id)
    }
}

/// What a missing profile-level-id means: baseline, level 1 (RFC 6184, section 8.1).
const DEFAULT_PROFILE_LEVEL_ID: u32 = 0x42_00_0a;

/// The profiles whose decoders read constrained baseline: baseline, main, extended, high, high 10,
/// high 4:2:2 and high 4:4:4 (ITU-T H.264, A.2).
const PROFILES: [u32; 7] = [0x42, 0x4d, 0x58, 0x64, 0x6e, 0x7a, 0xf4];

/// We send constrained baseline, which every profile's decoder reads: the nearest comes first.
/// The bits are those of RFC 6184, table 5.
fn profile_rank(profile_level_id: u32) -> u8 {
    let profile_idc = profile_level_id >> 16;
    let constraint = |bit: u32| profile_level_id >> 8 & (0x80 >> bit) != 0;
    let constrained_baseline = match profile_idc {
        0x42 => constraint(1),
        0x4d => constraint(0),
        0x58 => constraint(0) && constraint(1),
        _ => false,
    };
    let baseline = profile_idc == 0x42 || profile_idc == 0x58 && constraint(0);
    match (constrained_baseline, baseline) {
        (true, _) => 0,
        (_, true) => 1,
        _ => 2,
    }
}
