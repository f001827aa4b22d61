//! The page in real Chromium, headless. Screenshots are saved under the target directory's
//! `tmp/screenshots`.

mod renegotiation;

use crate::support::chromium::{Chromium, Tab};
use crate::support::process::{Server, own_address, wait_until};
use crate::support::scripts::{
    DISCS, LIVE, PRINTER_INTERFACE, check_frame_rate, follow, width_of_img,
};
use crate::support::site;
use serde_json::{Value, json};

#[test]
fn the_page_plays_the_ball_on_its_trajectory() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    let seen = chromium.evaluate(&tab, DISCS);
    follow(&seen);
    check_frame_rate(|script| chromium.evaluate(&tab, script));
    let stats = server.stats();
    assert_eq!(stats["viewers"].as_array().unwrap().len(), 1, "one page is one viewer");

    // The time to the first frame as the page measures it, best of three loads.
    let mut first_frames = Vec::new();
    for _ in 0..3 {
        let tab = chromium.open(&server.url());
        chromium.wait_for(&tab, LIVE);
        let since_load = "window.ballcast.firstFrameMs";
        first_frames.push(chromium.evaluate(&tab, since_load).as_f64().unwrap());
        chromium.close(&tab);
    }
    let best = first_frames.iter().copied().fold(f64::MAX, f64::min);
    assert!(best < 1_000.0, "{first_frames:?} ms");
}

#[test]
fn an_img_shows_the_stream_of_pictures_and_it_moves() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&format!("{}static/icon.svg", server.url()));
    let add = "window.picture = document.createElementNS('http://www.w3.org/1999/xhtml', 'img'); \
               document.documentElement.append(picture); picture.src = '/stream.mjpg'";
    chromium.evaluate(&tab, add);
    chromium.wait_for(&tab, "picture.naturalWidth === 640 && picture.naturalHeight === 480");
    let look = "window.look = () => { \
                  const canvas = document.createElementNS(picture.namespaceURI, 'canvas'); \
                  [canvas.width, canvas.height] = [640, 480]; \
                  const context = canvas.getContext('2d'); \
                  context.drawImage(picture, 0, 0); \
                  const { data } = context.getImageData(0, 0, 640, 480); \
                  let count = 0, sum = 0; \
                  for (let at = 0; at < data.length; at += 4) \
                    if (data[at + 1] > 200 && data[at] < 60) { count += 1; sum += at / 4 % 640; } \
                  return count && sum / count; }; window.first = look()";
    assert!(chromium.evaluate(&tab, look).as_f64() > Some(0.0), "there is a ball");
    chromium.wait_for(&tab, "Math.abs(look() - first) > 20");
    assert_eq!(server.stats()["mjpeg_clients"], 1);
    chromium.close(&tab);
    server.wait_for("the tab is closed", |stats| stats["mjpeg_clients"] == 0);
}

#[test]
fn the_page_looks_right_on_a_desktop_and_on_a_phone() {
    let server = Server::start(&["--stamp"]);
    let mut chromium = Chromium::start();
    for (name, width, height, phone, scheme) in [
        ("desktop-light.png", 1280, 800, false, "light"),
        ("desktop-dark.png", 1280, 800, false, "dark"),
        ("phone-light.png", 390, 844, true, "light"),
        ("phone-dark.png", 390, 844, true, "dark"),
    ] {
        let tab = chromium.open_blank();
        chromium.set_viewport(&tab, width, height, phone);
        chromium.set_colour_scheme(&tab, scheme);
        chromium.navigate(&tab, &server.url());
        chromium.wait_for(&tab, LIVE);
        chromium.wait_for(&tab, "window.ballcast.fps > 0");
        let fits = "document.documentElement.scrollWidth <= innerWidth \
                    && document.documentElement.scrollHeight <= innerHeight";
        assert_eq!(chromium.evaluate(&tab, fits), true, "{name}: the page does not scroll");
        let large = "document.querySelector('video').clientWidth >= 0.9 * Math.min(\
                     innerWidth, innerHeight * 4 / 3)";
        assert_eq!(chromium.evaluate(&tab, large), true, "{name}: the picture is large");
        let path = chromium.screenshot(&tab, name);
        assert!(std::fs::metadata(path).unwrap().len() > 5_000);
        chromium.close(&tab);
    }
}

