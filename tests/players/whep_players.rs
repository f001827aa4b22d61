//! Third-party players: four from the npm registry in real Chromium, on a page of another origin, and
//! aiortc without a browser. `tests/players/install` downloads them. And the README's program whose pictures are
//! shown.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::support::ball;
use crate::support::chromium::{Chromium, Tab};
use crate::support::filled;
use crate::support::process::{Server, WAIT_LIMIT, own_address, request};
use crate::support::scripts;
use crate::support::scripts::{DISCS, MOST_SKIPPED, check_frame_rate};
use crate::support::site;
use serde_json::Value;

const TOKEN: &str = "open-sesame";
/// Some 60 packets a frame: aiortc's jitter buffer has room for 128.
const FILLER_BYTES: usize = 68_000;
const FILLED_FRAMES_PER_SECOND: u32 = 60;

/// A player in a page: the script that starts it, and the one that stops it.
struct NpmPlayer {
    module: &'static str,
    play: &'static str,
    stop: &'static str,
    /// Its session's URL gets a DELETE.
    deletes: bool,
}

const WHIP_WHEP: NpmPlayer = NpmPlayer {
    module: "whip-whep.js",
    play: "const pc = new RTCPeerConnection();
        pc.ontrack = ({ streams }) => { video.srcObject = streams[0]; };
        pc.addTransceiver('audio', { direction: 'recvonly' });
        pc.addTransceiver('video', { direction: 'recvonly' });
        window.player = new player.WHEPClient();
        await window.player.view(pc, url, token);",
    stop: "window.player.stop()",
    deletes: true,
};

const EYEVINN: NpmPlayer = NpmPlayer {
    module: "eyevinn.js",
    play:
        "window.player = new player.default.WebRTCPlayer({ video, type: 'whep', iceServers: [] });
        await window.player.load(new URL(url), token && `Bearer ${token}`);",
    stop: "window.player.unload()",
    // It takes a relative Location for one that is relative to the page.
    deletes: false,
};

const BINBAT: NpmPlayer = NpmPlayer { module: "binbat.js", ..WHIP_WHEP };

const MEDIAMTX: NpmPlayer = NpmPlayer {
    module: "mediamtx.js",
    play: "window.player = new player.MediaMTXWebRTCReader({
            url, token, onTrack: ({ streams }) => { video.srcObject = streams[0]; },
            onError: (error) => { window.failure = String(error); },
        });",
    stop: "window.player.close()",
    deletes: false,
};

/// Whether the selected candidate pair belongs to the last ICE restart.
const USES_RESTARTED_PAIR: &str = "window.player.pc.getStats().then((stats) => {
    const transport = [...stats.values()].find(({ type }) => type === 'transport');
    const pair = stats.get(transport.selectedCandidatePairId);
    const ufrag = pair && stats.get(pair.localCandidateId).usernameFragment;
    return pair?.state === 'succeeded'
        && window.player.pc.localDescription.sdp.includes(`a=ice-ufrag:${ufrag}\\r\\n`);
})";

/// A site of another host, with a page and the modules of the players; its origin.
fn other_site() -> String {
    let file = |path: &str| match path.strip_prefix("/modules/") {
        Some(module) => {
            let file = players().join("modules").join(module);
            ("text/javascript", std::fs::read(file).unwrap())
        }
        None => ("text/html", b"<!doctype html><video autoplay muted playsinline></video>".into()),
    };
    format!("http://{}", site::serve_files("127.0.0.2", file))
}

/// The folder of the players. A test whose players are missing fails, it is not skipped.
fn players() -> PathBuf {
    let players = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/players");
    let modules =
        [WHIP_WHEP, EYEVINN, BINBAT, MEDIAMTX].map(|player| format!("modules/{}", player.module));
    for needed in modules.iter().map(String::as_str).chain(["venv/bin/python"]) {
        assert!(players.join(needed).exists(), "{needed} is missing: run tests/players/install");
    }
    players
}

