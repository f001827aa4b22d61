//! The answer to an offer, whole: str0m's to the reduced offer where the video is, and a refusal
//! for every other m-line.
//!
//! An answer has the offer's m-lines, in order (RFC 3264, section 6). One that we do not send has
//! port 0, but for the first of the video's BUNDLE group: it brings the transport that all of the
//! group share, and Chromium with `bundlePolicy: 'max-bundle'` takes no answer that refuses it. It
//! is accepted, and inactive.

use crate::offer::{Offer, REDUCED_MID, Section};

/// What one section has in common with another that shares its transport.
const TRANSPORT: [&str; 6] =
    ["a=candidate:", "a=ice-ufrag:", "a=ice-pwd:", "a=ice-options:", "a=fingerprint:", "a=setup:"];

/// Makes the answer to `offer` of the answer to [`Offer::reduced`].
pub fn complete(offer: &Offer, reduced: &str) -> String {
    let lines: Vec<&str> = reduced.lines().collect();
    let video = lines.iter().position(|line| line.starts_with("m=")).unwrap_or(lines.len());
    let (session, video) = lines.split_at(video);
    let tagged = tagged(offer);
    let mut answer = Vec::new();
    for line in session {
        match *line {
            line if line.starts_with("a=group:") => answer.extend(group(offer, tagged)),
            "a=extmap-allow-mixed" if !offer.mixes_extensions => {}
            line => answer.push(line.to_owned()),
        }
    }
    for (index, section) in offer.sections.iter().enumerate() {
        if index == offer.chosen {
            answer.extend(video.iter().filter_map(|line| of_video(offer, line)));
        } else if tagged == Some(index) {
            inactive(section, video, &mut answer);
        } else {
            refused(section, &mut answer);
        }
    }
    answer.into_iter().map(|line| line + "\r\n").collect()
}

/// The section that brings the video's transport, if that is another one which we can accept.
fn tagged(offer: &Offer) -> Option<usize> {
    let first = offer.bundle.first()?;
    let index = offer.sections.iter().position(|section| section.mid.as_ref() == Some(first))?;
    let section = &offer.sections[index];
    let is_stream = matches!(section.media.as_str(), "audio" | "video");
    (index != offer.chosen && is_stream && !section.refused).then_some(index)
}

fn group(offer: &Offer, tagged: Option<usize>) -> Option<String> {
    let sections = tagged.map(|index| &offer.sections[index]).into_iter().chain([offer.video()]);
    let mids = sections.filter_map(|section| section.mid.as_deref());
    let group = mids.fold("a=group:BUNDLE".to_owned(), |line, mid| line + " " + mid);
    (!offer.bundle.is_empty()).then_some(group)
}

/// A line of str0m's answer as it belongs to the offer.
fn of_video(offer: &Offer, line: &str) -> Option<String> {
    let video = offer.video();
    if let Some(mid) = line.strip_prefix("a=mid:") {
        debug_assert_eq!(mid, REDUCED_MID);
        return video.mid.as_ref().map(|mid| format!("a=mid:{mid}"));
    }
    if line.starts_with(&format!("a=fmtp:{} ", offer.h264.payload_type)) {
        return Some(offer.format_parameters());
    }
    if let Some(feedback) = line.strip_prefix("a=rtcp-fb:") {
        let (_, kind) = feedback.split_once(' ')?;
        return offer.takes_feedback(kind).then(|| line.to_owned());
    }
    Some(line.replacen("UDP/TLS/RTP/SAVPF", &video.protocol, usize::from(line.starts_with("m="))))
}

fn inactive(section: &Section, video: &[&str], answer: &mut Vec<String>) {
    let Section { media, protocol, format, .. } = section;
    answer.push(format!("m={media} 9 {protocol} {format}"));
    answer.push("c=IN IP4 0.0.0.0".into());
    let shared = video.iter().filter(|line| TRANSPORT.iter().any(|name| line.starts_with(name)));
    answer.extend(shared.map(|line| (*line).to_owned()));
    answer.extend(section.mid.as_ref().map(|mid| format!("a=mid:{mid}")));
    answer.push("a=inactive".into());
    answer.push("a=rtcp-mux".into());
    answer.extend(section.rtpmap.as_ref().map(|rtpmap| format!("a=rtpmap:{rtpmap}")));
}

fn refused(section: &Section, answer: &mut Vec<String>) {
    let Section { media, protocol, format, .. } = section;
    answer.push(format!("m={media} 0 {protocol} {format}"));
    answer.push("c=IN IP4 0.0.0.0".into());
    answer.extend(section.mid.as_ref().map(|mid| format!("a=mid:{mid}")));
    if media != "application" {
        answer.push("a=inactive".into());
    }
    // Of no use to anybody, but some read no format without it.
    answer.extend(section.rtpmap.as_ref().map(|rtpmap| format!("a=rtpmap:{rtpmap}")));
}
