//! Splits an SDP into its sections (RFC 8866), in one pass, with a limit on everything.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use str0m::IceCreds;

use super::error::{SdpError, lacks, unreadable};
use super::ice::{CHECKED_UFRAG_BYTES, PASSWORD_BYTES, UFRAG_BYTES, is_ice_text};
use super::section::{SdpSection, sha256_of};
use crate::work;

/// Limits of an SDP. The largest offers of browsers reach a fifth of them.
pub const MAX_LINES: usize = 2_048;
pub const MAX_LINE_BYTES: usize = 2_048;
pub const MAX_SECTIONS: usize = 64;
/// Formats of one m-line. There are 128 payload types.
pub const MAX_FORMATS: usize = 128;

/// The other end of the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub credentials: IceCreds,
    /// The SHA-256 fingerprint of its certificate.
    pub fingerprint: [u8; 32],
    pub setup: Setup,
}

/// The role that the peer wants in DTLS (RFC 8842, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Client, or either: we are the server.
    Active,
    /// Server.
    Passive,
}

/// The parts of an m-line that an answer repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `audio`, `video`, `application` or another.
    pub media: String,
    pub protocol: String,
    /// The first of its formats.
    pub format: String,
    pub mid: Option<String>,
    /// The rtpmap of that format.
    pub rtpmap: Option<String>,
    /// Whether the offer itself rejects it: port 0, and not because it shares another section's port.
    pub refused: bool,
}

/// An SDP by its sections.
pub(super) struct Description<'a> {
    pub session: SdpSection<'a>,
    /// From one `m=` to the next.
    pub sections: Vec<SdpSection<'a>>,
    bundles: Bundles<'a>,
}

/// The BUNDLE groups of a session (RFC 9143): the mids of each, and the first group of each mid.
#[derive(Default)]
struct Bundles<'a> {
    groups: Vec<Vec<&'a str>>,
    of_mid: BTreeMap<&'a str, usize>,
}

impl Peer {
    /// Whether its user fragment fits into a connectivity check of ours.
    pub fn is_checkable(&self) -> bool {
        self.credentials.ufrag.len() <= CHECKED_UFRAG_BYTES
    }
}