fn play(chromium: &mut Chromium, tab: &Tab, player: &NpmPlayer, url: &str, token: Option<&str>) {
    let token = token.map_or("undefined".into(), |token| format!("'{token}'"));
    let NpmPlayer { module, play, .. } = player;
    let script = format!(
        "(async () => {{
            const video = document.querySelector('video');
            const [url, token] = ['{url}', {token}];
            const player = await import('/modules/{module}');
            {play}
        }})()"
    );
    chromium.evaluate(tab, &script);
    chromium.wait_for(tab, "document.querySelector('video').videoWidth > 0");
}

/// Starts a server and a player on a page of another origin, and checks that it plays the ball.
fn watch(player: &NpmPlayer, token: Option<&str>) -> (Server, Chromium, Tab) {
    let origin = other_site();
    let mut flags = vec!["--allow-origin", &origin];
    flags.extend(token.iter().flat_map(|token| ["--token", token]));
    let server = Server::start(&flags);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&origin);
    chromium.wait_for(&tab, "document.readyState === 'complete'");
    let url = format!("{}whep", server.url());
    play(&mut chromium, &tab, player, &url, token);
    follow(&mut chromium, &tab);
    (server, chromium, tab)
}

fn follow(chromium: &mut Chromium, tab: &Tab) {
    let frames = scripts::follow(&chromium.evaluate(tab, DISCS));
    println!("{} frames on the trajectory, {:?}", frames.len(), frames.first()..=frames.last());
}

fn stats(server: &Server, token: Option<&str>) -> Value {
    let value = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = value.iter().map(|value| ("Authorization", value.as_str())).collect();
    request(server.address, "GET", "/stats", &headers, b"").json()
}

fn viewers(stats: &Value) -> usize {
    stats["viewers"].as_array().unwrap_or_else(|| panic!("{stats}")).len()
}

/// Stops the player. Where it sends a DELETE, that alone removes the viewer: the connection sends no
/// close_notify then.
fn stop(
    server: &Server,
    chromium: &mut Chromium,
    tab: &Tab,
    player: &NpmPlayer,
    token: Option<&str>,
) {
    assert_eq!(viewers(&stats(server, token)), 1);
    if player.deletes {
        chromium.evaluate(tab, "RTCPeerConnection.prototype.close = () => {}");
        chromium.evaluate(tab, player.stop);
        let left = viewers(&stats(server, token));
        assert_eq!(left, 0, "the viewer is removed before the DELETE is answered");
        return;
    }
    chromium.evaluate(tab, player.stop);
    let stopped = Instant::now();
    while viewers(&stats(server, token)) > 0 {
        assert!(stopped.elapsed() < WAIT_LIMIT, "the viewer stays");
    }
}

#[test]
#[ignore = "after tests/players/install"]
fn whip_whep_plays_the_ball_from_another_origin() {
    let (server, mut chromium, tab) = watch(&WHIP_WHEP, None);
    check_frame_rate(|script| chromium.evaluate(&tab, script));
    // It restarts ICE with `If-Match: *`, and the video continues.
    let before = server.stats()["viewers"][0]["id"].clone();
    chromium.evaluate(&tab, "window.player.restart()");
    chromium.wait_for(&tab, USES_RESTARTED_PAIR);
    follow(&mut chromium, &tab);
    assert!(server.log().join("\n").contains("restarts ICE"));
    assert_eq!(server.stats()["viewers"][0]["id"], before, "still the same viewer");
    stop(&server, &mut chromium, &tab, &WHIP_WHEP, None);
}

#[test]
#[ignore = "after tests/players/install"]
fn eyevinn_plays_the_ball_from_another_origin() {
    let (server, mut chromium, tab) = watch(&EYEVINN, None);
    check_frame_rate(|script| chromium.evaluate(&tab, script));
    stop(&server, &mut chromium, &tab, &EYEVINN, None);
}

