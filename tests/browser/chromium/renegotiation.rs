//! Further offers of a connection.

use super::*;

const RENEGOTIATE: &str = "(async () => {
    CHANGE
    await pc.setLocalDescription();
    const response = await fetch('/offer', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(pc.localDescription),
    });
    await pc.setRemoteDescription(await response.json());
    return pc.signalingState;
})()";

#[test]
fn a_renegotiation_does_not_interrupt_the_video() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = open_plain(&mut chromium, &server);
    let script = ORIGINAL_PAGE.replace("TRANSCEIVER", TRANSCEIVER).replace("WAIT", "");
    assert_eq!(chromium.evaluate(&tab, &script.replace("const pc", "window.pc")), "playing");
    let audio = "pc.addTransceiver('audio', { direction: 'recvonly' });";
    for change in ["", audio, "pc.restartIce();", audio] {
        let script = RENEGOTIATE.replace("CHANGE", change);
        assert_eq!(chromium.evaluate(&tab, &script), "stable");
        let seen = chromium.evaluate(&tab, DISCS);
        follow(&seen);
        assert_eq!(server.stats()["viewers"].as_array().unwrap().len(), 1, "{change}");
    }
    assert_eq!(chromium.evaluate(&tab, "pc.connectionState"), "connected");
}

/// Offers again on the connection, with the codecs that the statement PREFER wants, and applies the
/// offer only if it is answered.
const OFFER_CODECS: &str = "(async () => {
    const [transceiver] = pc.getTransceivers();
    const { codecs } = RTCRtpReceiver.getCapabilities('video');
    PREFER
    const offer = await pc.createOffer();
    const response = await fetch('/offer', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(offer),
    });
    const answer = await response.json();
    if (!response.ok) return answer;
    await pc.setLocalDescription(offer);
    await pc.setRemoteDescription(answer);
    return pc.signalingState;
})()";

/// Chromium decodes nothing more as soon as an offer without the codec is applied, even when it is
/// taken back.
const APPLY_AND_ROLL_BACK: &str = "(async () => {
    await pc.setLocalDescription();
    await pc.setLocalDescription({ type: 'rollback' });
})()";

fn prefer_only(codec: &str) -> String {
    format!(
        "transceiver.setCodecPreferences(
            codecs.filter(({{ mimeType }}) => mimeType === 'video/{codec}'));"
    )
}

#[test]
fn another_codec_needs_a_new_connection_and_the_old_one_plays_on() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    for [codec, other] in [["H264", "VP8"], ["VP8", "H264"]] {
        let tab = open_plain(&mut chromium, &server);
        let play = |codec: &str| {
            let transceiver = "const { codecs } = RTCRtpReceiver.getCapabilities('video');
                const transceiver = pc.addTransceiver('video', { direction: 'recvonly' });";
            let transceiver = transceiver.to_owned() + &prefer_only(codec);
            let script = ORIGINAL_PAGE.replace("TRANSCEIVER", &transceiver).replace("WAIT", "");
            script.replace("const pc", "window.pc")
        };
        let is_one_in = |stats: &Value, codec: &str| {
            let viewers = stats["viewers"].as_array().unwrap();
            viewers.len() == 1 && viewers[0]["codec"] == codec
        };
        assert_eq!(chromium.evaluate(&tab, &play(codec)), "playing");
        let viewer = server.stats()["viewers"][0]["id"].clone();

        let offer_other = OFFER_CODECS.replace("PREFER", &prefer_only(other));
        let refusal = chromium.evaluate(&tab, &offer_other);
        println!("{codec} to {other}: {refusal}");
        assert_eq!(
            (&refusal["status"], &refusal["reason"]),
            (&json!(409), &json!("format-changed"))
        );
        let sentence = refusal["detail"].as_str().unwrap();
        assert!(sentence.contains("in a new RTCPeerConnection"), "{sentence}");
        follow(&chromium.evaluate(&tab, DISCS));
        chromium.evaluate(&tab, APPLY_AND_ROLL_BACK);
        let offer_same = OFFER_CODECS.replace("PREFER", &prefer_only(codec));
        assert_eq!(chromium.evaluate(&tab, &offer_same), "stable");
        follow(&chromium.evaluate(&tab, DISCS));
        let stats = server.stats();
        assert!(is_one_in(&stats, codec), "{stats}");
        assert_eq!(stats["viewers"][0]["id"], viewer, "still the same viewer");

        chromium.evaluate(&tab, "pc.close()");
        assert_eq!(chromium.evaluate(&tab, &play(other)), "playing");
        follow(&chromium.evaluate(&tab, DISCS));
        server.wait_for("only the new connection is left", |stats| is_one_in(stats, other));
        chromium.close(&tab);
        server.wait_for("the tab is closed", |s| s["viewers"].as_array().unwrap().is_empty());
    }
}

#[test]
fn a_further_offer_that_prefers_vp8_but_has_h264_changes_nothing() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = open_plain(&mut chromium, &server);
    let script = ORIGINAL_PAGE.replace("TRANSCEIVER", TRANSCEIVER).replace("WAIT", "");
    assert_eq!(chromium.evaluate(&tab, &script.replace("const pc", "window.pc")), "playing");
    let vp8_first = "const isVp8 = ({ mimeType }) => mimeType === 'video/VP8';
        transceiver.setCodecPreferences(codecs.sort((a, b) => isVp8(b) - isVp8(a)));";
    let script = OFFER_CODECS.replace("PREFER", vp8_first);
    assert_eq!(chromium.evaluate(&tab, &script), "stable");
    follow(&chromium.evaluate(&tab, DISCS));
    let stats = server.stats();
    assert_eq!(stats["viewers"].as_array().unwrap().len(), 1);
    assert_eq!(stats["viewers"][0]["codec"], "H264");
}