/// Opens a document of the server's origin that does not contain the page's script.
fn open_plain(chromium: &mut Chromium, server: &Server) -> Tab {
    let tab = chromium.open(&format!("{}stats", server.url()));
    chromium.wait_for(&tab, "document.readyState === 'complete'");
    tab
}

/// The script of the page with which this project started.
const ORIGINAL_PAGE: &str = "(async () => {
    document.body.innerHTML = '<video autoplay muted playsinline></video>';
    const video = document.querySelector('video');
    const pc = new RTCPeerConnection();
    pc.ontrack = (event) => { video.srcObject = event.streams[0]; };
    TRANSCEIVER
    await pc.setLocalDescription(await pc.createOffer());
    WAIT
    const { sdp, type } = pc.localDescription;
    const response = await fetch('/offer', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ sdp, type }),
    });
    const answer = await response.json();
    if (!response.ok) return answer.detail;
    await pc.setRemoteDescription(answer);
    await video.play();
    return 'playing';
})()";
const TRANSCEIVER: &str = "pc.addTransceiver('video', { direction: 'recvonly' });";
const GATHER: &str = "await new Promise((resolve) => {
    const check = () => { if (pc.iceGatheringState === 'complete') resolve(); };
    pc.addEventListener('icegatheringstatechange', check);
    check();
});";

#[test]
fn the_original_page_plays_with_and_without_waiting_for_candidates() {
    for wait in [GATHER, ""] {
        let server = Server::start(&[]);
        let mut chromium = Chromium::start();
        let tab = open_plain(&mut chromium, &server);
        let script = ORIGINAL_PAGE.replace("TRANSCEIVER", TRANSCEIVER).replace("WAIT", wait);
        assert_eq!(chromium.evaluate(&tab, &script), "playing");
        let seen = chromium.evaluate(&tab, DISCS);
        follow(&seen);
    }
}

/// As other endpoints may write it (RFC 8829, section 5.1.2, and RFC 8122, section 5), with sections that
/// are refused.
#[test]
fn an_offer_in_another_dialect_plays() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let sections = format!(
        "{TRANSCEIVER} pc.addTransceiver('audio', {{ direction: 'recvonly' }}); \
         pc.createDataChannel('data');"
    );
    for change in [
        "replaceAll('UDP/TLS/RTP/SAVPF', 'RTP/AVPF')",
        "replaceAll('UDP/TLS/RTP/SAVPF', 'RTP/AVP')",
        "replaceAll('fingerprint:sha-256', 'fingerprint:SHA-256')",
    ] {
        let tab = open_plain(&mut chromium, &server);
        let script = ORIGINAL_PAGE.replace("TRANSCEIVER", &sections).replace("WAIT", "");
        let changed = format!("JSON.stringify({{ type, sdp: sdp.{change} }})");
        let script = script.replace("JSON.stringify({ sdp, type })", &changed);
        assert_eq!(chromium.evaluate(&tab, &script), "playing", "{change}");
        follow(&chromium.evaluate(&tab, DISCS));
        chromium.close(&tab);
    }
}

/// As GStreamer has it.
const RSA: &str = "{ certificates: [await RTCPeerConnection.generateCertificate({
    name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]) })] }";

#[test]
fn a_certificate_of_rsa_is_named_at_once() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = open_plain(&mut chromium, &server);
    let script = ORIGINAL_PAGE.replace("TRANSCEIVER", TRANSCEIVER).replace("WAIT", "");
    let script = script.replace("RTCPeerConnection();", &format!("RTCPeerConnection({RSA});"));
    let script = script.replace("await video.play();", "");
    assert_eq!(chromium.evaluate(&tab, &script), "playing");
    let is_rsa = |text: &Value| {
        text.as_str().is_some_and(|text| text.contains("its DTLS certificate is RSA"))
    };
    server.wait_for("the reason of a viewer that is still waited for", |stats| {
        let viewer = &stats["viewers"][0];
        viewer["state"] == "half-open" && is_rsa(&viewer["failure"])
    });
    server.wait_for_log("cannot connect: its DTLS certificate is RSA");
    server.wait_for("its end", |stats| stats["viewers_ended"]["certificate"] == 1);
}