#[test]
#[ignore = "after tests/players/install"]
fn binbat_plays_the_ball_from_another_origin() {
    let (server, mut chromium, tab) = watch(&BINBAT, None);
    stop(&server, &mut chromium, &tab, &BINBAT, None);
}

#[test]
#[ignore = "after tests/players/install"]
fn mediamtx_plays_the_ball_from_another_origin() {
    let (server, mut chromium, tab) = watch(&MEDIAMTX, None);
    assert_eq!(chromium.evaluate(&tab, "window.failure"), Value::Null);
    stop(&server, &mut chromium, &tab, &MEDIAMTX, None);
}

/// MediaMTX's reader leaves it out of its PATCH, and begins again when that is refused.
#[test]
#[ignore = "after tests/players/install"]
fn players_send_the_token_that_they_are_given() {
    for player in [WHIP_WHEP, EYEVINN, BINBAT] {
        let (server, mut chromium, tab) = watch(&player, Some(TOKEN));
        stop(&server, &mut chromium, &tab, &player, Some(TOKEN));
        assert_eq!(stats(&server, Some(TOKEN))["refusals"]["token-missing"], Value::Null);
    }
}

#[test]
#[ignore = "after tests/players/install"]
fn a_page_whose_origin_is_not_allowed_plays_nothing() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&other_site());
    chromium.wait_for(&tab, "document.readyState === 'complete'");
    let script = format!(
        "(async () => {{
            const {{ WHEPClient }} = await import('/modules/whip-whep.js');
            const pc = new RTCPeerConnection();
            pc.addTransceiver('video', {{ direction: 'recvonly' }});
            return new WHEPClient().view(pc, '{}whep').then(() => 'plays', String);
        }})()",
        server.url()
    );
    assert_eq!(chromium.evaluate(&tab, &script), "TypeError: Failed to fetch");
    assert_eq!(viewers(&server.stats()), 0);
}

/// What aiortc has seen.
struct Seen {
    srtp_profile: String,
    /// The role of the server in DTLS, as its answer says it.
    setup: String,
    /// The centre of the disc in each frame.
    centres: Vec<(f64, f64)>,
    /// When each frame was decoded, in seconds.
    times: Vec<f64>,
}

/// Runs aiortc with these arguments until it has received so many frames.
fn aiortc(server: SocketAddr, frames: usize, arguments: &[&str]) -> Seen {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/players/aiortc_viewer.py");
    let mut command = Command::new("timeout");
    command
        .arg((2 * WAIT_LIMIT.as_secs()).to_string())
        .arg(players().join("venv/bin/python"))
        .arg(script);
    command.arg(format!("http://{server}/whep")).arg(frames.to_string()).args(arguments);
    let output = command.output().unwrap();
    let [seen, errors] = [output.stdout, output.stderr].map(|t| String::from_utf8(t).unwrap());
    assert!(output.status.success(), "{}: {seen}{errors}", output.status);
    let (connection, lines) = seen.split_once('\n').unwrap();
    let (srtp_profile, setup) = connection.split_once(' ').unwrap();
    let numbers = |line: &str| line.split(' ').map(|n| n.parse().unwrap()).collect::<Vec<f64>>();
    let lines: Vec<Vec<f64>> = lines.lines().map(numbers).collect();
    let centre =
        |of: &Vec<f64>| (ball::middle(of[0], of[1], of[4]), ball::middle(of[2], of[3], of[5]));
    Seen {
        srtp_profile: srtp_profile.into(),
        setup: setup.into(),
        centres: lines.iter().map(centre).collect(),
        times: lines.iter().map(|of| of[6]).collect(),
    }
}

