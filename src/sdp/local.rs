//! Our end of a connection, in our answers and our offers.

use str0m::IceCreds;

use crate::media::Codec;

/// The ids of the stream and of its track, for peers.
pub(super) const STREAM: &str = "ballcast";
pub(super) const TRACK: &str = "video";

/// The negotiated parameters of a viewer's stream.
#[derive(Debug, Clone)]
pub struct AnsweredFormat {
    pub payload_type: u8,
    /// The payload type of retransmissions (RFC 4588); without one there are none.
    pub rtx: Option<u8>,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    pub cname: String,
}

/// Our end.
pub struct Local<'a> {
    /// The id and the version of the session (RFC 8866, section 5.2).
    pub session: u64,
    pub version: u64,
    /// Our role in DTLS: `active`, `passive`, or in an offer `actpass` (RFC 8842, section 5.2).
    pub setup: &'static str,
    pub credentials: &'a IceCreds,
    /// Whether we send no connectivity checks (RFC 8445, section 2.5).
    pub is_ice_lite: bool,
    /// Answers accept the header extension `urn:3gpp:video-orientation`.
    pub sends_orientation: bool,
    /// All candidates, as `candidate:…`; none will follow.
    pub candidates: &'a [String],
    /// The fingerprint of our certificate, with the name of the hash.
    pub fingerprint: &'a str,
    pub stream: &'a AnsweredFormat,
}

impl Local<'_> {
    /// The first lines of the session.
    pub(super) fn begin(&self) -> Vec<String> {
        let mut lines = vec![
            "v=0".into(),
            format!("o=- {} {} IN IP4 0.0.0.0", self.session, self.version),
            "s=-".into(),
            "t=0 0".into(),
        ];
        lines.extend(self.is_ice_lite.then(|| "a=ice-lite".into()));
        lines
    }

    /// Writes the lines of a section about its transport, and its mid.
    pub(super) fn transport(&self, mid: Option<&str>, lines: &mut Vec<String>) {
        lines.push("c=IN IP4 0.0.0.0".into());
        lines.extend(self.candidates.iter().map(|candidate| format!("a={candidate}")));
        lines.push("a=end-of-candidates".into());
        self.identity(lines);
        lines.extend(mid.map(|mid| format!("a=mid:{mid}")));
    }

    /// Writes our credentials, fingerprint and DTLS role. GStreamer 1.22 accepts no section without them, not
    /// even a rejected one.
    pub(super) fn identity(&self, lines: &mut Vec<String>) {
        lines.push(format!("a=ice-ufrag:{}", self.credentials.ufrag));
        lines.push(format!("a=ice-pwd:{}", self.credentials.pass));
        lines.push(format!("a=fingerprint:{}", self.fingerprint));
        lines.push(format!("a=setup:{}", self.setup));
    }

    /// Writes the SSRCs of the stream (RFC 5576).
    pub(super) fn sources(&self, lines: &mut Vec<String>) {
        let AnsweredFormat { rtx, ssrc, rtx_ssrc, cname, .. } = self.stream;
        let streams = [Some(ssrc), rtx.map(|_| rtx_ssrc)];
        for ssrc in streams.into_iter().flatten() {
            lines.push(format!("a=ssrc:{ssrc} cname:{cname}"));
            lines.push(format!("a=ssrc:{ssrc} msid:{STREAM} {TRACK}"));
        }
        if rtx.is_some() {
            lines.push(format!("a=ssrc-group:FID {ssrc} {rtx_ssrc}"));
        }
    }
}

/// Writes the lines of a payload type, and of its retransmissions.
pub(super) fn format(
    codec: Codec,
    payload_type: u8,
    rtx: Option<u8>,
    feedback: &[&str],
    parameters: Option<&str>,
    lines: &mut Vec<String>,
) {
    lines.push(format!("a=rtpmap:{payload_type} {}/90000", codec.name()));
    lines.extend(feedback.iter().map(|kind| format!("a=rtcp-fb:{payload_type} {kind}")));
    lines.extend(parameters.map(|parameters| format!("a=fmtp:{payload_type} {parameters}")));
    if let Some(rtx) = rtx {
        lines.push(format!("a=rtpmap:{rtx} rtx/90000"));
        lines.push(format!("a=fmtp:{rtx} apt={payload_type}"));
    }
}

/// Joins lines to an SDP.
pub(super) fn text(lines: Vec<String>) -> String {
    lines.into_iter().map(|line| line + "\r\n").collect()
}
