//! A media server's answer to an offer of ours: what is read of it, and the viewer that it makes.
//!
//! Input that begins with `v=0` is the answer itself, so that recorded answers are seeds. Any other
//! input describes one: a true answer to our offer, or one in the shape of a server's, and edits of
//! its text. What was understood of it is looked for in the text, and the viewer is followed, while
//! nobody replies, to its end.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use ballcast::testing::http::BODY_MAX_BYTES;
use ballcast::testing::media::Codec;
use ballcast::testing::sdp::local_offer::OfferedFormat;
use ballcast::testing::sdp::offer::{SdpError, Setup};
use ballcast::testing::sdp::remote_answer::{AnswerError, RemoteAnswer};
use ballcast::testing::webrtc::viewer::{PendingOffer, Viewer, formats};
use ballcast::testing::webrtc::{
    EndReason, HALF_OPEN_LIMIT, LocalParameters, StreamNumbers, Transmit, ViewerEffect,
};
use ballcast::testing::work::steps_of;
use str0m::IceCreds;

use crate::Outcomes;
use crate::edits::{Edit, edited, pick};
use crate::support::client::{self, Client};
use crate::support::crypto;

/// The most work: these steps, and so many a byte. Each payload type of the m-line, of two bytes and
/// more, is listed and then compared with all that were offered.
const WORK_BASE: u64 = 400;
const WORK_PER_BYTE: u64 = 3;
/// The most addresses that an answer makes us send to.
const MAX_CANDIDATES: usize = 16;
/// The most datagrams to all of them until we give up.
const MAX_DATAGRAMS: usize = 1_000;
/// By which number the offer has `playout-delay`.
const PLAYOUT_DELAY: u8 = 1;
/// High profile, level 4: that of a stream from outside.
const OWN_PROFILE: u32 = 0x64_00_28;
/// The seed of every viewer's random numbers.
const SEED: u64 = 0xa95e;

/// The time at which every run starts. Only differences matter.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

static OUR_ADDRESSES: LazyLock<[SocketAddr; 2]> =
    LazyLock::new(|| ["10.0.0.254:8080", "[fd00::254]:8080"].map(|it| it.parse().unwrap()));

/// Answers of a server that takes H.264, VP8, and a profile of the stream's own.
static TRUE: LazyLock<[String; 3]> = LazyLock::new(|| {
    [(false, Codec::H264), (false, Codec::Vp8), (true, Codec::H264)].map(|(has_own, codec)| {
        let (_, offer) = offer(offered(has_own));
        let address = SocketAddr::from(([10, 0, 1, 1], 5_000));
        let config = client::config(codec, crypto::provider());
        Client::answering(config, address, codec, &offer, *START).expect("str0m takes it").1
    })
});

pub fn run(data: &[u8]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let (formats, text) = answer_of(data, &mut outcomes);
    if text.len() > BODY_MAX_BYTES {
        outcomes.insert("too long".to_owned());
        return outcomes;
    }
    let most = WORK_BASE + WORK_PER_BYTE * text.len() as u64;
    let (steps, read) = steps_of(|| RemoteAnswer::parse(&text, &formats, PLAYOUT_DELAY));
    assert!(steps <= most, "{steps} steps for {} bytes", text.len());
    match &read {
        Ok(answer) => {
            check(answer, &text, &formats);
            note(answer, &text, &mut outcomes);
        }
        Err(error) => refused(error, &mut outcomes),
    }
    let (pending, _) = offer(formats);
    let (steps, accepted) = steps_of(|| pending.accept(&text, *START));
    assert!(steps <= most, "{steps} steps to accept {} bytes", text.len());
    match (accepted, read) {
        (Ok(viewer), Ok(answer)) => follow(viewer, &answer, &mut outcomes),
        (Err(error), Err(expected)) => assert_eq!(error, expected),
        (Err(error), Ok(_)) => panic!("an answer that can be read {error}:\n{text}"),
        (Ok(_), Err(error)) => panic!("an answer that {error} is taken:\n{text}"),
    }
    outcomes
}

