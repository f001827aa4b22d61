//! One section of an SDP, parsed line by line: the session's lines, or an m-line and the lines after it.

use super::formats::Formats;
use crate::work;

pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
/// 3GPP TS 26.114, section 7.4.5.
pub const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
/// The longest session id; those of browsers are shorter.
const MAX_ORIGIN_BYTES: usize = 64;
/// The candidates that are kept, at most. A peer has some for each interface.
const MAX_CANDIDATES: usize = 64;

/// The protocols that mean RTP over DTLS (RFC 8829, section 5.1.2). Some endpoints write one without DTLS; the
/// fingerprint implies it.
const PROFILES: [&str; 8] = [
    "RTP/AVP",
    "RTP/AVPF",
    "RTP/SAVP",
    "RTP/SAVPF",
    "TCP/DTLS/RTP/SAVP",
    "TCP/DTLS/RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "UDP/TLS/RTP/SAVPF",
];

/// A header extension of an offer (RFC 8285).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    pub number: u8,
    /// Whether the offer gives its direction, so that the answer has to (section 7).
    pub directed: bool,
}

/// The content of a section. The first of two equal attributes counts.
#[derive(Default)]
pub(super) struct SdpSection<'a> {
    /// `audio`, `video`, `application` or another. Empty in the session's section, as are the next three.
    pub media: &'a str,
    port: &'a str,
    pub protocol: &'a str,
    /// The first of the m-line's formats.
    pub format: &'a str,
    pub formats: Formats<'a>,
    /// The rtpmap of that first format.
    pub rtpmap: Option<&'a str>,
    origin: Option<&'a str>,
    mid: Option<&'a str>,
    pub direction: Option<&'a str>,
    pub rtcp_mux: bool,
    pub ice_lite: bool,
    pub bundle_only: bool,
    pub extmap_allow_mixed: bool,
    pub ufrag: Option<&'a str>,
    pub password: Option<&'a str>,
    /// The first one by SHA-256, else the first one.
    pub fingerprint: Option<&'a str>,
    pub setup: Option<&'a str>,
    playout_delay: Option<(u8, &'a str)>,
    video_orientation: Option<(u8, &'a str)>,
    /// The first candidates, verbatim.
    pub candidates: Vec<&'a str>,
}

impl<'a> SdpSection<'a> {
    /// A section with this m-line, or `None` if the line has fewer than four parts.
    pub fn of_media(m_line: &'a str) -> Option<SdpSection<'a>> {
        let mut parts = m_line.split_ascii_whitespace();
        let (media, port, protocol) = (parts.next()?, parts.next()?, parts.next()?);
        let mut rest = parts.peekable();
        let format = *rest.peek()?;
        let mut formats = Formats::default();
        rest.for_each(|format| formats.list(format));
        Some(SdpSection { media, port, protocol, format, formats, ..SdpSection::default() })
    }

    /// Parses a line that is not an m-line.
    pub fn read(&mut self, line: &'a str) {
        work::step();
        if let Some(origin) = line.strip_prefix("o=") {
            self.origin.get_or_insert(origin);
        }
        let Some(attribute) = line.strip_prefix("a=") else { return };
        match attribute.split_once(':') {
            Some((name, value)) => self.read_attribute(name, value),
            None => self.read_property(attribute),
        }
    }

    fn read_property(&mut self, name: &'a str) {
        match name {
            "recvonly" | "sendonly" | "sendrecv" | "inactive" => {
                self.direction.get_or_insert(name);
            }
            "rtcp-mux" => self.rtcp_mux = true,
            "ice-lite" => self.ice_lite = true,
            "bundle-only" => self.bundle_only = true,
            "extmap-allow-mixed" => self.extmap_allow_mixed = true,
            _ => {}
        }
    }

    fn read_attribute(&mut self, name: &str, value: &'a str) {
        let first = match name {
            "mid" => &mut self.mid,
            "ice-ufrag" => &mut self.ufrag,
            "ice-pwd" => &mut self.password,
            "setup" => &mut self.setup,
            "fingerprint" => {
                let is_sha256 = |value| sha256_of(value).is_some();
                if is_sha256(value) && !self.fingerprint.is_some_and(is_sha256) {
                    self.fingerprint = None;
                }
                &mut self.fingerprint
            }
            "rtpmap" => {
                self.formats.read_rtpmap(value);
                match value.split_once(' ') {
                    Some((format, _)) if format == self.format => &mut self.rtpmap,
                    _ => return,
                }
            }
            "fmtp" => return self.formats.read_fmtp(value),
            "rtcp-fb" => return self.formats.read_feedback(value),
            "extmap" => return self.read_extension(value),
            "candidate" => {
                let room = self.candidates.len() < MAX_CANDIDATES;
                return self.candidates.extend(room.then_some(value));
            }
            _ => return,
        };
        first.get_or_insert(value);
    }

    fn read_extension(&mut self, value: &'a str) {
        let Some((number, name)) = value.split_once(' ') else { return };
        let first = match name {
            PLAYOUT_DELAY => &mut self.playout_delay,
            VIDEO_ORIENTATION => &mut self.video_orientation,
            _ => return,
        };
        let (number, direction) = number.split_once('/').unwrap_or((number, "sendrecv"));
        if let Ok(number) = number.parse() {
            first.get_or_insert((number, direction));
        }
    }

    pub fn is_video(&self) -> bool {
        self.media == "video" && PROFILES.contains(&self.protocol)
    }

    /// Whether its port is 0.
    pub fn has_no_port(&self) -> bool {
        self.port == "0"
    }

    /// The user name and the session id of `o=`, cut to a limit that no browser reaches.
    pub fn origin(&self) -> &'a str {
        let origin = self.origin.unwrap_or_default();
        let parts = origin.match_indices(' ').nth(1).map_or(origin, |(end, _)| &origin[..end]);
        parts.get(..MAX_ORIGIN_BYTES).unwrap_or(parts)
    }

    /// The mid, if it is a token (RFC 5888, section 4).
    pub fn mid(&self) -> Option<&'a str> {
        self.mid.filter(|mid| !mid.is_empty() && mid.bytes().all(|b| b.is_ascii_graphic()))
    }

    /// Whether there is an a=mid that is not a token.
    pub fn has_unreadable_mid(&self) -> bool {
        self.mid.is_some() && self.mid().is_none()
    }

    pub fn playout_delay(&self) -> Option<Extension> {
        receivable(self.playout_delay?)
    }

    pub fn video_orientation(&self) -> Option<Extension> {
        let extension = receivable(self.video_orientation?);
        // Two extensions of one number are an error of the offer.
        extension.filter(|it| self.playout_delay.is_none_or(|(number, _)| number != it.number))
    }
}

/// A header extension by its number and direction, if we may send it.
fn receivable((number, direction): (u8, &str)) -> Option<Extension> {
    let receives = matches!(direction, "recvonly" | "sendrecv");
    // The numbers of one-byte headers (RFC 8285, section 4.2).
    let extension = Extension { number, directed: direction == "recvonly" };
    (receives && (1..=14).contains(&number)).then_some(extension)
}

/// The hash of a SHA-256 fingerprint. The name of the hash may be in either case (RFC 8122, section 5).
pub(super) fn sha256_of(fingerprint: &str) -> Option<&str> {
    let (name, hash) = fingerprint.split_once(' ')?;
    name.eq_ignore_ascii_case("sha-256").then_some(hash)
}
