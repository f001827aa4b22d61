//! Offers as browsers send them, and the expected answers.

mod dialects;

use crate::support::world::World;
use ballcast::testing::sdp::h264_profile::H264Error;
use ballcast::testing::sdp::offer::{Offer, OfferError, SdpError};
use serde_json::json;

/// An offer of Debian's Chromium 156, before gathering.
const CHROMIUM: &str = include_str!("../offers/chromium-156.sdp");

/// A minimal offer with these media sections.
fn offer(sections: &[&str]) -> String {
    let mids: Vec<String> = (0..sections.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n",
        mids.join(" ")
    );
    for (section, mid) in sections.iter().zip(mids) {
        for line in section.lines().map(str::trim).filter(|line| !line.is_empty()) {
            sdp += &format!("{line}\r\n");
            if line.starts_with("m=") {
                sdp += "c=IN IP4 0.0.0.0\r\n";
            }
        }
        sdp += &format!(
            "a=mid:{mid}\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:0123456789abcdef01234567\r\na=setup:actpass\r\na=rtcp-mux\r\n\
             a=fingerprint:sha-256 {}\r\n",
            ["AB"; 32].join(":")
        );
    }
    sdp
}

const SAFARI_VIDEO: &str = "
    m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100 101
    a=recvonly
    a=rtpmap:96 H264/90000
    a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c34
    a=rtpmap:97 rtx/90000
    a=fmtp:97 apt=96
    a=rtpmap:98 H264/90000
    a=fmtp:98 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e034
    a=rtpmap:99 rtx/90000
    a=fmtp:99 apt=98
    a=rtpmap:100 VP8/90000
    a=rtpmap:101 rtx/90000
    a=fmtp:101 apt=100";

const AUDIO: &str = "
    m=audio 9 UDP/TLS/RTP/SAVPF 111
    a=recvonly
    a=rtpmap:111 opus/48000/2";

const VP8_VIDEO: &str = "
    m=video 9 UDP/TLS/RTP/SAVPF 120 124
    a=recvonly
    a=rtpmap:120 VP8/90000
    a=rtpmap:124 rtx/90000
    a=fmtp:124 apt=120";

fn h264(parameters: &str) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96\na=recvonly\na=rtpmap:96 H264/90000\na=fmtp:96 {parameters}"
    )
}

/// The lines of a server's answer to an offer.
fn answer(sdp: &str) -> Vec<String> {
    let mut world = World::new();
    let body = json!({"type": "offer", "sdp": sdp}).to_string();
    let (status, answer) = world.post_offer("10.0.0.1:1".parse().unwrap(), &body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["type"], "answer");
    answer["sdp"].as_str().unwrap().lines().map(str::to_owned).collect()
}

fn starting<'a>(lines: &'a [String], prefix: &str) -> Vec<&'a str> {
    lines.iter().filter_map(|line| line.strip_prefix(prefix)).collect()
}

#[test]
fn chromium_gets_constrained_baseline_in_mode_1_although_it_is_not_listed_first() {
    let lines = answer(CHROMIUM);
    assert_eq!(starting(&lines, "m="), ["video 9 UDP/TLS/RTP/SAVPF 108 109"]);
    assert_eq!(starting(&lines, "a=rtpmap:"), ["108 H264/90000", "109 rtx/90000"]);
    let fmtp = starting(&lines, "a=fmtp:108 ")[0];
    for parameter in
        ["level-asymmetry-allowed=1", "packetization-mode=1", "profile-level-id=42e01f"]
    {
        assert!(fmtp.split(';').any(|p| p == parameter), "{fmtp}");
    }
    assert!(lines.iter().any(|line| line == "a=sendonly"));
    assert!(starting(&lines, "a=setup:") == ["passive"]);
    assert!(!lines.iter().any(|line| line == "a=ice-lite"), "full ICE");
}

#[test]
fn the_answer_holds_our_candidates_and_only_what_is_used() {
    let lines = answer(CHROMIUM);
    let candidates = starting(&lines, "a=candidate:");
    assert_eq!(candidates.len(), 1);
    assert!(candidates[0].contains(" 10.0.0.254 8080 typ host"), "{candidates:?}");
    let extensions = starting(&lines, "a=extmap:");
    assert!(extensions.iter().any(|e| e.ends_with("playout-delay")), "{extensions:?}");
    let feedback = starting(&lines, "a=rtcp-fb:108 ");
    for wanted in ["nack", "nack pli", "ccm fir"] {
        assert!(feedback.contains(&wanted), "{feedback:?}");
    }
    for unused in ["transport-cc", "goog-remb"] {
        assert!(!feedback.contains(&unused), "{feedback:?}");
    }
}