#[test]
fn chromium_plays_vp8_when_that_is_all_it_offers() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = open_plain(&mut chromium, &server);
    let only_vp8 = "const { codecs } = RTCRtpReceiver.getCapabilities('video');
        pc.addTransceiver('video', { direction: 'recvonly' })
            .setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === 'video/VP8'));";
    let script = ORIGINAL_PAGE.replace("TRANSCEIVER", only_vp8).replace("WAIT", "");
    assert_eq!(chromium.evaluate(&tab, &script), "playing");
    assert_eq!(server.stats()["viewers"][0]["codec"], "VP8");
    let seen = chromium.evaluate(&tab, DISCS);
    follow(&seen);
    check_frame_rate(|script| chromium.evaluate(&tab, script));
}

/// Which end of DTLS Chromium is, and what it decrypts with.
const TRANSPORT: &str = "pc.getStats().then((stats) => {
    const { dtlsRole, srtpCipher } = [...stats.values()].find(({ type }) => type === 'transport');
    return [dtlsRole, srtpCipher];
})";

/// As the server of DTLS, Chromium chooses AES-CM.
#[test]
fn chromium_plays_in_each_role_of_dtls() {
    const GCM: &str = "SRTP_AEAD_AES_256_GCM";
    const CM: &str = "SRTP_AES128_CM_HMAC_SHA1_80";
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    for (setup, role, profile) in
        [("actpass", "client", GCM), ("active", "client", GCM), ("passive", "server", CM)]
    {
        let tab = open_plain(&mut chromium, &server);
        let script = ORIGINAL_PAGE.replace("TRANSCEIVER", TRANSCEIVER).replace("WAIT", "");
        let body = "JSON.stringify({ sdp, type })";
        assert!(script.contains(body));
        let changed = format!("{body}.replaceAll('a=setup:actpass', 'a=setup:{setup}')");
        let script = script.replace(body, &changed).replace("const pc", "window.pc");
        assert_eq!(chromium.evaluate(&tab, &script), "playing", "{setup}");
        follow(&chromium.evaluate(&tab, DISCS));
        let transport = chromium.evaluate(&tab, TRANSPORT);
        println!("{setup}: {transport}");
        assert_eq!(transport, json!([role, profile]));
        chromium.close(&tab);
    }
}

/// Common players also offer audio and a data channel.
const AUDIO_FIRST: &str = "pc.addTransceiver('audio', {direction: 'recvonly'});
    pc.addTransceiver('video', {direction: 'recvonly'}); pc.createDataChannel('data');";

#[test]
fn offered_audio_and_data_channels_do_not_prevent_video() {
    let server = Server::start(&[]);
    for policy in ["balanced", "max-compat", "max-bundle"] {
        let mut chromium = Chromium::start();
        let tab = open_plain(&mut chromium, &server);
        let script = ORIGINAL_PAGE.replace("TRANSCEIVER", AUDIO_FIRST).replace("WAIT", "");
        let bundled = format!("new RTCPeerConnection({{bundlePolicy: '{policy}'}})");
        assert!(script.contains("new RTCPeerConnection()"));
        let script = script.replace("new RTCPeerConnection()", &bundled);
        assert_eq!(chromium.evaluate(&tab, &script), "playing", "{policy}");
    }
}

#[test]
fn an_offer_without_video_is_refused_with_the_missing_call() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = open_plain(&mut chromium, &server);
    let script = ORIGINAL_PAGE.replace("TRANSCEIVER", "").replace("WAIT", "");
    let sentence = chromium.evaluate(&tab, &script);
    let missing = "pc.addTransceiver('video', {direction: 'recvonly'})";
    assert!(sentence.as_str().unwrap().contains(missing), "{sentence}");

    // Our own page shows the detail of the refusal.
    let tab = chromium.open_blank();
    chromium.prepare(
        &tab,
        "RTCPeerConnection.prototype.addTransceiver = function () {
            this.createDataChannel('data');
            return { receiver: {} };
        };",
    );
    chromium.navigate(&tab, &server.url());
    chromium.wait_for(&tab, "window.ballcast?.state === 'failed'");
    let text = chromium.evaluate(&tab, "document.body.innerText");
    assert!(text.as_str().unwrap().contains(missing), "{text}");
    chromium.screenshot(&tab, "refused.png");
}