impl<'a> Description<'a> {
    pub fn read(sdp: &'a str) -> Result<Description<'a>, SdpError> {
        let malformed = |what: &str| Err(SdpError::Malformed(what.into()));
        let mut lines = sdp.lines().map(str::trim_end).filter(|line| !line.is_empty());
        if lines.next() != Some("v=0") {
            return malformed("it does not begin with v=0");
        }
        let (mut session, mut sections) = (SdpSection::default(), Vec::<SdpSection>::new());
        let mut bundles = Bundles::default();
        for (index, line) in lines.enumerate() {
            if index + 1 >= MAX_LINES {
                return Err(SdpError::TooLarge("lines", MAX_LINES));
            }
            if line.len() > MAX_LINE_BYTES {
                return Err(SdpError::TooLarge("bytes in a line", MAX_LINE_BYTES));
            }
            if line.contains(|c: char| c.is_control() && c != '\t') {
                return malformed("there is a control character in a line");
            }
            if let Some(m_line) = line.strip_prefix("m=") {
                if sections.len() == MAX_SECTIONS {
                    return Err(SdpError::TooLarge("m-lines", MAX_SECTIONS));
                }
                if m_line.split_ascii_whitespace().count() > 3 + MAX_FORMATS {
                    return Err(SdpError::TooLarge("formats in an m-line", MAX_FORMATS));
                }
                let Some(section) = SdpSection::of_media(m_line) else {
                    return malformed("a line m= has fewer than four parts");
                };
                sections.push(section);
                continue;
            }
            match sections.last_mut() {
                Some(section) => section.read(line),
                None => {
                    session.read(line);
                    bundles.read(line);
                }
            }
        }
        let mut mids: Vec<&str> = sections.iter().filter_map(SdpSection::mid).collect();
        mids.sort_unstable();
        if mids.windows(2).any(|pair| pair[0] == pair[1]) {
            return malformed("two m-lines have the same a=mid");
        }
        Ok(Description { session, sections, bundles })
    }

    /// The mids of a section's BUNDLE group; empty if it is in no group, as a section without a mid.
    pub fn bundle_of(&self, section: &SdpSection) -> &[&'a str] {
        let group = section.mid().and_then(|mid| self.bundles.of_mid.get(mid));
        group.map_or(&[], |group| &self.bundles.groups[*group])
    }

    /// Whether a section has port 0, and not because it shares another section's port (RFC 9143, section 6).
    pub fn is_refused(&self, section: &SdpSection) -> bool {
        let bundled = section.mid().is_some_and(|mid| self.bundles.of_mid.contains_key(mid));
        section.has_no_port() && !(bundled && section.bundle_only)
    }

    pub fn section(&self, section: &SdpSection) -> Section {
        Section {
            media: section.media.to_owned(),
            protocol: section.protocol.to_owned(),
            format: section.format.to_owned(),
            mid: section.mid().map(str::to_owned),
            rtpmap: section.rtpmap.map(str::to_owned),
            refused: self.is_refused(section),
        }
    }

    /// The other end of the video's transport: by the section's own lines, the session's, or those of a
    /// section that shares the transport.
    pub fn peer(&self, video: &SdpSection<'a>) -> Result<Peer, SdpError> {
        let group_of = |section: &SdpSection| self.bundles.of_mid.get(section.mid()?);
        let group = group_of(video);
        let bundled = self.sections.iter().filter(|s| group.is_some() && group_of(s) == group);
        let levels: Vec<&SdpSection> = [video, &self.session].into_iter().chain(bundled).collect();
        if !levels.iter().any(|section| section.rtcp_mux) {
            return Err(lacks("rtcp-mux"));
        }
        let value = |name, of: fn(&SdpSection<'a>) -> Option<&'a str>| {
            levels.iter().find_map(|section| of(section)).ok_or_else(|| lacks(name))
        };
        let credential = |name, what, lengths: RangeInclusive<usize>, of| {
            let text = value(name, of)?;
            let most = *lengths.end();
            if text.len() > most {
                return Err(SdpError::TooLarge(what, most));
            }
            is_ice_text(text, lengths).then(|| text.to_owned()).ok_or_else(|| unreadable(name))
        };
        let fingerprint = sha256_of(value("fingerprint", |s| s.fingerprint)?);
        // The names of roles may be in either case (RFC 4145, section 4).
        let setup = value("setup", |s| s.setup)?.to_ascii_lowercase();
        Ok(Peer {
            credentials: IceCreds {
                ufrag: credential("ice-ufrag", "characters in an a=ice-ufrag", UFRAG_BYTES, |s| {
                    s.ufrag
                })?,
                pass: credential("ice-pwd", "characters in an a=ice-pwd", PASSWORD_BYTES, |s| {
                    s.password
                })?,
            },
            fingerprint: fingerprint
                .and_then(hash_of)
                .ok_or_else(|| unreadable("fingerprint:sha-256"))?,
            setup: match setup.as_str() {
                "actpass" | "active" => Setup::Active,
                "passive" => Setup::Passive,
                _ => return Err(unreadable("setup")),
            },
        })
    }
}

impl<'a> Bundles<'a> {
    fn read(&mut self, line: &'a str) {
        let Some(mids) = line.strip_prefix("a=group:BUNDLE ") else { return };
        let group = self.groups.len();
        let mids: Vec<&str> = mids.split_ascii_whitespace().inspect(|_| work::step()).collect();
        for mid in &mids {
            self.of_mid.entry(mid).or_insert(group);
        }
        self.groups.push(mids);
    }
}

/// Parses bytes in hexadecimal, with colons between them (RFC 8122, section 5).
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