#[test]
fn safari_gets_constrained_baseline_not_high_profile() {
    let lines = answer(&offer(&[SAFARI_VIDEO]));
    assert_eq!(starting(&lines, "m="), ["video 9 UDP/TLS/RTP/SAVPF 98 99"]);
    assert!(starting(&lines, "a=fmtp:98 ")[0].contains("profile-level-id=42e034"));
}

#[test]
fn vp8_is_chosen_when_no_usable_h264_is_offered() {
    let lines = answer(&offer(&[VP8_VIDEO]));
    assert_eq!(starting(&lines, "m="), ["video 9 UDP/TLS/RTP/SAVPF 120 124"]);
    assert_eq!(starting(&lines, "a=rtpmap:"), ["120 VP8/90000", "124 rtx/90000"]);
    assert_eq!(starting(&lines, "a=fmtp:"), ["124 apt=120"]);
    let video = SAFARI_VIDEO.replace("packetization-mode=1", "packetization-mode=0");
    assert_eq!(starting(&answer(&offer(&[&video])), "a=rtpmap:")[0], "100 VP8/90000");
}

#[test]
fn the_direction_of_a_header_extension_is_answered() {
    const PLAYOUT: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
    const ORIENTATION: &str = "urn:3gpp:video-orientation";
    for (offered, answered) in [
        ("5", vec!["5"]),
        ("5/sendrecv", vec!["5"]),
        ("5/recvonly", vec!["5/sendonly"]),
        ("5/sendonly", vec![]),
        ("5/inactive", vec![]),
        ("15", vec![]),
    ] {
        let video = format!("{VP8_VIDEO}\na=extmap:{offered} {PLAYOUT}");
        let lines = answer(&offer(&[&video]));
        let expected: Vec<String> = answered.iter().map(|n| format!("{n} {PLAYOUT}")).collect();
        assert_eq!(starting(&lines, "a=extmap:"), expected, "{offered}");
        let read = Offer::parse(&offer(&[&video.replace(PLAYOUT, ORIENTATION)])).unwrap();
        assert_eq!(read.video_orientation.is_some(), !answered.is_empty(), "{offered}");
    }
    let both = format!("{VP8_VIDEO}\na=extmap:5 {PLAYOUT}\na=extmap:5 {ORIENTATION}");
    assert_eq!(Offer::parse(&offer(&[&both])).unwrap().video_orientation, None, "one number");
}

#[test]
fn the_answer_has_one_media_section_for_each_of_the_offer() {
    let lines = answer(&offer(&[SAFARI_VIDEO, AUDIO]));
    let media = starting(&lines, "m=");
    assert_eq!(media.len(), 2);
    assert_eq!(media[0], "video 9 UDP/TLS/RTP/SAVPF 98 99");
    assert!(
        media[1].starts_with("audio 0 "),
        "a media section that is not used is rejected: {media:?}"
    );
    assert_eq!(starting(&lines, "a=group:BUNDLE"), [" 0"]);

    let lines = answer(&offer(&[SAFARI_VIDEO, VP8_VIDEO, SAFARI_VIDEO]));
    let media = starting(&lines, "m=");
    assert!(media[0].starts_with("video 9 "), "{media:?}");
    assert!(media[1].starts_with("video 0 "), "{media:?}");
    assert!(media[2].starts_with("video 0 "), "{media:?}");
    let lines = answer(&offer(&[VP8_VIDEO, SAFARI_VIDEO]));
    let media = starting(&lines, "m=");
    assert_eq!(media, ["video 9 UDP/TLS/RTP/SAVPF 120", "video 9 UDP/TLS/RTP/SAVPF 98 99"]);
    assert_eq!(lines.iter().filter(|line| *line == "a=inactive").count(), 1);
}

#[test]
fn a_bundle_tagged_audio_section_is_accepted_as_inactive() {
    let lines = answer(&offer(&[AUDIO, SAFARI_VIDEO]));
    let media = starting(&lines, "m=");
    assert_eq!(media, ["audio 9 UDP/TLS/RTP/SAVPF 111", "video 9 UDP/TLS/RTP/SAVPF 98 99"]);
    assert_eq!(starting(&lines, "a=group:BUNDLE"), [" 0 1"]);
    let candidates = starting(&lines, "a=candidate:");
    assert_eq!(candidates.len(), 2, "one for each media section");
    let directions: Vec<&String> =
        lines.iter().filter(|l| ["a=inactive", "a=sendonly"].contains(&l.as_str())).collect();
    assert_eq!(directions, ["a=inactive", "a=sendonly"]);
}