/// What is offered for a stream with a profile of its own, or for one that is encoded here.
fn offered(has_own_profile: bool) -> Vec<OfferedFormat> {
    formats(has_own_profile.then_some(OWN_PROFILE), !has_own_profile)
}

fn offer(formats: Vec<OfferedFormat>) -> (PendingOffer, String) {
    fastrand::seed(SEED);
    let local = LocalParameters {
        crypto: &crypto::provider(),
        certificate: &crypto::certificate(SEED),
        credentials: IceCreds { ufrag: "ours".repeat(2), pass: "our+password".repeat(2) },
        addresses: OUR_ADDRESSES.to_vec(),
        announced: &[],
        numbers: StreamNumbers::new([7; 6]),
        resend_packets: 64,
        sends_orientation: false,
    };
    PendingOffer::new(formats, local, *START)
}

fn refused(error: &AnswerError, outcomes: &mut Outcomes) {
    let clause = error.to_string();
    let is_clause = !clause.is_empty() && !clause.ends_with('.');
    assert!(is_clause && !clause.contains(char::is_control), "a clause: {clause:?}");
    let what = match error {
        AnswerError::Sdp(SdpError::Malformed(_)) => "malformed",
        AnswerError::Sdp(SdpError::TooLarge(..)) => "too large",
        AnswerError::NoVideo => "no video",
        AnswerError::NoFormat => "no format",
    };
    outcomes.insert(format!("refused {what}"));
}

fn note(answer: &RemoteAnswer, text: &str, outcomes: &mut Outcomes) {
    let is_lite = text.lines().any(|line| line.trim_end() == "a=ice-lite");
    let format = answer.format;
    let names = [
        Some(if format.codec == Codec::H264 { "taken H264" } else { "taken VP8" }),
        (format.profile_level_id == OWN_PROFILE).then_some("own profile"),
        Some(if answer.takes_rtx { "with rtx" } else { "without rtx" }),
        answer.takes_playout_delay.then_some("playout-delay"),
        Some(if answer.peer.setup == Setup::Active { "active" } else { "passive" }),
        is_lite.then_some("ice-lite"),
    ];
    outcomes.extend(names.into_iter().flatten().map(str::to_owned));
}

// -------------------------------------------------------------------------------------------------
// What was understood: it is in the text, and may be acted on.

fn check(answer: &RemoteAnswer, text: &str, formats: &[OfferedFormat]) {
    assert!(formats.contains(&answer.format), "{:?} was not offered", answer.format);
    let candidates = &answer.candidates;
    assert!(candidates.len() <= MAX_CANDIDATES, "{} candidates", candidates.len());
    for (address, priority) in candidates {
        assert!(is_reachable(*address), "nobody is at {address}");
        assert!(has_candidate(text, *address, *priority), "{address} is not in the answer");
    }
    check_peer(answer, text);
    check_format(answer, text);
}

fn check_peer(answer: &RemoteAnswer, text: &str) {
    let has = |name: &str, value: &str| {
        let line = format!("a={name}:{value}");
        text.lines().any(|it| it.trim_end() == line)
    };
    let peer = &answer.peer;
    let IceCreds { ufrag, pass } = &peer.credentials;
    assert!(has("ice-ufrag", ufrag), "{ufrag} is not in the answer");
    assert!(has("ice-pwd", pass), "the password is not in the answer");
    let fingerprint = peer.fingerprint.map(|byte| format!("{byte:02X}")).join(":");
    assert!(text.to_ascii_uppercase().contains(&fingerprint), "{fingerprint} is not in the answer");
    let setups: &[&str] = match peer.setup {
        Setup::Active => &["active", "actpass"],
        Setup::Passive => &["passive"],
    };
    assert!(setups.iter().any(|it| has("setup", it)), "{:?} is not in the answer", peer.setup);
}

