//! A WHIP server that decodes what is published: aiortc, without a browser. `tests/players/install` downloads it.

use std::fs::{create_dir_all, remove_dir_all};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::ball;
use crate::support::chromium::Chromium;
use crate::support::process::{Server, binary, own_address};
use crate::support::program::{Program, free_port};
use crate::support::scripts::MOST_SKIPPED;
use rustix::process::Signal;

const TOKEN: &str = "open-sesame";
/// From when a picture is possible until it is there.
const BACK_LIMIT: Duration = Duration::from_secs(5);

struct Aiortc {
    program: Program,
    port: u16,
}

/// A picture that it has decoded.
struct Frame {
    session: usize,
    centre: (f64, f64),
    time_s: f64,
}

impl Frame {
    fn read(line: &str) -> Option<Frame> {
        let numbers = line.strip_prefix("frame ")?.split(' ').map(|n| n.parse().unwrap());
        let of: Vec<f64> = numbers.collect();
        Some(Frame {
            session: of[0] as usize,
            centre: (ball::middle(of[1], of[2], of[5]), ball::middle(of[3], of[4], of[6])),
            time_s: of[7],
        })
    }
}

impl Aiortc {
    fn start(flags: &[&str]) -> Aiortc {
        let aiortc = Aiortc::start_at(free_port(), flags);
        let _ = remove_dir_all(aiortc.state());
        create_dir_all(aiortc.state()).unwrap();
        aiortc
    }

    fn start_at(port: u16, flags: &[&str]) -> Aiortc {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/players/venv/bin/python");
        assert!(python.exists(), "{} is missing: run tests/players/install", python.display());
        let program = Program::start(
            Command::new(python)
                .arg(root.join("tests/players/aiortc_whip_server.py"))
                .args(["--port", &port.to_string(), "--token", TOKEN])
                .args(flags),
        );
        program.wait_for_words("listening");
        Aiortc { program, port }
    }

    /// Starts a server that publishes here. Not on the loopback address: aiortc has no candidate of it.
    fn publish(&self, path: &str, token: &str) -> Server {
        self.publish_with(path, token, &[])
    }

    fn publish_with(&self, path: &str, token: &str, flags: &[&str]) -> Server {
        let mut command = Command::new(binary());
        command.env("BALLCAST_PUBLISH_TOKEN", token).env("STATE_DIRECTORY", self.state());
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let flags = [&["--publish", &url], flags].concat();
        Server::start_command(command, &own_address(), 0, &flags)
    }

    /// What those that publish here keep for their next start.
    fn state(&self) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("whip-{}", self.port))
    }

    /// Waits for a line, which frames may precede.
    fn wait_for_line(&self, wanted: &str) {
        self.program.wait_for(wanted, |line| (line == wanted).then_some(()));
    }

    fn frame(&self) -> Frame {
        self.program.wait_for("frame", Frame::read)
    }

    fn frames(&self, count: usize) -> Vec<Frame> {
        (0..count).map(|_| self.frame()).collect()
    }
}

fn check_trajectory(frames: &[Frame]) {
    let centres: Vec<_> = frames.iter().map(|frame| frame.centre).collect();
    let seen = ball::follow(&centres, MOST_SKIPPED).unwrap();
    println!("{} frames on the trajectory, {:?}", seen.len(), seen.first()..=seen.last());
}

#[test]
#[ignore = "after tests/players/install"]
fn aiortc_decodes_the_ball_that_is_published_and_its_session_is_deleted() {
    let aiortc = Aiortc::start(&[]);
    let mut server = aiortc.publish("/whip", TOKEN);
    aiortc.wait_for_line("POST /whip 201 right");
    let frames = aiortc.frames(150);
    check_trajectory(&frames);
    // The best second: a busy machine only makes the rate worse.
    let rates = frames.windows(31).map(|w| 30.0 / (w[30].time_s - w[0].time_s));
    let off = rates.map(|rate| (rate - 30.0).abs()).fold(f64::MAX, f64::min);
    println!("the best second is {off:.2} frames off 30");
    assert!(off < 1.0);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    aiortc.wait_for_line("DELETE /whip/1 200 right");
}

#[test]
#[ignore = "after tests/players/install"]
fn aiortc_decodes_the_ball_in_each_role_of_dtls() {
    for setup in ["active", "passive"] {
        let aiortc = Aiortc::start(&["--setup", setup]);
        let _server = aiortc.publish("/whip", TOKEN);
        let connected = aiortc
            .program
            .wait_for("connection", |line| line.strip_prefix("connected 1 ").map(str::to_owned));
        assert_eq!(connected.split_once(' ').unwrap().1, setup);
        check_trajectory(&aiortc.frames(60));
    }
}