#[test]
fn the_answer_repeats_the_mid() {
    let named = offer(&[SAFARI_VIDEO]).replace("a=mid:0", "a=mid:the-one-and-only-video");
    let lines = answer(&named.replace("BUNDLE 0", "BUNDLE the-one-and-only-video"));
    assert_eq!(starting(&lines, "a=mid:"), ["the-one-and-only-video"]);
    assert_eq!(starting(&lines, "a=group:BUNDLE"), [" the-one-and-only-video"]);
}

/// A summary of the answer in one line, in the format of the table in `offers/README.md`.
fn summary(sdp: &str) -> String {
    let offer = match Offer::parse(sdp) {
        Ok(offer) => offer,
        Err(error) => return format!("refused: {error:?}"),
    };
    let lines = answer(sdp);
    let sections = lines.split(|line| line.starts_with("m=")).skip(1);
    let media = starting(&lines, "m=").into_iter().zip(sections).map(|(media, section)| {
        let fields: Vec<&str> = media.split(' ').collect();
        if fields[1] == "0" {
            return format!("{} refused", fields[0]);
        }
        let directions = ["sendonly", "recvonly", "sendrecv", "inactive"];
        let direction: Vec<&str> =
            starting(section, "a=").into_iter().filter(|a| directions.contains(a)).collect();
        let mut words = format!("{} {}", fields[0], direction.join("+"));
        if direction == ["sendonly"] {
            for payload_type in &fields[3..] {
                let name = starting(section, &format!("a=rtpmap:{payload_type} "));
                words += &format!(" {payload_type} {}", name[0].trim_end_matches("/90000"));
                for fmtp in starting(section, &format!("a=fmtp:{payload_type} ")) {
                    // The profile and level, or the payload type that RTX repairs.
                    words += &format!(" {}", fmtp.rsplit_once('=').unwrap().1);
                }
            }
            for extension in starting(section, "a=extmap:") {
                words += &format!(" {}", extension.rsplit_once('/').unwrap().1);
            }
        }
        words
    });
    let media: Vec<String> = media.collect();
    assert_eq!(media.len(), offer.sections.len());
    let bundle = starting(&lines, "a=group:");
    format!("{}; {}", media.join(", "), if bundle.is_empty() { "no BUNDLE" } else { bundle[0] })
}