fn check_format(answer: &RemoteAnswer, text: &str) {
    let lists = |payload_type: u8, codec: &str| {
        // Any white space may be between the words.
        let is_listed = text.lines().any(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next() == Some("m=video")
                && words.skip(2).any(|it| it.parse() == Ok(payload_type))
        });
        let mut rtpmaps = text.lines().filter_map(|line| line.strip_prefix("a=rtpmap:"));
        let is_named = rtpmaps.any(|rtpmap| {
            let (number, name) = rtpmap.split_once(' ').unwrap_or_default();
            let is_it = name.trim().eq_ignore_ascii_case(&format!("{codec}/90000"));
            is_it && number.parse() == Ok(payload_type)
        });
        is_listed && is_named
    };
    let OfferedFormat { codec, payload_type, rtx, .. } = answer.format;
    assert!(lists(payload_type, codec.name()), "{:?} is not in the answer", answer.format);
    assert!(!answer.takes_rtx || lists(rtx, "rtx"), "RTX is not in the answer");
    let has_extension = text.contains("rtp-hdrext/playout-delay");
    assert!(!answer.takes_playout_delay || has_extension, "playout-delay is not in the answer");
}

/// Whether a single host may be there.
fn is_reachable(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    address.port() != 0
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// With this priority, or a little more: no two keep the same.
fn has_candidate(text: &str, address: SocketAddr, priority: u32) -> bool {
    let candidates = text.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    candidates.map(|it| it.split_ascii_whitespace().collect::<Vec<&str>>()).any(|words| {
        matches!(words[..], [_, "1", protocol, its_priority, ip, port, ..]
            if protocol.eq_ignore_ascii_case("udp")
                && its_priority.parse().is_ok_and(|its: u32| its.wrapping_sub(priority) < 16)
                && ip.parse() == Ok(address.ip())
                && port.parse() == Ok(address.port()))
    })
}

// -------------------------------------------------------------------------------------------------
// What the viewer does, while nobody replies to it.

fn follow(mut viewer: Viewer, answer: &RemoteAnswer, outcomes: &mut Outcomes) {
    let allowed: BTreeSet<SocketAddr> =
        answer.candidates.iter().map(|(address, _)| *address).collect();
    let (mut now, mut datagrams) = (*START, 0);
    loop {
        while let Some(effect) = viewer.poll_effect() {
            if let ViewerEffect::CheckSent(_, to) = effect {
                assert!(allowed.contains(&to), "{to} is not a candidate of the answer");
                continue;
            }
            check_effect(&effect, &allowed);
            outcomes.insert("asked".to_owned());
            datagrams += 1;
            assert!(datagrams <= MAX_DATAGRAMS, "more than {MAX_DATAGRAMS} datagrams");
        }
        let Some(at) = viewer.poll_timeout() else { break };
        assert!(at > now, "a deadline that is not in the future");
        now = at;
        viewer.handle_timeout(now);
    }
    assert_eq!(viewer.end_reason(), Some(EndReason::ConnectTimeout), "{:?}", viewer.failure());
    assert!(now <= *START + HALF_OPEN_LIMIT + Duration::from_millis(1), "it is given up too late");
}

/// Nothing but checks, from us to where the answer says that the server is.
fn check_effect(effect: &ViewerEffect, allowed: &BTreeSet<SocketAddr>) {
    let ViewerEffect::Transmit(Transmit { source, destination, contents }) = effect else {
        panic!("a server that is silent has {effect:?}");
    };
    assert!(OUR_ADDRESSES.contains(source), "{source} is not ours");
    assert!(allowed.contains(destination), "{destination} is not a candidate of the answer");
    // A binding request (RFC 8489, section 5).
    assert!(contents.starts_with(&[0, 1]), "no check: {contents:?}");
}

// -------------------------------------------------------------------------------------------------
// The answer of an input.

/// Numbers are indices into the tables below, so that every input is an answer, and an input of
/// zeros is a true one.
#[derive(Debug, Arbitrary)]
struct Plan {
    has_own_profile: bool,
    source: Source,
    edits: Vec<Edit>,
}

#[derive(Debug, Arbitrary)]
enum Source {
    True(u8),
    Shape(u8),
}

fn answer_of(data: &[u8], outcomes: &mut Outcomes) -> (Vec<OfferedFormat>, String) {
    if data.starts_with(b"v=0") {
        outcomes.insert("raw".to_owned());
        return (offered(false), String::from_utf8_lossy(data).into_owned());
    }
    let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(data)) else {
        return (offered(false), String::new());
    };
    let (name, text) = match plan.source {
        Source::True(which) => ("true", TRUE[usize::from(which) % TRUE.len()].clone()),
        Source::Shape(which) => ("shape", pick(SHAPES, which).replace('\n', "\r\n")),
    };
    outcomes.insert(name.to_owned());
    let formats = offered(plan.has_own_profile);
    if plan.edits.is_empty() {
        return (formats, text);
    }
    outcomes.insert("changed".to_owned());
    (formats, edited(text, &plan.edits, EXTRAS))
}