/// GStreamer's `whipserversrc` has one. The sentence is there before the attempt is over.
#[test]
#[ignore = "after tests/players/install"]
fn a_certificate_of_rsa_is_named_at_once_in_each_role_of_dtls() {
    for setup in ["active", "passive"] {
        let aiortc = Aiortc::start(&["--rsa", "--setup", setup]);
        let server = aiortc.publish("/whip", TOKEN);
        server.wait_for("the sentence", |stats| {
            let target = &stats["targets"][0];
            let sentence = target["sentence"].as_str().unwrap_or_default();
            target["state"] == "connecting" && sentence.contains("its DTLS certificate is RSA")
        });
        server.wait_for_log("cannot connect: its DTLS certificate is RSA");
    }
}

#[test]
#[ignore = "after tests/players/install"]
fn a_redirection_is_followed_with_the_token() {
    let aiortc = Aiortc::start(&[]);
    let mut server = aiortc.publish("/moved", TOKEN);
    aiortc.wait_for_line("POST /moved 307 right");
    aiortc.wait_for_line("POST /whip 201 right");
    check_trajectory(&aiortc.frames(30));
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    // Relative to where the answer came from.
    aiortc.wait_for_line("DELETE /whip/1 200 right");
}

#[test]
#[ignore = "after tests/players/install"]
fn a_wrong_token_is_in_the_log() {
    let aiortc = Aiortc::start(&[]);
    let server = aiortc.publish("/whip", "wrong-sesame");
    aiortc.wait_for_line("POST /whip 401 wrong");
    server.wait_for_log("401");
}

#[test]
#[ignore = "after tests/players/install"]
fn a_busy_server_is_asked_again() {
    let aiortc = Aiortc::start(&["--busy", "2"]);
    let _server = aiortc.publish("/whip", TOKEN);
    for status in [503, 503, 201] {
        aiortc.wait_for_line(&format!("POST /whip {status} right"));
    }
    check_trajectory(&aiortc.frames(30));
}

#[test]
#[ignore = "after tests/players/install"]
fn the_page_tells_of_each_media_server() {
    let aiortc = Aiortc::start(&[]);
    let nobody = format!("127.0.0.1:{}", free_port());
    let server =
        aiortc.publish_with("/whip", TOKEN, &["--publish", &format!("http://{nobody}/whip")]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    let row = |number: usize, parts: &[&str]| {
        let text = format!("document.querySelectorAll('.target')[{number}]?.textContent");
        let has = parts.iter().map(|part| format!("{text}?.includes({part:?})"));
        has.collect::<Vec<_>>().join(" && ")
    };
    let live = "Published to media server 1";
    chromium.wait_for(&tab, &row(0, &[live, "live for ", " ms · ", " % lost · ", " frames"]));
    let refused = "Published to media server 2";
    chromium.wait_for(&tab, &row(1, &[refused, "refuses the connection.", "Next attempt in "]));
    chromium.screenshot(&tab, "media-servers.png");
}

/// Killed, it says nothing to anybody.
#[test]
#[ignore = "after tests/players/install"]
fn the_picture_is_back_when_the_whip_server_is() {
    let mut aiortc = Aiortc::start(&[]);
    let _server = aiortc.publish("/whip", TOKEN);
    for absence_s in [1, 15] {
        aiortc.frame();
        aiortc.program.end(Signal::KILL);
        sleep(Duration::from_secs(absence_s));
        aiortc = Aiortc::start_at(aiortc.port, &[]);
        let possible = Instant::now();
        aiortc.frame();
        let after = possible.elapsed();
        println!("{:.2} s after {absence_s} s without", after.as_secs_f64());
        assert!(after < BACK_LIMIT, "{after:?}");
        check_trajectory(&aiortc.frames(30));
    }
}

/// The next one knows what the last one has left.
#[test]
#[ignore = "after tests/players/install"]
fn the_picture_is_back_when_the_server_was_killed() {
    let aiortc = Aiortc::start(&[]);
    for session in [1, 2] {
        let mut server = aiortc.publish("/whip", TOKEN);
        let started = Instant::now();
        if session == 2 {
            aiortc.wait_for_line("DELETE /whip/1 200 right");
        }
        while aiortc.frame().session != session {}
        assert!(started.elapsed() < BACK_LIMIT);
        server.signal(Signal::KILL);
        server.wait();
    }
}
