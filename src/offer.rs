//! An SDP offer (RFC 8866, RFC 8829) read with our own needs in mind, before str0m sees it.
//!
//! An [`Offer`] that exists is one that we can answer with video: it names one H.264 payload type,
//! chosen by value, and carries an SDP reduced to what we answer. Everything that does not concern
//! us is gone from it: other codecs, candidates (`.local` names or a stranger's address; the
//! browser's checks teach us where it is), feedback that a stream without bandwidth estimation does
//! not use, and every second `m=video`.

use std::fmt;

/// An offer that asks for video in a form that we have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The reduced SDP: one m-line for each of the original's.
    pub sdp: String,
    /// `a=mid` of the m-line that gets the video.
    pub mid: String,
    pub h264: H264,
}

/// An H.264 payload type of an offer, packetization-mode 1 (RFC 6184, section 8.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct H264 {
    pub payload_type: u8,
    /// The payload type that retransmissions of it use (RFC 4588).
    pub rtx: Option<u8>,
    pub profile_level_id: u32,
    pub level_asymmetry_allowed: bool,
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
                "The browser offers video as {}, and this server has H.264 only \
                 (packetization-mode 1). Use Chrome, Edge or Safari; in Firefox install the \
                 OpenH264 plug-in under about:addons, which needs the internet once.",
                if offered.is_empty() { "no codec at all".to_owned() } else { offered.join(", ") },
            ),
        }
    }
}

impl Offer {
    pub fn parse(sdp: &str) -> Result<Offer, OfferError> {
        let (session, sections) = split(sdp)?;
        let videos = || {
            let numbered = sections.iter().enumerate();
            numbered.filter(|(_, section)| section.is_video())
        };
        if videos().next().is_none() {
            return Err(OfferError::NoVideo);
        }
        let session_direction = direction(&session).unwrap_or("sendrecv");
        let receives = |section: &Section| {
            matches!(section.direction(session_direction), "recvonly" | "sendrecv")
        };
        if !videos().any(|(_, section)| receives(section)) {
            return Err(OfferError::NotReceiving);
        }
        let chosen = videos()
            .filter(|(_, section)| receives(section))
            .find_map(|(index, section)| Some((index, section.best_h264()?)));
        let Some((index, h264)) = chosen else {
            let mut names: Vec<String> = videos().flat_map(|(_, s)| s.codec_names()).collect();
            names.dedup();
            return Err(OfferError::NoCodec(names));
        };
        for required in ["ice-ufrag", "ice-pwd", "fingerprint"] {
            let of_section = sections[index].attribute(required);
            if of_section.or(attribute(&session, required)).is_none() {
                return Err(OfferError::Malformed(format!("its m=video has no a={required}")));
            }
        }
        let mid = sections[index]
            .attribute("mid")
            .ok_or_else(|| OfferError::Malformed("its m=video has no a=mid".into()))?
            .to_owned();
        Ok(Offer { sdp: reduce(&session, &sections, index, &h264), mid, h264 })
    }
}

/// The lines from one `m=` to the next.
struct Section<'a> {
    lines: Vec<&'a str>,
}

/// The session's own lines and the media sections.
fn split(sdp: &str) -> Result<(Vec<&str>, Vec<Section<'_>>), OfferError> {
    let mut lines = sdp.lines().map(str::trim_end).filter(|l| !l.is_empty());
    if lines.next() != Some("v=0") {
        return Err(OfferError::Malformed("it does not begin with v=0".into()));
    }
    let mut session = vec!["v=0"];
    let mut sections: Vec<Section> = Vec::new();
    for line in lines {
        if line.starts_with("m=") {
            sections.push(Section { lines: Vec::new() });
        }
        match sections.last_mut() {
            Some(section) => section.lines.push(line),
            None => session.push(line),
        }
    }
    Ok((session, sections))
}

/// The value of `a=name:value`.
fn attribute<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| value_of(line, name))
}

fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':')
}

fn direction<'a>(lines: &[&'a str]) -> Option<&'a str> {
    lines.iter().copied().filter_map(as_direction).next()
}

fn as_direction(line: &str) -> Option<&str> {
    let name = line.strip_prefix("a=")?;
    matches!(name, "recvonly" | "sendonly" | "sendrecv" | "inactive").then_some(name)
}

/// `<payload type> <rest>`, as in rtpmap, fmtp and rtcp-fb.
fn typed(value: &str) -> Option<(u8, &str)> {
    let (payload_type, rest) = value.split_once(' ')?;
    Some((payload_type.parse().ok()?, rest.trim()))
}

impl<'a> Section<'a> {
    fn is_video(&self) -> bool {
        self.lines[0].starts_with("m=video ")
    }