/// What differs from one server to another: what stands in the session's part, the role in DTLS,
/// ICE-lite, several fingerprints, and which formats are taken.
const SHAPES: &[&str] = &[
    // One agent for the session, and candidates for RTCP too.
    "v=0
o=- 3245185839 1700000000 IN IP4 0.0.0.0
s=-
t=0 0
a=msid-semantic:WMS *
a=fingerprint:sha-256 A0:A1:A2:A3:A4:A5:A6:A7:A8:A9:AA:AB:AC:AD:AE:AF:B0:B1:B2:B3:B4:B5:B6:B7:B8:B9:BA:BB:BC:BD:BE:BF
a=extmap-allow-mixed
a=group:BUNDLE 0
m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 0.0.0.0
a=setup:active
a=mid:0
a=ice-ufrag:kbxnMkSzTvkVQtCi
a=ice-pwd:IjcRJAUrHYTShCwPTrBCPGSGGAxRCQVk
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 H264/90000
a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=recvonly
a=candidate:3628985204 1 udp 2130706431 192.0.2.7 8189 typ host ufrag kbxnMkSzTvkVQtCi
a=candidate:3628985204 2 udp 2130706431 192.0.2.7 8189 typ host ufrag kbxnMkSzTvkVQtCi
a=candidate:233762139 1 udp 2130706431 2001:db8::7 8189 typ host
a=candidate:842163049 1 udp 1694498815 198.51.100.7 8189 typ srflx raddr 0.0.0.0 rport 8189
a=candidate:1052353102 1 tcp 1671430143 192.0.2.7 8189 typ host tcptype passive
a=end-of-candidates
",
    // An ICE-lite agent on one port, which waits for our checks and for our handshake.
    "v=0
o=sfu 10000 1 IN IP4 0.0.0.0
s=-
t=0 0
a=ice-lite
a=group:BUNDLE 0
a=fingerprint:sha-256 a0:a1:a2:a3:a4:a5:a6:a7:a8:a9:aa:ab:ac:ad:ae:af:b0:b1:b2:b3:b4:b5:b6:b7:b8:b9:ba:bb:bc:bd:be:bf
a=ice-ufrag:c0ffee00
a=ice-pwd:c0ffee00c0ffee00c0ffee00c0ffee00
a=setup:passive
a=recvonly
m=video 7 UDP/TLS/RTP/SAVPF 98
c=IN IP4 127.0.0.1
a=mid:0
a=rtcp-mux
a=rtpmap:98 VP8/90000
a=rtcp-fb:98 ccm fir
a=extmap:1 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay
a=candidate:udpcandidate 1 udp 1078862079 127.0.0.1 44444 typ host
a=end-of-candidates
",
    // Several fingerprints, the RTCP port, and a choice of what was offered.
    "v=0
o=- 3900000000 3900000000 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0
a=msid-semantic:WMS *
m=video 52000 UDP/TLS/RTP/SAVPF 98 99 96 97
c=IN IP4 10.7.7.7
a=recvonly
a=extmap:1/recvonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay
a=mid:0
a=rtcp:9 IN IP4 0.0.0.0
a=rtcp-mux
a=rtpmap:98 VP8/90000
a=rtpmap:99 rtx/90000
a=fmtp:99 apt=98
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1;level-asymmetry-allowed=1;profile-level-id=42e01f
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=candidate:05f 1 udp 2130706431 10.7.7.7 52000 typ host
a=candidate:171 1 udp 2130706175 fd00::7 52000 typ host
a=end-of-candidates
a=ice-ufrag:tFpK
a=ice-pwd:JiW3JDMrFVZ5FTM0xdeSfc
a=fingerprint:sha-512 00:01:02
a=fingerprint:sha-256 A0:A1:A2:A3:A4:A5:A6:A7:A8:A9:AA:AB:AC:AD:AE:AF:B0:B1:B2:B3:B4:B5:B6:B7:B8:B9:BA:BB:BC:BD:BE:BF
a=setup:active
",
    // A refusal.
    "v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
m=video 0 UDP/TLS/RTP/SAVPF 0
c=IN IP4 0.0.0.0
a=inactive
",
];

