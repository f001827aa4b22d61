//! Programs that people have beside this one: OctoPrint with this server as its camera, in Chromium, and
//! a viewer and a WHIP server on Pion, the WebRTC library of go2rtc and MediaMTX.
//!
//! Run by name, after `tests/players/other_programs/install`: `cargo test --test players -- --ignored other_programs`.

use std::fs::{File, create_dir_all, remove_dir_all, write};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::chromium::Chromium;
use crate::support::process::{Server, binary, own_address};
use crate::support::program::{Program, free_port};
use crate::support::scripts::{DISCS, follow};
use rustix::process::Signal;

/// Its first start takes longer than a page of ours.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Everybody on this machine is logged in, nothing asks the internet. Its player needs a STUN server in its
/// list, and waits long for one that does not answer: there is none of this name.
const CONFIGURATION: &str = "
accessControl: {autologinLocal: true, autologinAs: operator, autologinHeadsupAcknowledged: true}
server:
  firstRun: false
  onlineCheck: {enabled: false}
  pluginBlacklist: {enabled: false}
plugins:
  _disabled: [achievements, announcements, discovery, softwareupdate, tracking]
  classicwebcam:
    _config_version: 1
    stream: STREAM
    streamWebrtcIceServers: ['stun:none.invalid']
";

/// A program that is missing fails its test.
fn installed(program: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/other_programs");
    let program = target.join(program);
    assert!(
        program.exists(),
        "{} is missing: run tests/players/other_programs/install",
        program.display()
    );
    program
}

struct OctoPrint {
    child: Child,
    port: u16,
}

impl OctoPrint {
    fn start(server: &Server) -> OctoPrint {
        let program = installed("octoprint/bin/octoprint");
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("octoprint");
        let _ = remove_dir_all(&directory);
        create_dir_all(&directory).unwrap();
        let stream = format!("webrtc://{}/offer", server.address);
        write(directory.join("config.yaml"), CONFIGURATION.replace("STREAM", &stream)).unwrap();
        let command = || {
            let log = File::create(directory.join("log")).unwrap();
            let mut command = Command::new(&program);
            command.arg("--basedir").arg(&directory).stdout(log.try_clone().unwrap()).stderr(log);
            command
        };
        let user = ["user", "add", "operator", "--password", "any", "--admin"];
        assert!(command().args(user).status().unwrap().success());
        let port = free_port();
        let serve = ["serve", "--iknowwhatimdoing", "--host", "127.0.0.1", "--port"];
        let child = command().args(serve).arg(port.to_string()).spawn().unwrap();
        let octoprint = OctoPrint { child, port };
        let started = Instant::now();
        while !octoprint.answers() {
            assert!(started.elapsed() < START_LIMIT, "see {}", directory.join("log").display());
            std::thread::sleep(Duration::from_millis(200));
        }
        octoprint
    }

    /// While it starts, it answers with another page, or resets connections.
    fn answers(&self) -> bool {
        let mut answer = String::new();
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
            stream.write_all(b"GET /online.txt HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        asked.is_ok() && answer.split(' ').nth(1) == Some("200")
    }
}

impl Drop for OctoPrint {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "after tests/players/other_programs/install"]
fn the_tab_control_of_octoprint_plays() {
    let server = Server::start(&[]);
    let octoprint = OctoPrint::start(&server);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&format!("http://127.0.0.1:{}/", octoprint.port));
    chromium.set_viewport(&tab, 1_280, 900, false);
    let link = "document.querySelector('#control_link a')";
    // It shows a page with a spinner first.
    chromium.wait_for(&tab, &format!("({link})?.offsetParent != null"));
    chromium.evaluate(&tab, &format!("({link}).click()"));
    chromium.wait_for(&tab, "document.querySelector('#webcam_webrtc')?.videoWidth === 640");
    let script = DISCS.replace("querySelector('video')", "querySelector('#webcam_webrtc')");
    let discs = chromium.evaluate(&tab, &script);
    chromium.screenshot(&tab, "octoprint.png");
    follow(&discs);
    assert_eq!(server.stats()["viewers"].as_array().unwrap().len(), 1);
}

/// It sends one complete offer with audio, too, and the token as the password in the URL, and ends without
/// a DELETE: all that go2rtc does.
#[test]
#[ignore = "after tests/players/other_programs/install"]
fn a_viewer_on_pion_plays() {
    let server = Server::start_on(&own_address(), 0, &["--token", "open-sesame"]);
    let url = format!("http://user:open-sesame@{}/whep", server.address);
    let output = Command::new(installed("pion_viewer")).args([&url, "90"]).output().unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(seen.starts_with("video/H264: 90 frames,"), "{seen}");
    assert!(seen.ends_with(" 0 lost\n"), "{seen}");
    let log = server.log().join("\n");
    assert!(log.contains("the peer closed the connection"), "{log}");
}

/// It is published to, in either role of ICE and of DTLS, and gets each key frame that it asks for.
#[test]
#[ignore = "after tests/players/other_programs/install"]
fn a_whip_server_on_pion_gets_every_frame() {
    for flags in [&[][..], &["--lite"], &["--passive"]] {
        let mut command = Command::new(installed("pion_whip_server"));
        let pion = Program::start(command.args(["--token", "open-sesame"]).args(flags));
        let port = pion.wait_for("port", |line| line.strip_prefix("listening ").map(str::to_owned));
        let mut command = Command::new(binary());
        command.env("BALLCAST_PUBLISH_TOKEN", "open-sesame");
        let url = format!("http://127.0.0.1:{port}/whip");
        // Pion has no candidate of the loopback address.
        let mut server = Server::start_command(command, &own_address(), 0, &["--publish", &url]);
        pion.wait_for_words("POST 201");
        let seconds: Vec<Vec<u32>> = (0..6)
            .map(|_| {
                pion.wait_for("second", |line| line.split(' ').map(|n| n.parse().ok()).collect())
            })
            .collect();
        println!("{flags:?}: {seconds:?}");
        let sum = |column: usize| seconds.iter().map(|second| second[column]).sum::<u32>();
        assert!(sum(1) >= 6 * 29, "frames");
        // It asks for one every 2 s.
        assert!((3..=5).contains(&sum(2)), "key frames");
        assert_eq!(seconds[5][4], 0, "lost packets");
        server.signal(Signal::TERM);
        assert!(server.wait().success());
        pion.wait_for_words("DELETE 200");
    }
}