#[test]
#[ignore = "after tests/players/install"]
fn aiortc_decodes_the_ball_on_its_trajectory() {
    let server = start_for_aiortc(&[]);
    let Seen { srtp_profile, setup, centres, times } = aiortc(server.address, 150, &[]);
    assert_eq!((&*srtp_profile, &*setup), ("SRTP_AEAD_AES_256_GCM", "passive"));
    assert_eq!(centres.len(), 150);
    let frames = ball::follow(&centres, MOST_SKIPPED).unwrap();
    // The best second: a busy machine only makes the rate worse.
    let seconds = times.windows(31).map(|w| 30.0 / (w[30] - w[0]));
    let rate = seconds.map(|rate| (rate - 30.0).abs()).fold(f64::MAX, f64::min);
    println!(
        "{} frames, {:?}, best second {rate:.2} off 30",
        frames.len(),
        frames.first()..=frames.last()
    );
    assert!(rate < 1.0, "{times:?}");
    let stats = server.stats();
    assert_eq!((viewers(&stats), &stats["viewers_served"]), (0, &1.into()));
}

#[test]
#[ignore = "after tests/players/install"]
fn aiortc_sends_the_token_that_it_is_given() {
    let server = start_for_aiortc(&["--token", TOKEN]);
    let seen = aiortc(server.address, 30, &["--token", TOKEN]);
    ball::follow(&seen.centres, MOST_SKIPPED).unwrap();
    assert_eq!(viewers(&stats(&server, Some(TOKEN))), 0);
}

/// RFC 8839, section 5.4: to the longest the server is an ICE-lite agent.
#[test]
#[ignore = "after tests/players/install"]
fn aiortc_decodes_the_ball_with_user_fragments_of_every_length() {
    for length in ["119", "120", "256"] {
        let server = start_for_aiortc(&[]);
        let seen = aiortc(server.address, 30, &["--ufrag-length", length]);
        ball::follow(&seen.centres, MOST_SKIPPED).unwrap();
        assert_eq!(viewers(&stats(&server, None)), 0, "{length}");
    }
}

/// libsrtp decrypts each of the profiles that the server knows, with the keys of either role in
/// DTLS: OpenSSL is the client, and then the server.
#[test]
#[ignore = "after tests/players/install"]
fn aiortc_decodes_the_ball_with_each_srtp_profile_in_each_role_of_dtls() {
    let server = start_for_aiortc(&[]);
    for profile in ["SRTP_AEAD_AES_256_GCM", "SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80"] {
        for (offered, answered) in [("active", "passive"), ("passive", "active")] {
            let arguments = ["--srtp-profile", profile, "--setup", offered];
            let seen = aiortc(server.address, 60, &arguments);
            let frames = ball::follow(&seen.centres, MOST_SKIPPED).unwrap();
            let Seen { srtp_profile, setup, .. } = &seen;
            println!("{srtp_profile}, the server {setup}: {} frames", frames.len());
            assert_eq!((srtp_profile.as_str(), setup.as_str()), (profile, answered));
            assert_eq!(frames.len(), 60);
        }
    }
}

/// Packets are lost and resent after the video's sequence numbers have rolled over, and those of the
/// retransmissions have not: either stream counts its own roll-overs (RFC 3711, section 3.2.3).
#[test]
#[ignore = "after tests/players/install"]
fn aiortc_repairs_losses_after_a_roll_over_of_sequence_numbers() {
    let server =
        filled::start(own_address().parse().unwrap(), FILLED_FRAMES_PER_SECOND, FILLER_BYTES);
    let arguments = ["--srtp-profile", "SRTP_AES128_CM_SHA1_80", "--drop-one-of", "50"];
    let frames = 120;
    let seen = aiortc(server, frames, &arguments);
    let frames = ball::follow(&seen.centres, MOST_SKIPPED).unwrap();
    let skipped = frames[frames.len() - 1] - frames[0] + 1 - frames.len();
    println!("{} frames after the roll-over, {skipped} skipped", frames.len());
    // Every frame loses a packet: without repair there would be none. A busy machine skips some.
    assert!(skipped <= MOST_SKIPPED, "{frames:?}");
}