const EXTRAS: &[&str] = &[
    "a=extmap:1 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    "a=ice-lite",
    "a=setup:active",
    "a=setup:passive",
    "a=setup:actpass",
    "a=setup:holdconn",
    "a=recvonly",
    "a=sendrecv",
    "a=sendonly",
    "a=inactive",
    "a=rtcp-mux",
    "a=mid:0",
    "a=mid:again",
    "a=group:BUNDLE 0 again",
    "a=bundle-only",
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99",
    "m=video 0 UDP/TLS/RTP/SAVPF 96",
    "m=audio 9 UDP/TLS/RTP/SAVPF 96",
    "a=rtpmap:96 H264/90000",
    "a=rtpmap:97 rtx/90000",
    "a=rtpmap:98 VP8/90000",
    "a=rtpmap:98 h264/90000",
    "a=rtpmap:96 AV1/90000",
    "a=fmtp:96 packetization-mode=0;profile-level-id=640c1f",
    "a=fmtp:97 apt=98",
    "a=ice-ufrag:other",
    "a=ice-ufrag:ours",
    "a=ice-pwd:0123456789abcdefghijkl",
    "a=ice-pwd:short",
    "a=fingerprint:sha-1 00:01",
    "a=candidate:1 1 UDP 4294967295 10.0.1.2 65535 typ host",
    "a=candidate:1 1 udp 0 10.0.1.1 5000 typ prflx",
    "a=candidate:2 1 udp 1 10.0.0.254 8080 typ host",
    "a=candidate:3 1 udp 1 fd00::254 8080 typ host",
    "a=candidate:4 1 udp 1 ::ffff:10.0.1.3 5000 typ host",
    "a=candidate:5 1 udp 1 169.254.1.1 5000 typ host",
    "a=candidate:6 1 udp 1 fe80::1 5000 typ host",
    "a=candidate:7 1 udp 1 224.0.0.1 5000 typ host",
    "a=candidate:8 1 udp 1 ff02::1 5000 typ host",
    "a=candidate:9 1 udp 1 255.255.255.255 5000 typ host",
    "a=candidate:10 1 udp 1 :: 5000 typ host",
    "a=candidate:11 1 udp 1 10.0.1.4 0 typ host",
    "a=candidate:12 2 udp 1 10.0.1.5 5000 typ host",
    "a=candidate:13 1 tcp 1 10.0.1.6 9 typ host tcptype active",
    "a=candidate:14 1 udp 1 camera.local 5000 typ host",
    "a=candidate:15 1 udp 4294967296 10.0.1.7 5000 typ host",
    "a=candidate:16 1 udp 1 127.0.0.1 5000 typ host",
    "a=candidate:",
    "a=simulcast:recv h;l",
    "a=rid:h recv",
    "a=ssrc:1 cname:x",
    "b=AS:300",
    "c=IN IP6 ::",
];

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn is_violated(check: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(check)).is_err()
    }

    fn is_violated_after(change: impl FnOnce(&mut RemoteAnswer)) -> bool {
        let (text, formats) = (&TRUE[0], offered(false));
        let mut answer = RemoteAnswer::parse(text, &formats, PLAYOUT_DELAY).unwrap();
        change(&mut answer);
        is_violated(|| check(&answer, text, &formats))
    }

    #[test]
    fn answers_of_zeros_and_in_the_shapes_of_servers_are_taken() {
        let outcomes = run(&[0; 16]);
        let expected = ["true", "taken H264", "with rtx", "asked"];
        assert!(expected.iter().all(|it| outcomes.contains(*it)), "{outcomes:?}");
        let expected = [
            &["taken H264", "with rtx", "active", "asked"][..],
            &["taken VP8", "without rtx", "passive", "ice-lite", "playout-delay", "asked"],
            &["taken H264", "with rtx", "active", "playout-delay", "asked"],
            &["refused no video"],
        ];
        for (shape, expected) in SHAPES.iter().zip(expected) {
            let outcomes = run(shape.as_bytes());
            assert!(expected.iter().all(|it| outcomes.contains(*it)), "{outcomes:?}\n{shape}");
        }
    }

    #[test]
    fn answer_properties_are_violated_by_what_the_answer_does_not_say() {
        assert!(!is_violated_after(|_| {}));
        let strange = "10.0.1.1:5001".parse().unwrap();
        assert!(is_violated_after(|answer| answer.candidates.push((strange, 1))));
        assert!(is_violated_after(|answer| answer.candidates[0].1 += 1));
        assert!(is_violated_after(|answer| answer.format.payload_type = 100));
        assert!(is_violated_after(|answer| answer.format = offered(false)[1]));
        assert!(is_violated_after(|answer| answer.takes_playout_delay = true));
        assert!(is_violated_after(|answer| answer.peer.credentials.pass.push('x')));
        assert!(is_violated_after(|answer| answer.peer.credentials.ufrag.clear()));
        assert!(is_violated_after(|answer| answer.peer.fingerprint[31] ^= 1));
        let other = |setup| if setup == Setup::Active { Setup::Passive } else { Setup::Active };
        assert!(is_violated_after(|answer| answer.peer.setup = other(answer.peer.setup)));
        let is_rtx_seen = || {
            let text = TRUE[0].replace("a=rtpmap:97 rtx/90000", "a=x");
            let answer = RemoteAnswer::parse(&TRUE[0], &offered(false), PLAYOUT_DELAY).unwrap();
            check_format(&answer, &text);
        };
        assert!(is_violated(is_rtx_seen));
        let many = |answer: &mut RemoteAnswer| answer.candidates = vec![answer.candidates[0]; 17];
        assert!(is_violated_after(many));
        for nobody in ["10.0.1.1:0", "0.0.0.0:9", "224.0.0.1:9", "255.255.255.255:9", "[::]:9"] {
            assert!(!is_reachable(nobody.parse().unwrap()), "{nobody}");
        }
    }

    #[test]
    fn answer_properties_are_violated_by_a_viewer_that_sends_elsewhere() {
        let (text, formats) = (&TRUE[0], offered(false));
        let answer = RemoteAnswer::parse(text, &formats, PLAYOUT_DELAY).unwrap();
        let viewer = || offer(formats.clone()).0.accept(text, *START).unwrap_or_else(|_| panic!());
        assert!(!is_violated(|| follow(viewer(), &answer, &mut Outcomes::new())));
        let without = RemoteAnswer { candidates: Vec::new(), ..answer.clone() };
        assert!(is_violated(|| follow(viewer(), &without, &mut Outcomes::new())));
        let is_effect_violated = |effect| {
            is_violated(|| check_effect(&effect, &BTreeSet::from([answer.candidates[0].0])))
        };
        let check = Transmit {
            source: OUR_ADDRESSES[0],
            destination: answer.candidates[0].0,
            contents: vec![0, 1],
        };
        assert!(!is_effect_violated(ViewerEffect::Transmit(check.clone())));
        let source = answer.candidates[0].0;
        assert!(is_effect_violated(ViewerEffect::Transmit(Transmit { source, ..check.clone() })));
        assert!(is_effect_violated(ViewerEffect::Transmit(Transmit {
            contents: vec![22],
            ..check
        })));
        assert!(is_effect_violated(ViewerEffect::Connected));
    }
}
