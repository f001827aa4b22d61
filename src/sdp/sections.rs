//! An SDP by its sections and their lines (RFC 8866), and what they say of the video.

use std::ops::RangeInclusive;

use str0m::IceCreds;

use super::error::{OfferError, lacks, unreadable};
use super::h264_profile::{DEFAULT_PROFILE_LEVEL_ID, H264, PROFILES, profile_rank};
use super::ice::{PASSWORD_BYTES, UFRAG_BYTES, is_ice_text};
use crate::media::Codec;

/// The repair that we know: resending, and a new key frame (RFC 4585, section 4.2; RFC 5104).
const FEEDBACK: [&str; 3] = ["ccm fir", "nack", "nack pli"];
pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

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

/// An offer by its lines.
pub(super) struct Description<'a> {
    pub session: SdpSection<'a>,
    /// From one `m=` to the next.
    pub sections: Vec<SdpSection<'a>>,
}

/// The lines of a section: the session's, or an m-line and what follows it.
#[derive(Default)]
pub(super) struct SdpSection<'a> {
    lines: Vec<&'a str>,
}

impl<'a> Description<'a> {
    pub fn read(sdp: &'a str) -> Result<Description<'a>, OfferError> {
        let malformed = |what: &str| Err(OfferError::Malformed(what.into()));
        let mut lines = sdp.lines().map(str::trim_end).filter(|line| !line.is_empty());
        if lines.next() != Some("v=0") {
            return malformed("it does not begin with v=0");
        }
        let (mut session, mut sections) = (SdpSection::default(), Vec::<SdpSection>::new());
        for line in lines {
            if line.contains(|c: char| c.is_control() && c != '\t') {
                return malformed("there is a control character in a line");
            }
            if line.starts_with("m=") {
                if line.split_ascii_whitespace().count() < 4 {
                    return malformed("a line m= has fewer than four parts");
                }
                sections.push(SdpSection::default());
            }
            sections.last_mut().unwrap_or(&mut session).lines.push(line);
        }
        let mut mids: Vec<&str> = sections.iter().filter_map(SdpSection::mid).collect();
        mids.sort_unstable();
        if mids.windows(2).any(|pair| pair[0] == pair[1]) {
            return malformed("two m-lines have the same a=mid");
        }
        Ok(Description { session, sections })
    }

    /// The mids in the BUNDLE group that this one is in.
    pub fn bundle_of(&self, mid: &str) -> Vec<&'a str> {
        let groups = self.session.values("group").filter_map(|group| group.strip_prefix("BUNDLE "));
        let mut groups = groups.map(|mids| mids.split_ascii_whitespace().collect::<Vec<_>>());
        groups.find(|mids| mids.contains(&mid)).unwrap_or_default()
    }

    /// Port 0, but where another section's port is used (RFC 9143, section 6).
    pub fn is_refused(&self, lines: &SdpSection) -> bool {
        let bundled = lines.mid().is_some_and(|mid| !self.bundle_of(mid).is_empty());
        lines.field(1) == "0" && !(bundled && lines.has("bundle-only"))
    }

    pub fn section(&self, lines: &SdpSection) -> Section {
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
    pub fn peer(&self, video: &SdpSection<'a>, bundle: &[&str]) -> Result<Peer, OfferError> {
        let bundled =
            self.sections.iter().filter(|s| s.mid().is_some_and(|mid| bundle.contains(&mid)));
        let levels: Vec<&SdpSection> = [video, &self.session].into_iter().chain(bundled).collect();
        if !levels.iter().any(|lines| lines.has("rtcp-mux")) {
            return Err(lacks("rtcp-mux"));
        }
        let value = |name| {
            let value = levels.iter().find_map(|lines| lines.sha256_or_first(name));
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

impl<'a> SdpSection<'a> {
    /// The fields of the m-line.
    fn field(&self, index: usize) -> &'a str {
        let first = self.lines.first().and_then(|line| line.strip_prefix("m=")).unwrap_or_default();
        first.split_ascii_whitespace().nth(index).unwrap_or_default()
    }

    pub fn is_video(&self) -> bool {
        let secure = ["RTP/SAVPF", "RTP/SAVP"].iter().any(|known| self.field(2).ends_with(known));
        self.field(0) == "video" && secure
    }

    /// The user name and number of the session's `o=`, no longer than those of any browser.
    pub fn origin(&self) -> &'a str {
        let origin = self.lines.iter().find_map(|line| line.strip_prefix("o=")).unwrap_or_default();
        let parts = origin.match_indices(' ').nth(1).map_or(origin, |(end, _)| &origin[..end]);
        parts.get(..64).unwrap_or(parts)
    }

    /// Whether there is `a=name`.
    pub fn has(&self, name: &str) -> bool {
        self.lines.iter().any(|line| line.strip_prefix("a=") == Some(name))
    }

    /// The values of each `a=name:value`.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter_map(move |line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// The value of an attribute; of several fingerprints the one that everybody can check.
    fn sha256_or_first(&self, name: &str) -> Option<&'a str> {
        self.values(name).find(|value| value.starts_with("sha-256 ")).or(self.value(name))
    }

    /// What is no token names nothing (RFC 5888, section 4).
    pub fn mid(&self) -> Option<&'a str> {
        self.value("mid").filter(|mid| !mid.is_empty() && mid.bytes().all(|b| b.is_ascii_graphic()))
    }

    pub fn direction(&self) -> Option<&'a str> {
        let names = self.lines.iter().filter_map(|line| line.strip_prefix("a="));
        let is_direction =
            |name: &&str| matches!(*name, "recvonly" | "sendonly" | "sendrecv" | "inactive");
        names.into_iter().find(is_direction)
    }

    /// The payload types of the m-line, in the order of preference that the offer gives them.
    fn payload_types(&self) -> impl Iterator<Item = u8> {
        let formats = self.lines[0].split_ascii_whitespace().skip(3);
        formats.filter_map(|pt| pt.parse().ok()).filter(|pt| *pt < 128)
    }

    /// What rtpmap, fmtp or rtcp-fb says of a payload type.
    fn attribute_for(&self, name: &'static str, payload_type: u8) -> impl Iterator<Item = &'a str> {
        self.values(name).filter_map(move |value| {
            let (pt, rest) = value.split_once(' ')?;
            (pt.parse() == Ok(payload_type)).then_some(rest.trim())
        })
    }

    /// Name and clock rate.
    fn codec(&self, payload_type: u8) -> Option<(&'a str, &'a str)> {
        self.attribute_for("rtpmap", payload_type).next()?.split_once('/')
    }

    fn is_codec(&self, payload_type: u8, name: &str) -> bool {
        self.codec(payload_type)
            .is_some_and(|(codec, clock)| codec.eq_ignore_ascii_case(name) && clock == "90000")
    }

    /// A parameter of a payload type's fmtp, `name=value;…`.
    fn parameter(&self, payload_type: u8, name: &str) -> Option<&'a str> {
        self.attribute_for("fmtp", payload_type)
            .flat_map(|fmtp| fmtp.split(';'))
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    pub fn codec_names(&self) -> Vec<String> {
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
    pub fn best_format(&self, codec: Codec) -> Option<Format> {
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

    pub fn feedback(&self, payload_type: u8) -> Vec<&'static str> {
        let offers = |kind: &&str| {
            let for_all = format!("* {kind}");
            self.attribute_for("rtcp-fb", payload_type).any(|offered| offered == *kind)
                || self.values("rtcp-fb").any(|offered| offered == for_all)
        };
        FEEDBACK.into_iter().filter(offers).collect()
    }

    pub fn playout_delay(&self) -> Option<Extension> {
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
