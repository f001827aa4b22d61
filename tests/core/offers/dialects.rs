//! What RFCs let an endpoint write in another way than browsers do, and what has no answer for that.

use super::*;

const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF";

/// The answer's status, and its reason and sentence.
fn refusal(sdp: &str) -> (u16, String, String) {
    let mut world = World::new();
    let body = json!({"type": "offer", "sdp": sdp}).to_string();
    let (status, problem) = world.post_offer("10.0.0.1:1".parse().unwrap(), &body);
    assert_eq!(world.server.viewers(), 0, "{problem}");
    let text = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
    (status, text("reason"), text("detail"))
}

/// RFC 8829, section 5.1.2.
#[test]
fn every_profile_that_may_stand_for_dtls_is_taken_and_repeated() {
    let offer = offer(&[SAFARI_VIDEO, AUDIO]);
    for kind in ["AVP", "AVPF", "SAVP", "SAVPF"] {
        let mut profiles = vec![format!("RTP/{kind}")];
        if kind.starts_with('S') {
            profiles.extend([format!("TCP/DTLS/RTP/{kind}"), format!("UDP/TLS/RTP/{kind}")]);
        }
        for profile in profiles {
            let lines = answer(&offer.replace("UDP/TLS/RTP/SAVPF", &profile));
            let media = starting(&lines, "m=");
            let expected = [format!("video 9 {profile} 98 99"), format!("audio 0 {profile} 111")];
            assert_eq!(media, expected, "{profile}");
        }
    }
    // Without a fingerprint it is what it says.
    let plain = offer.replace("UDP/TLS/RTP/SAVPF", "RTP/AVPF");
    let plain: String = plain
        .lines()
        .filter(|l| !l.contains("a=fingerprint"))
        .map(|l| format!("{l}\r\n"))
        .collect();
    let (status, reason, sentence) = refusal(&plain);
    assert_eq!((status, reason.as_str()), (400, "offer-malformed"));
    assert!(sentence.contains("no a=fingerprint"), "{sentence}");
    let (status, reason, sentence) = refusal(&offer.replace("UDP/TLS/RTP/SAVPF", "RTP/AVPX"));
    assert_eq!((status, reason.as_str()), (400, "offer-malformed"));
    assert!(sentence.contains("no profile of RTP over DTLS"), "{sentence}");
}

/// RFC 8122, section 5, and RFC 4145, section 4.
#[test]
fn the_name_of_a_hash_and_of_a_role_may_be_in_either_case() {
    let offer = offer(&[SAFARI_VIDEO]);
    let usual = Offer::parse(&offer).unwrap();
    for name in ["SHA-256", "Sha-256"] {
        let other = offer.replace("fingerprint:sha-256", &format!("fingerprint:{name}"));
        assert_eq!(Offer::parse(&other).as_ref(), Ok(&usual));
        let after_sha1 =
            other.replace("a=fingerprint", "a=fingerprint:SHA-1 AB:CD\r\na=fingerprint");
        assert_eq!(Offer::parse(&after_sha1).as_ref(), Ok(&usual));
    }
    for (role, answered) in [("ACTPASS", "passive"), ("Active", "passive"), ("PASSIVE", "active")] {
        let other = offer.replace("setup:actpass", &format!("setup:{role}"));
        assert_eq!(starting(&answer(&other), "a=setup:"), [answered], "{role}");
    }
    let sha1 = offer.replace("fingerprint:sha-256", "fingerprint:sha-1");
    assert!(refusal(&sha1).2.contains("no valid a=fingerprint:sha-256"), "{sha1}");
}

/// RFC 8829, section 5.10: a section without a mid gets one of our own, which stays with us.
#[test]
fn an_offer_without_mids_gets_an_answer_without_mids() {
    let without = |sdp: &str| -> String {
        let lines = sdp.lines().filter(|l| !l.starts_with("a=mid") && !l.starts_with("a=group"));
        lines.map(|line| format!("{line}\r\n")).collect()
    };
    let lines = answer(&without(&offer(&[AUDIO, SAFARI_VIDEO])));
    let media = starting(&lines, "m=");
    assert_eq!(media, ["audio 0 UDP/TLS/RTP/SAVPF 111", "video 9 UDP/TLS/RTP/SAVPF 98 99"]);
    assert!(starting(&lines, "a=mid").is_empty(), "{lines:?}");
    assert!(starting(&lines, "a=group").is_empty(), "nothing to bundle by");
    // Beside a bundle that the video is not in.
    let beside = offer(&[AUDIO, SAFARI_VIDEO]).replace("a=mid:1\r\n", "");
    let lines = answer(&beside.replace("BUNDLE 0 1", "BUNDLE 0"));
    assert_eq!(starting(&lines, "a=mid:"), ["0"]);
    assert!(starting(&lines, "a=group").is_empty(), "{lines:?}");
}

