//! Writes the answer to an offer: it accepts one video and rejects every other m-line.
//!
//! An answer has the offer's m-lines, in order (RFC 3264, section 6). A rejected one has port 0. The
//! exception is the first m-line of the video's BUNDLE group: it defines the transport that the group
//! shares, and Chromium with `bundlePolicy: 'max-bundle'` accepts no answer that rejects it. So it is
//! accepted as inactive.

use super::local::{self, AnsweredFormat, Local, STREAM, TRACK, text};
use super::offer::{Extension, Offer, PLAYOUT_DELAY, PayloadFormat, Section, VIDEO_ORIENTATION};

/// Writes the answer's SDP.
pub fn write(offer: &Offer, local: &Local) -> String {
    let tagged = tagged(offer);
    let mut answer = local.begin();
    answer.extend(group(offer, tagged));
    if offer.extmap_allow_mixed {
        answer.push("a=extmap-allow-mixed".into());
    }
    answer.push(format!("a=msid-semantic: WMS {STREAM}"));
    for (index, section) in offer.sections.iter().enumerate() {
        if index == offer.video_index {
            video(offer, local, &mut answer);
        } else if tagged == Some(index) {
            inactive(local, section, &mut answer);
        } else {
            refused(local, section, &mut answer);
        }
    }
    text(answer)
}

/// The section that defines the video's transport, if it is not the video's own and can be accepted.
fn tagged(offer: &Offer) -> Option<usize> {
    let first = offer.bundle.first()?;
    let index = offer.sections.iter().position(|section| section.mid.as_ref() == Some(first))?;
    let section = &offer.sections[index];
    let is_stream = matches!(section.media.as_str(), "audio" | "video");
    (index != offer.video_index && is_stream && !section.refused).then_some(index)
}

fn group(offer: &Offer, tagged: Option<usize>) -> Option<String> {
    let sections = tagged.map(|index| &offer.sections[index]).into_iter().chain([offer.video()]);
    let mids = sections.filter_map(|section| section.mid.as_deref());
    let group = mids.fold("a=group:BUNDLE".to_owned(), |line, mid| line + " " + mid);
    (!offer.bundle.is_empty()).then_some(group)
}

fn video(offer: &Offer, local: &Local, answer: &mut Vec<String>) {
    let Section { protocol, mid, .. } = offer.video();
    let AnsweredFormat { payload_type, rtx, .. } = *local.stream;
    let formats = rtx.map_or(String::new(), |rtx| format!(" {rtx}"));
    answer.push(format!("m=video 9 {protocol} {payload_type}{formats}"));
    local.transport(mid.as_deref(), answer);
    let orientation = offer.video_orientation.filter(|_| local.sends_orientation);
    for (extension, name) in
        [(offer.playout_delay, PLAYOUT_DELAY), (orientation, VIDEO_ORIENTATION)]
    {
        answer.extend(extension.map(|Extension { number, directed }| {
            let direction = if directed { "/sendonly" } else { "" };
            format!("a=extmap:{number}{direction} {name}")
        }));
    }
    answer.push("a=sendonly".into());
    answer.push(format!("a=msid:{STREAM} {TRACK}"));
    answer.push("a=rtcp-mux".into());
    let PayloadFormat { codec, feedback, parameters, .. } = &offer.format;
    local::format(*codec, payload_type, rtx, feedback, parameters.as_deref(), answer);
    local.sources(answer);
}

fn inactive(local: &Local, section: &Section, answer: &mut Vec<String>) {
    let Section { media, protocol, format, mid, .. } = section;
    answer.push(format!("m={media} 9 {protocol} {format}"));
    local.transport(mid.as_deref(), answer);
    answer.push("a=inactive".into());
    answer.push("a=rtcp-mux".into());
    answer.extend(section.rtpmap.as_ref().map(|rtpmap| format!("a=rtpmap:{rtpmap}")));
}

fn refused(local: &Local, section: &Section, answer: &mut Vec<String>) {
    let Section { media, protocol, format, .. } = section;
    answer.push(format!("m={media} 0 {protocol} {format}"));
    answer.push("c=IN IP4 0.0.0.0".into());
    local.identity(answer);
    answer.extend(section.mid.as_ref().map(|mid| format!("a=mid:{mid}")));
    if media != "application" {
        answer.push("a=inactive".into());
    }
    // Some parsers require an rtpmap even here.
    answer.extend(section.rtpmap.as_ref().map(|rtpmap| format!("a=rtpmap:{rtpmap}")));
}