#[test]
fn a_closed_or_reloaded_tab_sends_close_notify_and_is_removed_at_once() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    chromium.navigate(&tab, &server.url());
    chromium.wait_for(&tab, LIVE);
    server.wait_for("the viewer of the old page is removed", |s| {
        s["viewers"].as_array().unwrap().len() == 1
    });
    chromium.close(&tab);
    server.wait_for("the viewer of the closed tab is removed", |s| {
        s["viewers"].as_array().unwrap().is_empty()
    });
    let log = server.log().join("\n");
    assert_eq!(
        log.matches(": the peer closed the connection").count(),
        2,
        "by close_notify, not by a timeout: {log}"
    );
}

#[test]
fn a_page_of_the_same_host_shows_the_picture_inside_and_one_of_another_host_does_not() {
    let server = Server::start(&[]);
    let frame = format!("<iframe src='{}' width='400' height='300'></iframe>", server.url());
    let port = site::serve("127.0.0.1", &frame).port();
    let mut chromium = Chromium::start();
    let foreign = chromium.open(&format!("http://localhost:{port}/"));
    let own = chromium.open(&format!("http://127.0.0.1:{port}/"));
    let stats = server.wait_for("the picture in the frame", |stats| {
        stats["viewers"][0]["frames_sent"].as_u64() > Some(60)
    });
    chromium.screenshot(&own, "in-a-frame.png");
    chromium.screenshot(&foreign, "in-a-foreign-frame.png");
    assert_eq!(stats["viewers"].as_array().unwrap().len(), 1, "{stats}");
    assert_eq!(server.stats()["viewers_served"], 1);
}

#[test]
fn the_web_interface_of_a_printer_on_another_port_plays() {
    let server = Server::start(&[]);
    let port = site::serve("127.0.0.1", "<video muted autoplay></video>").port();
    let mut chromium = Chromium::start();
    let tab = chromium.open(&format!("http://127.0.0.1:{port}/"));
    let played = chromium.evaluate(&tab, &PRINTER_INTERFACE.replace("URL", &server.url()));
    assert_eq!(played, "it plays");
}

#[test]
fn an_img_of_a_page_on_another_port_shows_pictures_by_address_and_by_name() {
    const NAME: &str = "printer.localhost";
    let mut chromium = Chromium::start();
    for (address, names) in [(own_address().as_str(), &[][..]), ("127.0.0.1", &["127.0.0.1", NAME])]
    {
        let server = Server::start_on(address, 0, &["--allow-host", NAME]);
        let port = site::serve(address, "<p>A printer</p>").port();
        for name in names.iter().copied().chain([address]) {
            let tab = chromium.open(&format!("http://{name}:{port}/"));
            chromium.wait_for(&tab, "document.readyState === 'complete'");
            for path in ["snapshot.jpg", "stream.mjpg", "?action=stream"] {
                let url = format!("http://{name}:{}/{path}", server.address.port());
                assert_eq!(chromium.evaluate(&tab, &width_of_img(&url)), 640, "{url}");
            }
            chromium.close(&tab);
        }
        // Another host, to the browser and to the server.
        let elsewhere = site::serve("127.0.0.1", "<p>Another site</p>").port();
        let tab = chromium.open(&format!("http://localhost:{elsewhere}/"));
        chromium.wait_for(&tab, "document.readyState === 'complete'");
        let url = format!("{}snapshot.jpg", server.url());
        assert_eq!(chromium.evaluate(&tab, &width_of_img(&url)), 0, "{url}");
        chromium.close(&tab);
    }
}

#[test]
fn an_address_that_is_opened_and_refused_shows_a_sentence_also_in_a_frame() {
    let server = Server::start(&[]);
    let unknown = format!("http://printer.localhost:{}/", server.address.port());
    let mut chromium = Chromium::start();
    for (url, sentence) in [
        (unknown, "This server does not answer to the name printer.localhost."),
        (format!("{}nowhere", server.url()), "There is nothing here. The picture is at /."),
    ] {
        let tab = chromium.open(&url);
        chromium.wait_for(&tab, &format!("document.body?.innerText.startsWith('{sentence}')"));
        chromium.close(&tab);
    }
    let frame = format!("<iframe src='{}nowhere'></iframe>", server.url());
    let page = site::serve("127.0.0.1", &frame);
    let tab = chromium.open(&format!("http://{page}/"));
    wait_until("the sentence in the frame", || {
        chromium.texts(&tab).contains("There is nothing here. The picture is at /.")
    });
    chromium.screenshot(&tab, "refused-in-a-frame.png");
}
