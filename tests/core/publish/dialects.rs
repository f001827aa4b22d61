//! Answers of media servers that are not written as browsers do it.

use super::*;

/// The state and the sentence of the media server that answers so.
fn answered(change: impl FnOnce(String) -> String) -> (Value, String) {
    let mut world = publishing(URL);
    let request = connect(&mut world);
    let (_, answer) = world.invite(body(&request));
    let changed = change(answer.clone());
    assert_ne!(changed, answer);
    respond(&mut world, "201 Created\r\nLocation: session/1\r\nETag: *", &changed);
    world.run(seconds(1));
    let stats = stats(&mut world);
    (stats["state"].clone(), stats["sentence"].as_str().unwrap_or_default().to_owned())
}

/// RFC 8829, sections 5.1.2 and 5.10, and RFC 8122, section 5.
#[test]
fn an_answer_in_another_dialect_is_taken() {
    type Change = fn(String) -> String;
    let changes: [Change; 4] = [
        |sdp| sdp.replace("UDP/TLS/RTP/SAVPF", "RTP/AVPF"),
        |sdp| sdp.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
        |sdp| sdp.replace("fingerprint:sha-256", "fingerprint:SHA-256"),
        |sdp| sdp.replace("a=mid:0\r\n", "").replace("a=group:BUNDLE 0\r\n", ""),
    ];
    for change in changes {
        let (state, sentence) = answered(change);
        assert_eq!(state, "live", "{sentence}");
    }
}

/// We are the controlling agent, which has to send checks.
#[test]
fn an_answer_whose_user_fragment_no_check_has_room_for_says_so() {
    let (state, sentence) = answered(|sdp| {
        let long = format!("a=ice-ufrag:{}", "u".repeat(120));
        let line = |line: &str| match line.starts_with("a=ice-ufrag:") {
            true => format!("{long}\r\n"),
            false => format!("{line}\r\n"),
        };
        sdp.lines().map(line).collect()
    });
    assert_eq!(state, "waiting");
    assert!(
        sentence.contains("characters in its a=ice-ufrag, at most 119 are accepted"),
        "{sentence}"
    );
}
