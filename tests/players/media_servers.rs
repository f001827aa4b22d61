//! A media server that people have: Janus, with a room for video and its WHIP server. This server publishes
//! into the room, and whoever is in the room sees the ball, however many they are.
//!
//! Run by name, after `tests/players/media_servers/install`: `cargo test --test players -- --ignored media_servers`. What Janus and its
//! WHIP server answer and when is in `README.md` beside this file.

use std::fs::{create_dir_all, remove_dir_all, write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::chromium::{Chromium, Tab};
use crate::support::process::{Server, WAIT_LIMIT, binary, own_address, request};
use crate::support::program::{Program, free_port};
use crate::support::scripts::{DISCS, check_frame_rate, follow};
use crate::support::site;
use rustix::process::Signal;
use serde_json::{Value, json};

const ENDPOINT: &str = "ballcast";
const TOKEN: &str = "open-sesame";
const ROOM: u32 = 1234;
/// From when a picture is possible until it is there.
const BACK_LIMIT: Duration = Duration::from_secs(5);
/// What is measured of a load.
const LOAD_TIME: Duration = Duration::from_secs(10);

/// Only one of these tests runs at a time: they would slow each other down.
static LOCK: Mutex<()> = Mutex::new(());

/// A program that is missing fails its test.
fn installed(program: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/media_servers");
    let program = target.join(program);
    assert!(
        program.exists(),
        "{} is missing: run tests/players/media_servers/install",
        program.display()
    );
    program
}

struct Janus {
    program: Program,
    port: u16,
}

impl Janus {
    fn start(port: u16) -> Janus {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("janus");
        create_dir_all(&directory).unwrap();
        let websockets = include_str!("media_servers/janus.transport.websockets.jcfg");
        let room = include_str!("media_servers/janus.plugin.videoroom.jcfg");
        for (name, template) in [
            ("janus.jcfg", include_str!("media_servers/janus.jcfg")),
            ("janus.plugin.videoroom.jcfg", room),
            ("janus.transport.websockets.jcfg", websockets),
        ] {
            let text = template.replace("WEBSOCKET", &port.to_string());
            write(directory.join(name), text.replace("ROOM", &ROOM.to_string())).unwrap();
        }
        let mut command = Command::new("janus");
        command.arg("--configs-folder").arg(&directory);
        command.arg("--config").arg(directory.join("janus.jcfg"));
        Janus { program: Program::start(&mut command), port }
    }

    /// Ends it, and starts another one in its place after a while.
    fn restart(&mut self, signal: Signal, absence: Duration) {
        self.program.end(signal);
        sleep(absence);
        *self = Janus::start(self.port);
    }
}

/// Janus's WHIP server.
struct Whip {
    program: Program,
    address: SocketAddr,
}

impl Whip {
    fn start(janus: &Janus) -> Whip {
        let port = free_port();
        let directory = installed("whip");
        let program = Program::start(
            Command::new("node")
                .arg(directory.join("server.js"))
                .current_dir(&directory)
                .env("JANUS", format!("ws://127.0.0.1:{}", janus.port))
                .env("PORT", port.to_string())
                .env("NODE_ENV", "production")
                .env("DEBUG", "whip:*"),
        );
        program.wait_for_words("WHIP server prototype started");
        let whip = Whip { program, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        let endpoint = json!({"id": ENDPOINT, "room": ROOM, "token": TOKEN}).to_string();
        let headers = [("Content-Type", "application/json")];
        let created = request(whip.address, "POST", "/whip/create", &headers, endpoint.as_bytes());
        assert_eq!(created.status, 200);
        whip
    }

    fn url(&self) -> String {
        format!("http://{}/whip/endpoint/{ENDPOINT}", self.address)
    }
}

/// Both of them.
struct MediaServer {
    _lock: MutexGuard<'static, ()>,
    whip: Whip,
    janus: Janus,
    /// What each device keeps for its next start.
    state: PathBuf,
}

impl MediaServer {
    fn start() -> MediaServer {
        let lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let janus = Janus::start(free_port());
        // Before it, the WHIP server would wait for 2 s.
        janus.program.wait_for_words("WebSockets thread started");
        let state = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("publishing");
        let _ = remove_dir_all(&state);
        MediaServer { _lock: lock, whip: Whip::start(&janus), janus, state }
    }

    fn publish(&self) -> Server {
        self.publish_from("one device", TOKEN)
    }

    /// Not on the loopback address: Janus has no candidate of it.
    fn publish_from(&self, device: &str, token: &str) -> Server {
        let state = self.state.join(device);
        create_dir_all(&state).unwrap();
        let mut command = Command::new(binary());
        command.env("BALLCAST_PUBLISH_TOKEN", token).env("STATE_DIRECTORY", state);
        Server::start_command(command, &own_address(), 0, &["--publish", &self.whip.url()])
    }

    /// Opens a page that shows whoever publishes in the room.
    fn watch(&self, chromium: &mut Chromium) -> Tab {
        let site = site::serve("127.0.0.1", include_str!("media_servers/watch.html"));
        let page = format!("http://{site}/#ws://127.0.0.1:{}%20{ROOM}", self.janus.port);
        let tab = chromium.open(&page);
        wait_for_picture(chromium, &tab, &Value::Null);
        tab
    }
}

/// Waits for pictures of another publisher than this one, and returns who it is.
fn wait_for_picture(chromium: &mut Chromium, tab: &Tab, before: &Value) -> Value {
    let shown = format!(
        "![null, {before}].includes(window.watching) && window.frames >= 2 || window.failure"
    );
    let end = Instant::now() + WAIT_LIMIT;
    loop {
        let seen = chromium.evaluate(tab, &shown);
        if seen == json!(true) {
            return chromium.evaluate(tab, "window.watching");
        }
        assert!(Instant::now() < end, "no picture in the room: {seen}");
        sleep(Duration::from_millis(20));
    }
}

/// Waits until the picture is back, which has been possible since a moment.
fn check_back(chromium: &mut Chromium, tab: &Tab, before: &Value, possible: Instant, what: &str) {
    wait_for_picture(chromium, tab, before);
    let after = possible.elapsed();
    println!("{what}: the picture is back after {:.2} s", after.as_secs_f64());
    assert!(after < BACK_LIMIT, "{what}: {after:?}");
    follow(&chromium.evaluate(tab, DISCS));
}

#[test]
#[ignore = "after tests/players/media_servers/install"]
fn whoever_is_in_a_room_of_janus_sees_the_ball() {
    let media = MediaServer::start();
    let _server = media.publish();
    let mut chromium = Chromium::start();
    let tab = media.watch(&mut chromium);
    let frames = follow(&chromium.evaluate(&tab, DISCS));
    println!("{} frames on the trajectory, {:?}", frames.len(), frames.first()..=frames.last());
    check_frame_rate(|script| chromium.evaluate(&tab, script));
    chromium.screenshot(&tab, "janus.png");
}

/// Killed, it says nothing to anybody; asked to end, it closes its connections.
#[test]
#[ignore = "after tests/players/media_servers/install"]
fn the_picture_is_back_when_janus_is() {
    let mut media = MediaServer::start();
    let _server = media.publish();
    let mut chromium = Chromium::start();
    let tab = media.watch(&mut chromium);
    for (signal, absence_s) in [(Signal::KILL, 1), (Signal::TERM, 1), (Signal::KILL, 15)] {
        let before = chromium.evaluate(&tab, "window.watching");
        media.whip.program.lines();
        media.janus.restart(signal, Duration::from_secs(absence_s));
        // The WHIP server looks for Janus every 2 s, and answers 503 until then.
        media.whip.program.wait_for_words("Connected to Janus");
        let what = format!("{signal:?}, and another Janus after {absence_s} s");
        check_back(&mut chromium, &tab, &before, Instant::now(), &what);
    }
}

/// It ends its session on the way out, so that the next one may publish at once.
#[test]
#[ignore = "after tests/players/media_servers/install"]
fn the_picture_is_back_when_the_server_was_asked_to_end() {
    let media = MediaServer::start();
    let mut server = media.publish();
    let mut chromium = Chromium::start();
    let tab = media.watch(&mut chromium);
    let before = chromium.evaluate(&tab, "window.watching");
    media.whip.program.lines();
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    media.whip.program.wait_for_words(&format!("/resource/: {ENDPOINT}"));
    let _server = media.publish();
    check_back(&mut chromium, &tab, &before, Instant::now(), "SIGTERM");
}

/// Whoever vanishes holds the endpoint: this Janus does not look for it. The next one knows the session, and deletes it.
#[test]
#[ignore = "after tests/players/media_servers/install"]
fn the_picture_is_back_when_the_server_was_killed() {
    let media = MediaServer::start();
    let mut server = media.publish();
    let mut chromium = Chromium::start();
    let tab = media.watch(&mut chromium);
    let before = chromium.evaluate(&tab, "window.watching");
    server.signal(Signal::KILL);
    server.wait();
    let _server = media.publish();
    check_back(&mut chromium, &tab, &before, Instant::now(), "SIGKILL");
}

/// The WHIP server refuses it with the status of a wrong token, and other words. It tries again, as the session may end.
#[test]
#[ignore = "after tests/players/media_servers/install"]
fn another_device_has_the_endpoint_when_the_first_one_has_left() {
    let media = MediaServer::start();
    let mut first = media.publish();
    let mut chromium = Chromium::start();
    let tab = media.watch(&mut chromium);
    let before = chromium.evaluate(&tab, "window.watching");
    let second = media.publish_from("another device", TOKEN);
    second.wait_for_log("Endpoint ID already in use");
    // Long enough for it to try less often.
    sleep(Duration::from_secs(15));
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    check_back(&mut chromium, &tab, &before, Instant::now(), "another device");
}

#[test]
#[ignore = "after tests/players/media_servers/install"]
fn a_wrong_token_is_in_the_log() {
    let media = MediaServer::start();
    let server = media.publish_from("one device", "wrong-sesame");
    server.wait_for_log("403");
}

/// Viewers of the room, who decode nothing.
struct Load {
    program: Program,
}

/// What they got in one second.
#[derive(Debug, Clone, Copy)]
struct Second {
    joined: usize,
    watching: usize,
    frames: usize,
    lost: usize,
}

impl Load {
    fn start(media: &MediaServer, viewers: usize) -> Load {
        let mut command = Command::new(installed("janus_viewers"));
        command.arg(format!("ws://127.0.0.1:{}", media.janus.port));
        command.args([ROOM.to_string(), viewers.to_string()]);
        let load = Load { program: Program::start(&mut command) };
        load.program.wait_for("second in which all watch", |line| {
            let second = Second::read(line)?;
            (second.joined == viewers && second.watching == viewers).then_some(())
        });
        load
    }

    /// The seconds of a while, and the CPU time that the server took.
    fn measure(&self, server: &Server) -> (Vec<Second>, f64) {
        self.program.lines();
        let before = server.usage().cpu_s;
        sleep(LOAD_TIME);
        let cpu_s = server.usage().cpu_s - before;
        (self.program.lines().iter().filter_map(|line| Second::read(line)).collect(), cpu_s)
    }
}

impl Second {
    fn read(line: &str) -> Option<Second> {
        let mut numbers = line.split(' ').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Second { joined: next()?, watching: next()?, frames: next()?, lost: next()? })
    }
}

#[test]
#[ignore = "after tests/players/media_servers/install"]
fn a_hundred_viewers_of_the_room_cost_the_server_what_one_does() {
    let media = MediaServer::start();
    let server = media.publish();
    let [one, hundred] = [1, 100].map(|viewers| {
        let (seconds, cpu_s) = Load::start(&media, viewers).measure(&server);
        let frames = seconds.iter().map(|second| second.frames).sum::<usize>() as f64;
        let rate = frames / (seconds.len() * viewers) as f64;
        println!(
            "{viewers} viewers: {:.2} % of a core, {rate:.2} frames/s each, {} packets lost",
            100.0 * cpu_s / LOAD_TIME.as_secs_f64(),
            seconds.last().unwrap().lost,
        );
        assert!(rate >= 29.0, "{seconds:?}");
        cpu_s
    });
    // It is counted in steps of 10 ms, and the machine has more to do.
    assert!(hundred < 1.3 * one + 0.1, "{hundred} s of CPU time instead of {one} s");
}