#[test]
fn every_offer_of_the_collection_gets_the_answer_in_the_table() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/offers");
    let table = std::fs::read_to_string(directory.join("README.md")).unwrap();
    let rows: std::collections::BTreeMap<String, String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| row.trim_end_matches('|').split(" | ").collect::<Vec<_>>())
        .map(|cells| (cells[0].trim_end_matches('`').to_owned(), cells[2].trim().to_owned()))
        .collect();
    let mut seen = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".sdp") {
            let sdp = std::fs::read_to_string(&path).unwrap();
            assert_eq!(Some(&summary(&sdp)), rows.get(&name), "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, rows.len(), "every row has a file");
}

#[test]
fn a_sendrecv_offer_is_answered_sendonly() {
    let video = SAFARI_VIDEO.replace("a=recvonly", "a=sendrecv");
    let lines = answer(&offer(&[&video]));
    assert!(lines.iter().any(|line| line == "a=sendonly"));
    let video = SAFARI_VIDEO.replace("a=recvonly", "");
    let lines = answer(&offer(&[&video]));
    assert!(
        lines.iter().any(|line| line == "a=sendonly"),
        "without a direction, sendrecv is the default"
    );
}

#[test]
fn level_asymmetry_is_answered_as_it_is_offered() {
    let lines = answer(&offer(&[&h264("packetization-mode=1;profile-level-id=42e01f")]));
    let fmtp = starting(&lines, "a=fmtp:96 ")[0];
    assert!(
        fmtp.contains("profile-level-id=42e01f"),
        "the level is not above that of the offer: {fmtp}"
    );
    assert!(!fmtp.contains("level-asymmetry-allowed=1"), "{fmtp}");
}

#[test]
fn h264_is_chosen_by_packetization_mode_and_profile() {
    let choose = |types: &[(u8, &str)]| {
        let list: Vec<String> = types.iter().map(|(pt, _)| pt.to_string()).collect();
        let mut video = format!("m=video 9 UDP/TLS/RTP/SAVPF {}\na=recvonly\n", list.join(" "));
        for (pt, fmtp) in types {
            video += &format!("a=rtpmap:{pt} H264/90000\na=fmtp:{pt} {fmtp}\n");
        }
        Offer::parse(&offer(&[&video])).map(|offer| offer.format.payload_type)
    };
    let high = "packetization-mode=1;profile-level-id=640c1f";
    let main = "packetization-mode=1;profile-level-id=4d001f";
    let baseline = "packetization-mode=1;profile-level-id=42001f";
    let constrained = "packetization-mode=1;profile-level-id=42e01f";
    let main_as_constrained = "profile-level-id=4d801f;packetization-mode=1";
    assert_eq!(choose(&[(1, high), (2, main), (3, baseline), (4, constrained)]), Ok(4));
    assert_eq!(choose(&[(1, high), (2, main), (3, baseline)]), Ok(3));
    assert_eq!(choose(&[(1, high), (2, main)]), Ok(1), "the first of two equal profiles");
    assert_eq!(choose(&[(1, baseline), (2, main_as_constrained)]), Ok(2));
    assert_eq!(choose(&[(1, "packetization-mode=1")]), Ok(1), "baseline by default");
    let modes = [(1, "packetization-mode=0;profile-level-id=42e01f"), (2, high)];
    assert_eq!(choose(&modes), Ok(2), "mode 1 before profile");
    assert_eq!(choose(&modes[..1]), Err(OfferError::UnusableH264(H264Error::OtherMode)));
    for unknown in ["zzzzzz", "+42e01", "3d001f", "42e0"] {
        let fmtp = format!("packetization-mode=1;profile-level-id={unknown}");
        let error = OfferError::UnusableH264(H264Error::UnknownProfile);
        assert_eq!(choose(&[(1, &fmtp)]), Err(error));
    }
    let other_clock = h264("packetization-mode=1").replace("/90000", "/48000");
    assert!(Offer::parse(&offer(&[&other_clock])).is_err());
}

#[test]
fn a_stream_gets_its_own_profile_or_the_next_that_reads_it_or_any() {
    let choose = |sdp: &str, profile_level_id| {
        let mut offer = Offer::parse(sdp).unwrap();
        let usual = offer.format.clone();
        offer.prefer_profile(profile_level_id);
        let chosen = (offer.format.payload_type, offer.format.rtx.unwrap());
        offer.prefer_payload_type(usual.payload_type);
        assert_eq!(offer.format, usual, "a connection keeps what it has");
        chosen
    };
    // Constrained baseline, baseline, main and two kinds of high, as encoders write them.
    for (profile_level_id, payload_types) in [
        (0x42c01f, (108, 109)),
        (0x42001f, (102, 103)),
        (0x4d401f, (116, 117)),
        // High 4:4:4.
        (0x640028, (41, 42)),
        (0x640c1f, (41, 42)),
        (0x2c001f, (108, 109)),
    ] {
        assert_eq!(choose(CHROMIUM, profile_level_id), payload_types, "{profile_level_id:06x}");
    }
    let safari = offer(&[SAFARI_VIDEO]);
    assert_eq!(choose(&safari, 0x42c01f), (98, 99));
    assert_eq!(choose(&safari, 0x4d401f), (96, 97));
    assert_eq!(choose(&safari, 0x640028), (96, 97));
    let without_high = offer(&[&SAFARI_VIDEO.replace("640c34", "42001f")]);
    assert_eq!(choose(&without_high, 0x640028), (98, 99), "decoders take it all the same");
}

#[test]
fn an_offer_that_cannot_be_answered_is_an_error_with_its_reason() {
    let refused = |sdp: &str| Offer::parse(sdp).unwrap_err();
    assert_eq!(refused(&offer(&[AUDIO])), OfferError::NoVideo);
    assert_eq!(refused(&offer(&[])), OfferError::NoVideo);
    let sendonly = SAFARI_VIDEO.replace("recvonly", "sendonly");
    assert_eq!(refused(&offer(&[&sendonly])), OfferError::NotReceiving);
    let inactive = SAFARI_VIDEO.replace("recvonly", "inactive");
    assert_eq!(refused(&offer(&[&inactive])), OfferError::NotReceiving);
    let vp9 = offer(&[&VP8_VIDEO.replace("VP8", "VP9")]);
    assert_eq!(refused(&vp9), OfferError::NoCodec(vec!["VP9".into()]));
    let same_mid = offer(&[SAFARI_VIDEO, SAFARI_VIDEO]).replace("a=mid:1", "a=mid:0");
    assert!(matches!(refused(&same_mid), OfferError::Sdp(SdpError::Malformed(_))));
    for invalid_mid in ["a=mid:", "a=mid:two words", "a=mid:\u{e9}"] {
        let invalid = offer(&[SAFARI_VIDEO]).replace("a=mid:0", invalid_mid);
        assert!(matches!(refused(&invalid), OfferError::Sdp(SdpError::Malformed(_))));
    }
    let control_character = offer(&[SAFARI_VIDEO]).replace("VP8", "V\u{7}P8");
    assert!(matches!(refused(&control_character), OfferError::Sdp(SdpError::Malformed(_))));
    for name in ["V\tP8", "V\u{e9}", &"V".repeat(33)] {
        let invalid_name = offer(&[VP8_VIDEO]).replace("VP8", name);
        assert_eq!(refused(&invalid_name), OfferError::NoCodec(Vec::new()), "{name}");
    }
    for malformed in ["", "v=1\r\n", "nonsense", "v=0"] {
        let error = refused(malformed);
        assert!(
            matches!(error, OfferError::Sdp(SdpError::Malformed(_)) | OfferError::NoVideo),
            "{error:?}"
        );
    }
}

#[test]
fn an_offer_that_no_check_or_handshake_can_follow_is_refused_with_a_sentence() {
    let whole = offer(&[SAFARI_VIDEO]);
    let ice_lite = whole.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n");
    // RFC 8842, section 5.2.
    let holdconn = whole.replace("a=setup:actpass", "a=setup:holdconn");
    let mut world = World::new();
    for (sdp, status, reason, part) in [
        (ice_lite, 422, "ice-lite", "(a=ice-lite), which waits for connectivity checks"),
        (holdconn, 400, "offer-malformed", "no valid a=setup"),
    ] {
        let body = json!({"type": "offer", "sdp": sdp}).to_string();
        let (seen, problem) = world.post_offer("10.0.0.1:1".parse().unwrap(), &body);
        assert_eq!((seen, &problem["reason"]), (status, &json!(reason)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
    assert_eq!(world.server.viewers(), 0);
}

#[test]
fn an_offer_that_lacks_a_required_line_is_refused_and_the_server_continues() {
    let whole = offer(&[SAFARI_VIDEO]);
    let mut world = World::new();
    let parts = ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup", "a=rtcp-mux", "m=video"];
    for missing in parts {
        let lines = whole.lines().filter(|line| !line.starts_with(missing));
        let sdp: String = lines.map(|line| format!("{line}\r\n")).collect();
        let body = json!({"type": "offer", "sdp": sdp}).to_string();
        let (status, problem) = world.post_offer("10.0.0.1:1".parse().unwrap(), &body);
        assert!(matches!(status, 400 | 422), "{missing}: {status} {problem}");
        assert!(problem["detail"].as_str().unwrap().len() > 20, "{problem}");
    }
    assert_eq!(world.server.viewers(), 0);
    world.join();
}

#[test]
fn a_mutated_offer_never_breaks_the_server() {
    // Remove, double and truncate every line, and change payload types.
    let lines: Vec<&str> = CHROMIUM.lines().collect();
    let mut world = World::new();
    let (mut answered, mut sent) = (0, 0_u16);
    for index in 0..lines.len() {
        let line = lines[index];
        for replacement in [
            "".into(),
            format!("{line}\r\n{line}"),
            line[..line.len() / 2].into(),
            line.replace("10", "96"),
        ] {
            let mut changed = lines.clone();
            changed[index] = &replacement;
            let body = json!({"type": "offer", "sdp": changed.join("\r\n") + "\r\n"}).to_string();
            // Of another client, or it would be a further offer of a connection.
            let from = ([10, 1, sent.to_be_bytes()[0], sent.to_be_bytes()[1]], 1).into();
            sent += 1;
            let (status, _) = world.post_offer(from, &body);
            assert!(matches!(status, 200 | 400 | 422 | 503), "{status}: {replacement}");
            answered += usize::from(status == 200);
            if world.server.viewers() > 5 {
                world.run(std::time::Duration::from_secs(11));
            }
        }
    }
    assert!(answered > 300, "most changes do not affect the answer: {answered}");
    world.join();
}
