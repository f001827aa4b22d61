//! JavaScript that measures a page that plays the ball, for any browser.

use serde_json::Value;

use super::ball;

pub const LIVE: &str = "window.ballcast?.state === 'live'";

/// What Mainsail and Fluidd do with a camera of the type `webrtc-mediamtx` at URL, step by step: they go on
/// after a 204 alone, ask for audio, too, post the offer before they set it, and send each candidate in a
/// PATCH of its own, also the empty one with which Firefox ends.
pub const PRINTER_INTERFACE: &str = "(async () => {
    const endpoint = 'URLwhep';
    const options = await fetch(endpoint, { method: 'OPTIONS' });
    if (options.status !== 204) return `OPTIONS is answered ${options.status}`;
    const pc = new RTCPeerConnection();
    for (const kind of ['video', 'audio']) pc.addTransceiver(kind, { direction: 'sendrecv' });
    const video = document.querySelector('video');
    pc.ontrack = ({ streams }) => { video.srcObject = streams[0]; };
    const offer = await pc.createOffer();
    const value = (name) => offer.sdp.match(new RegExp(`a=${name}:(.*)`))[1].trim();
    const created = await fetch(endpoint, {
        method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: offer.sdp,
    });
    if (created.status !== 201) return `POST is answered ${created.status}`;
    const session = `${endpoint}/${created.headers.get('Location').split('/').pop()}`;
    const failures = [];
    let last = '';
    pc.onicecandidate = async ({ candidate }) => {
        if (candidate === null) return;
        last = candidate.candidate;
        const changed = await fetch(session, {
            method: 'PATCH',
            headers: {
                'Content-Type': 'application/trickle-ice-sdpfrag',
                'If-Match': created.headers.get('ETag'),
            },
            body: `a=ice-ufrag:${value('ice-ufrag')}\\r\\na=ice-pwd:${value('ice-pwd')}\\r\\n`
                + `m=video 9 UDP/TLS/RTP/SAVPF 0\\r\\na=mid:0\\r\\na=${candidate.candidate}\\r\\n`,
        });
        if (changed.status !== 204) failures.push(`PATCH is answered ${changed.status}`);
    };
    await pc.setLocalDescription(offer);
    await pc.setRemoteDescription({ type: 'answer', sdp: await created.text() });
    for (let frames = 0; frames < 60; frames += 1) {
        await new Promise((resolve) => { video.requestVideoFrameCallback(resolve); });
    }
    if (navigator.userAgent.includes('Firefox') && last !== '') failures.push(`it ends with ${last}`);
    pc.close();
    return failures.join(', ') || 'it plays';
})()";

/// A page script that leaves those codecs alone in the offer whose type the regular expression matches.
pub fn offer_only(codecs: &str) -> String {
    format!(
        "const {{ addTransceiver }} = RTCPeerConnection.prototype;
        RTCPeerConnection.prototype.addTransceiver = function (...parameters) {{
            const transceiver = addTransceiver.apply(this, parameters);
            const {{ codecs }} = RTCRtpReceiver.getCapabilities('video');
            transceiver.setCodecPreferences(
                codecs.filter(({{ mimeType }}) => /{codecs}/.test(mimeType)));
            return transceiver;
        }};"
    )
}

/// How many consecutive frames a browser may skip on a busy machine.
pub const MOST_SKIPPED: usize = 30;

/// How many of the frames that are measured a busy browser may draw late: then it draws the next one, and that
/// once more in its own turn.
const MOST_DRAWN_LATE: usize = 6;

/// The bounding box of the green pixels, and the size of the picture, for each of the next 60 frames.
pub const DISCS: &str = "new Promise((resolve) => {
    const video = document.querySelector('video');
    const canvas = document.createElement('canvas');
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const discs = [];
    const measure = () => {
        const { videoWidth: width, videoHeight: height } = video;
        [canvas.width, canvas.height] = [width, height];
        context.drawImage(video, 0, 0);
        const { data } = context.getImageData(0, 0, width, height);
        let [left, right, top, bottom] = [width, -1, height, -1];
        for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++) {
                if (data[4 * (y * width + x) + 1] > 110) {
                    [left, right] = [Math.min(left, x), Math.max(right, x)];
                    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
                }
            }
        }
        discs.push([left, right, top, bottom, width, height]);
        if (discs.length === 60) resolve(discs);
        else video.requestVideoFrameCallback(measure);
    };
    video.requestVideoFrameCallback(measure);
})";

/// Frames presented per second, as counted by the browser over three seconds.
const FRAME_RATE: &str = "new Promise((resolve) => {
    const video = document.querySelector('video');
    let first;
    const count = (now, frame) => {
        first ??= frame;
        const seconds = (frame.expectedDisplayTime - first.expectedDisplayTime) / 1000;
        if (seconds >= 3) resolve((frame.presentedFrames - first.presentedFrames) / seconds);
        else video.requestVideoFrameCallback(count);
    };
    video.requestVideoFrameCallback(count);
})";

/// Checks that the discs measured in a page are on the trajectory of the ball, and returns the numbers
/// of their frames.
pub fn follow(discs: &Value) -> Vec<usize> {
    let centre = |seen: &Value| {
        let [left, right, top, bottom, width, height] =
            [0, 1, 2, 3, 4, 5].map(|index| seen[index].as_f64().unwrap());
        (ball::middle(left, right, width), ball::middle(top, bottom, height))
    };
    let mut centres: Vec<(f64, f64)> = discs.as_array().unwrap().iter().map(centre).collect();
    let measured = centres.len();
    centres.dedup();
    assert!(centres.len() + MOST_DRAWN_LATE >= measured, "frames repeat: {centres:?}");
    ball::follow(&centres, MOST_SKIPPED).unwrap()
}

/// Checks the best of three measurements: a busy machine only lowers the frame rate.
pub fn check_frame_rate(mut evaluate: impl FnMut(&str) -> Value) {
    let rates: Vec<f64> = (0..3).map(|_| evaluate(FRAME_RATE).as_f64().unwrap()).collect();
    println!("{rates:?} frames/s");
    let best = rates.iter().copied().fold(0.0, f64::max);
    assert!((29.0..31.5).contains(&best), "{rates:?} frames/s");
}

/// The width that an `<img>` in the page shows this address with, and 0 if it shows nothing.
pub fn width_of_img(url: &str) -> String {
    format!(
        "(async () => {{
            const image = document.createElement('img');
            let failed = false;
            image.onerror = () => {{ failed = true; }};
            document.documentElement.append(image);
            image.src = '{url}';
            while (!failed && !image.naturalWidth) await new Promise((done) => setTimeout(done, 20));
            const width = image.naturalWidth;
            image.remove();
            return width;
        }})()"
    )
}