    fn attribute(&self, name: &str) -> Option<&'a str> {
        attribute(&self.lines, name)
    }

    fn direction(&self, of_session: &'a str) -> &'a str {
        direction(&self.lines).unwrap_or(of_session)
    }

    /// The payload types of the m-line, in the order of preference that the offer gives them.
    fn payload_types(&self) -> impl Iterator<Item = u8> {
        self.lines[0].split_ascii_whitespace().skip(3).filter_map(|pt| pt.parse().ok())
    }

    fn typed_values(&self, name: &'static str, payload_type: u8) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter_map(move |line| typed(value_of(line, name)?))
            .filter(move |(pt, _)| *pt == payload_type)
            .map(|(_, rest)| rest)
    }

    fn codec(&self, payload_type: u8) -> Option<&'a str> {
        let rtpmap = self.typed_values("rtpmap", payload_type).next()?;
        rtpmap.split('/').next()
    }

    /// A parameter of a payload type's fmtp, `name=value;…`.
    fn parameter(&self, payload_type: u8, name: &str) -> Option<&'a str> {
        self.typed_values("fmtp", payload_type)
            .flat_map(|fmtp| fmtp.split(';'))
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    fn codec_names(&self) -> Vec<String> {
        const REPAIR: [&str; 4] = ["rtx", "red", "ulpfec", "flexfec-03"];
        let mut names: Vec<String> = Vec::new();
        for name in self.payload_types().filter_map(|pt| self.codec(pt)) {
            let repair = REPAIR.iter().any(|known| name.eq_ignore_ascii_case(known));
            if !repair && !names.iter().any(|seen| seen == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// The best H.264 that the section offers; the first of equals, as the offer prefers it.
    fn best_h264(&self) -> Option<H264> {
        self.payload_types()
            .filter_map(|pt| self.h264(pt))
            .min_by_key(|h264| profile_rank(h264.profile_level_id))
    }

    fn h264(&self, payload_type: u8) -> Option<H264> {
        let is_h264 = self.codec(payload_type)?.eq_ignore_ascii_case("H264");
        let mode = self.parameter(payload_type, "packetization-mode");
        if !is_h264 || mode != Some("1") {
            return None;
        }
        let profile_level_id = match self.parameter(payload_type, "profile-level-id") {
            Some(id) if id.len() == 6 => u32::from_str_radix(id, 16).ok()?,
            Some(_) => return None,
            None => DEFAULT_PROFILE_LEVEL_ID,
        };
        let rtx = self.payload_types().find(|pt| {
            let repairs = || self.parameter(*pt, "apt")?.parse::<u8>().ok();
            *pt != payload_type
                && self.codec(*pt).is_some_and(|c| c.eq_ignore_ascii_case("rtx"))
                && repairs() == Some(payload_type)
        });
        let asymmetry = self.parameter(payload_type, "level-asymmetry-allowed");
        Some(H264 {
            payload_type,
            rtx,
            profile_level_id,
            level_asymmetry_allowed: asymmetry == Some("1"),
        })
    }
}

/// What a missing profile-level-id means: baseline, level 1 (RFC 6184, section 8.1).
const DEFAULT_PROFILE_LEVEL_ID: u32 = 0x42_00_0a;

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

fn reduce(session: &[&str], sections: &[Section], chosen: usize, h264: &H264) -> String {
    let refused: Vec<&str> = sections
        .iter()
        .enumerate()
        .filter(|(index, section)| section.is_video() && *index != chosen)
        .filter_map(|(_, section)| section.attribute("mid"))
        .collect();
    let mut sdp = String::new();
    let mut push = |line: &str| {
        sdp.push_str(line);
        sdp.push_str("\r\n");
    };
    for line in session.iter().filter(|line| is_wanted(line)) {
        match line.strip_prefix("a=group:BUNDLE") {
            Some(mids) => push(&without(mids, &refused)),
            None => push(line),
        }
    }
    for (index, section) in sections.iter().enumerate() {
        let wanted = section.lines.iter().filter(|line| is_wanted(line));
        if index == chosen {
            wanted.filter_map(|line| reduce_chosen(line, h264)).for_each(|line| push(&line));
            push("a=recvonly");
        } else if section.is_video() {
            wanted.for_each(|line| push(&with_port_zero(line)));
        } else {
            wanted.for_each(|line| push(line));
        }
    }
    sdp
}

fn without(mids: &str, refused: &[&str]) -> String {
    let kept = mids.split_ascii_whitespace().filter(|mid| !refused.contains(mid));
    kept.fold("a=group:BUNDLE".to_owned(), |line, mid| line + " " + mid)
}

/// A line of the chosen section as str0m is to see it: H.264's payload type and its RTX only, and
/// its direction left to the caller.
fn reduce_chosen(line: &str, h264: &H264) -> Option<String> {
    if as_direction(line).is_some() {
        return None;
    }
    if line.starts_with("m=") {
        let mut fields = line.split_ascii_whitespace();
        let kept = [fields.next()?, fields.next()?, fields.next()?].join(" ");
        let rtx = h264.rtx.map_or(String::new(), |rtx| format!(" {rtx}"));
        return Some(format!("{kept} {}{rtx}", h264.payload_type));
    }
    let of_type = ["rtpmap", "fmtp", "rtcp-fb"]
        .iter()
        .find_map(|name| value_of(line, name))
        .map(|value| typed(value).map(|(pt, _)| pt));
    match of_type {
        None => Some(line.to_owned()),
        Some(pt) if pt == Some(h264.payload_type) || pt.is_some() && pt == h264.rtx => {
            Some(line.to_owned())
        }
        Some(_) => None,
    }
}

fn with_port_zero(line: &str) -> String {
    let mut fields: Vec<&str> = line.split(' ').collect();
    if line.starts_with("m=") && fields.len() > 1 {
        fields[1] = "0";
    }
    fields.join(" ")
}

fn is_wanted(line: &str) -> bool {
    const UNWANTED: [&str; 4] = ["candidate:", "end-of-candidates", "rid:", "simulcast:"];
    let Some(attribute) = line.strip_prefix("a=") else {
        return true;
    };
    let feedback = attribute.starts_with("rtcp-fb:")
        && (attribute.ends_with(" transport-cc") || attribute.ends_with(" goog-remb"));
    !feedback && !UNWANTED.iter().any(|unwanted| attribute.starts_with(unwanted))
}
