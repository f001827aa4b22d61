//! The payload types of an m-line, and the formats that video can be sent in.

use std::collections::BTreeMap;

use super::h264_profile::{DEFAULT_PROFILE_LEVEL_ID, H264, H264Error, Profile};
use crate::media::Codec;
use crate::work;

/// The RTCP feedback that we support: retransmission and key frame requests (RFC 4585, section 4.2; RFC
/// 5104).
pub(super) const FEEDBACK: [&str; 3] = ["ccm fir", "nack", "nack pli"];
/// Names that repair other payload types, and are not codecs.
const REPAIR: [&str; 4] = ["rtx", "red", "ulpfec", "flexfec-03"];
/// The longest codec name that a sentence quotes.
const MAX_NAME_BYTES: usize = 32;

/// A payload type of an offer, in a codec that we have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadFormat {
    pub codec: Codec,
    pub payload_type: u8,
    /// The payload type of its retransmissions (RFC 4588).
    pub rtx: Option<u8>,
    /// The profile of H.264.
    pub profile: Option<Profile>,
    /// Its a=fmtp in the answer.
    pub parameters: Option<String>,
    /// The RTCP feedback that is offered for it and that we support.
    pub feedback: Vec<&'static str>,
}

/// The payload types of a section.
#[derive(Default)]
pub(super) struct Formats<'a> {
    /// The payload types of the m-line, in order of preference.
    listed: Vec<u8>,
    described: BTreeMap<u8, FormatDescription<'a>>,
    /// Of [`FEEDBACK`], for all payload types.
    feedback: [bool; FEEDBACK.len()],
}

/// The rtpmap, fmtp and rtcp-fb lines of one payload type. The first of two lines counts.
#[derive(Default)]
struct FormatDescription<'a> {
    rtpmap: Option<&'a str>,
    packetization_mode: Option<&'a str>,
    profile_level_id: Option<&'a str>,
    level_asymmetry_allowed: Option<&'a str>,
    /// The payload type that this one repairs.
    apt: Option<&'a str>,
    /// Of [`FEEDBACK`].
    feedback: [bool; FEEDBACK.len()],
}

impl<'a> Formats<'a> {
    /// Adds a format of the m-line. One that is not a payload type is ignored.
    pub fn list(&mut self, format: &str) {
        work::step();
        self.listed.extend(payload_type(format));
    }

    pub fn read_rtpmap(&mut self, value: &'a str) {
        if let Some((description, codec)) = self.describe(value) {
            description.rtpmap.get_or_insert(codec);
        }
    }

    pub fn read_fmtp(&mut self, value: &'a str) {
        let Some((description, parameters)) = self.describe(value) else { return };
        for parameter in parameters.split(';') {
            work::step();
            let Some((key, value)) = parameter.split_once('=') else { continue };
            let known = match key.trim() {
                key if key.eq_ignore_ascii_case("packetization-mode") => {
                    &mut description.packetization_mode
                }
                key if key.eq_ignore_ascii_case("profile-level-id") => {
                    &mut description.profile_level_id
                }
                key if key.eq_ignore_ascii_case("level-asymmetry-allowed") => {
                    &mut description.level_asymmetry_allowed
                }
                key if key.eq_ignore_ascii_case("apt") => &mut description.apt,
                _ => continue,
            };
            known.get_or_insert(value.trim());
        }
    }

    pub fn read_feedback(&mut self, value: &'a str) {
        let (feedback, offered) = match value.strip_prefix("* ") {
            Some(offered) => (&mut self.feedback, offered),
            None => {
                let Some((description, offered)) = self.describe(value) else { return };
                (&mut description.feedback, offered)
            }
        };
        if let Some(known) = FEEDBACK.iter().position(|known| *known == offered) {
            feedback[known] = true;
        }
    }

    /// Splits `payload-type rest`. Returns the description of that payload type, and the rest.
    fn describe(&mut self, value: &'a str) -> Option<(&mut FormatDescription<'a>, &'a str)> {
        let (format, rest) = value.split_once(' ')?;
        Some((self.described.entry(payload_type(format)?).or_default(), rest.trim()))
    }