/// Not on the loopback address: aiortc offers no candidate for it.
fn start_for_aiortc(flags: &[&str]) -> Server {
    Server::start_on(&own_address(), 0, flags)
}

/// The part of the README about your own program.
fn section_of_the_readme() -> &'static str {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("\n## Your own program as the source\n").unwrap();
    section.split_once("\n## ").unwrap().0
}

#[test]
#[ignore = "after tests/players/install"]
fn the_program_in_the_readme_is_shown_as_it_draws() {
    let section = section_of_the_readme();
    let program = section.split("```python\n").nth(1).unwrap().split_once("```").unwrap().0;
    let (_, line) = section.split_once("`ballcast --exec 'python3 square.py' ").unwrap();
    let flags: Vec<&str> = line.split_once('`').unwrap().0.split_whitespace().collect();

    let path = format!("{}/square-{}.py", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    std::fs::write(&path, program).unwrap();
    let python = players().join("venv/bin/python");
    let command = format!("exec '{}' '{path}'", python.display());
    let server = Server::start(&[&["--exec", command.as_str()], &flags[..]].concat());
    server.wait_for(&command, |stats| stats["source"]["frames_in"].as_u64() > Some(30));
    let mut chromium = Chromium::start();
    let tab = chromium.open_window(&server.url());
    chromium.wait_for(&tab, scripts::LIVE);
    // The square is orange, and goes to the right.
    let seen = chromium.evaluate(&tab, SQUARE);
    let steps: Vec<i64> = serde_json::from_value(seen).unwrap();
    assert!(steps.iter().any(|step| *step > 0), "{steps:?}");
    // By the stamps of the program, in ms; each is of one picture in five.
    chromium.evaluate(&tab, "window.before = window.ballcast.latencies.length");
    chromium.wait_for(&tab, "window.ballcast.latencies.length >= window.before + 60");
    let latencies = chromium.evaluate(&tab, "window.ballcast.latencies.slice(window.before)");
    let mut latencies: Vec<f64> = serde_json::from_value(latencies).unwrap();
    latencies.sort_by(f64::total_cmp);
    let percentile = |percent: usize| latencies[latencies.len() * percent / 100];
    println!("from writing to the screen: p50 {} ms, p95 {} ms", percentile(50), percentile(95));
    // A stamp that is not the program's is anywhere within 70 minutes.
    assert!(percentile(50) > 0.0 && percentile(50) < 1_000.0, "{latencies:?}");
    let shown = "document.getElementById('latency-kind').textContent";
    assert_eq!(chromium.evaluate(&tab, shown), "capture to screen");
    let stats = server.stats();
    assert_eq!(stats["source"]["restarts"], 0, "{stats}");
    // Its own pace: a busy machine makes it catch up, but without one there are hundreds a second.
    assert!(stats["source"]["frames_per_second"].as_f64() < Some(90.0), "{stats}");
    std::fs::remove_file(path).unwrap();
}

/// How many pixels the left side of the orange square moves, from picture to picture of the next 30.
const SQUARE: &str = "new Promise((resolve) => {
    const video = document.querySelector('video');
    const context = new OffscreenCanvas(640, 480).getContext('2d', { willReadFrequently: true });
    const sides = [];
    const look = () => {
        context.drawImage(video, 0, 0);
        const { data } = context.getImageData(0, 240, 640, 1);
        const pixels = Array.from({ length: 640 }, (_, x) => [...data.slice(4 * x, 4 * x + 3)]);
        sides.push(pixels.findIndex(([r, g, b]) => r > 200 && g > 150 && g < 240 && b < 80));
        if (sides.length <= 30) video.requestVideoFrameCallback(look);
        else resolve(sides.slice(1).map((side, index) => side - sides[index]));
    };
    look();
})";