#[test]
fn h264_that_cannot_be_sent_is_refused_with_what_is_missing() {
    let without_fmtp = format!("{VIDEO} 96\na=recvonly\na=rtpmap:96 H264/90000");
    for (video, part) in [
        (without_fmtp.clone(), "H.264 without a packetization-mode in its a=fmtp"),
        (h264("profile-level-id=42e01f"), "H.264 without a packetization-mode in its a=fmtp"),
        (h264("packetization-mode=0"), "H.264 in a packetization-mode other than 1"),
        (h264("packetization-mode=1;profile-level-id=xyz"), "an unknown profile-level-id"),
    ] {
        let (status, reason, sentence) = refusal(&offer(&[&video]));
        assert_eq!((status, reason.as_str()), (422, "no-codec"));
        assert!(sentence.contains(part), "{sentence}");
        assert!(sentence.contains("packetization-mode=1 and a profile-level-id"), "{sentence}");
    }
    // A source of H.264 has no VP8.
    let both =
        format!("{VIDEO} 96 97\n{}\na=rtpmap:97 VP8/90000", &without_fmtp[VIDEO.len() + 4..]);
    let offer = Offer::parse(&offer(&[&both])).unwrap();
    assert_eq!(offer.format.payload_type, 97);
    assert_eq!(offer.lacks_h264(), OfferError::UnusableH264(H264Error::NoMode));
    let vp8 = Offer::parse(&super::offer(&[VP8_VIDEO])).unwrap();
    assert_eq!(vp8.lacks_h264(), OfferError::NoH264);
}

/// GStreamer 1.22 takes an answer only if each section has these.
#[test]
fn a_refused_section_says_who_is_at_our_end() {
    let lines = answer(&offer(&[SAFARI_VIDEO, AUDIO, VP8_VIDEO]));
    let sections: Vec<&[String]> =
        lines.split(|line| line.starts_with("m=")).skip(1).collect::<Vec<_>>();
    assert_eq!(sections.len(), 3);
    for name in ["a=fingerprint:", "a=ice-ufrag:", "a=ice-pwd:", "a=setup:"] {
        let values: Vec<Vec<&str>> = sections.iter().map(|it| starting(it, name)).collect();
        assert_eq!(values[0].len(), 1, "{name}");
        assert!(values.iter().all(|value| *value == values[0]), "{name} {values:?}");
    }
}

/// RFC 8839, section 5.4. A check of ours has no room for a long one.
#[test]
fn a_long_user_fragment_makes_us_an_ice_lite_agent() {
    let with = |length| {
        offer(&[SAFARI_VIDEO]).replace("ufrag:abcd", &format!("ufrag:{}", "u".repeat(length)))
    };
    for (length, is_lite) in [(119, false), (120, true), (256, true)] {
        let lines = answer(&with(length));
        assert_eq!(lines.iter().any(|line| line == "a=ice-lite"), is_lite, "{length}");
    }
    let (status, reason, sentence) = refusal(&with(257));
    assert_eq!((status, reason.as_str()), (413, "offer-too-large"));
    assert!(sentence.contains("characters in an a=ice-ufrag: at most 256"), "{sentence}");
}

#[test]
fn an_ice_restart_keeps_the_kind_of_agent_that_we_are() {
    let with = |ufrag: &str, length| {
        offer(&[SAFARI_VIDEO]).replace("ufrag:abcd", &format!("ufrag:{}", ufrag.repeat(length)))
    };
    for (first, second, status) in [(119, 120, 409), (120, 256, 200), (120, 4, 200)] {
        let mut world = World::new();
        let mut post = |sdp: String| {
            let body = json!({"type": "offer", "sdp": sdp}).to_string();
            world.post_offer("10.0.0.1:1".parse().unwrap(), &body)
        };
        assert_eq!(post(with("a", first)).0, 200);
        let (seen, answer) = post(with("b", second));
        assert_eq!(seen, status, "{first} {second}: {answer}");
        if status == 200 {
            let is_lite = answer["sdp"].as_str().unwrap().contains("a=ice-lite\r\n");
            assert_eq!(is_lite, first > 119, "{first} {second}");
        }
        world.run(std::time::Duration::from_secs(1));
        assert_eq!(world.server.viewers(), 1);
    }
}