    /// The payload types of the m-line that have a description.
    fn iter(&self) -> impl Iterator<Item = (u8, &FormatDescription<'a>)> {
        let described = |pt: &u8| Some((*pt, self.described.get(pt)?));
        self.listed.iter().inspect(|_| work::step()).filter_map(described)
    }

    /// Whether this payload type is listed with this codec.
    pub fn lists(&self, payload_type: u8, codec: &str) -> bool {
        self.iter().any(|(listed, it)| listed == payload_type && it.is_codec(codec))
    }

    /// The names of the codecs that may be quoted in a sentence.
    pub fn codec_names(&self) -> impl Iterator<Item = &'a str> {
        let names = self.iter().filter_map(|(_, description)| Some(description.codec()?.0));
        names.filter(|name| {
            let is_name =
                name.len() <= MAX_NAME_BYTES && name.bytes().all(|b| b.is_ascii_graphic());
            is_name && !REPAIR.iter().any(|known| name.eq_ignore_ascii_case(known))
        })
    }

    /// The error of the H.264 that is nearest to what can be sent, if there is H.264 that cannot be sent.
    pub fn h264_error(&self) -> Option<H264Error> {
        let h264 = self.iter().filter(|(_, it)| it.is_codec(Codec::H264.name()));
        h264.filter_map(|(_, description)| description.h264().err()).max()
    }

    /// The formats of a codec that the section offers: the first, preferred one of each profile.
    pub fn of(&self, codec: Codec) -> Vec<PayloadFormat> {
        let mut formats: Vec<PayloadFormat> = Vec::new();
        for (payload_type, description) in self.iter().filter(|(_, it)| it.is_codec(codec.name())) {
            let (profile, parameters) = match codec {
                Codec::H264 => match description.h264() {
                    Ok((profile, h264)) => (Some(profile), Some(h264.to_string())),
                    Err(_) => continue,
                },
                Codec::Vp8 => (None, None),
            };
            if formats.iter().any(|format| format.profile == profile) {
                continue;
            }
            let offered = |index: &usize| self.feedback[*index] || description.feedback[*index];
            let feedback = (0..FEEDBACK.len()).filter(offered).map(|index| FEEDBACK[index]);
            let feedback = feedback.collect();
            formats.push(PayloadFormat {
                codec,
                payload_type,
                rtx: None,
                profile,
                parameters,
                feedback,
            });
        }
        if formats.is_empty() {
            return formats;
        }
        for (rtx, description) in self.iter().filter(|(_, format)| format.is_codec("rtx")) {
            let repaired: Option<u8> = description.apt.and_then(|apt| apt.parse().ok());
            let repaired = formats.iter_mut().find(|it| Some(it.payload_type) == repaired);
            if let Some(format) = repaired {
                format.rtx.get_or_insert(rtx);
            }
        }
        formats
    }
}

impl<'a> FormatDescription<'a> {
    /// The codec's name and clock rate.
    fn codec(&self) -> Option<(&'a str, &'a str)> {
        self.rtpmap?.split_once('/')
    }

    fn is_codec(&self, name: &str) -> bool {
        self.codec()
            .is_some_and(|(codec, clock)| codec.eq_ignore_ascii_case(name) && clock == "90000")
    }

    fn h264(&self) -> Result<(Profile, H264), H264Error> {
        match self.packetization_mode {
            Some("1") => {}
            Some(_) => return Err(H264Error::OtherMode),
            None => return Err(H264Error::NoMode),
        }
        let profile_level_id = match self.profile_level_id {
            Some(id) => profile_level_id(id).ok_or(H264Error::UnknownProfile)?,
            None => DEFAULT_PROFILE_LEVEL_ID,
        };
        let profile = Profile::of(profile_level_id).ok_or(H264Error::UnknownProfile)?;
        let level_asymmetry_allowed = self.level_asymmetry_allowed == Some("1");
        Ok((profile, H264 { profile_level_id, level_asymmetry_allowed }))
    }
}

fn payload_type(format: &str) -> Option<u8> {
    format.parse().ok().filter(|payload_type| *payload_type < 128)
}

/// Parses six hexadecimal digits (RFC 6184, section 8.1).
fn profile_level_id(text: &str) -> Option<u32> {
    let is_id = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| u32::from_str_radix(text, 16).ok())?
}
