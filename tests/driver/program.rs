//! The program from the operator's side: flags, exit codes, messages, and refusals over real TCP.

mod tokens;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::process::{Server, binary, raw, request, wait_until};
use crate::support::processes::threads;
use crate::support::socket_viewer::SocketViewer;
use ballcast::testing::media::Codec;
use rustix::process::Signal;
use serde_json::json;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ballcast")).args(arguments).output().unwrap()
}

#[test]
fn help_and_version_are_on_standard_output() {
    let help = run(&["--help"]);
    assert!(help.status.success() && help.stderr.is_empty());
    assert!(String::from_utf8(help.stdout).unwrap().contains("Usage: ballcast"));
    let version = run(&["--version"]);
    let expected = format!("ballcast {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
}

#[test]
fn a_wrong_flag_is_one_sentence_and_exit_code_2() {
    for (arguments, words) in [
        (vec!["--size", "641x480"], ["--size", "641x480", "even"]),
        (vec!["--fps", "0"], ["--fps", "'0'", "1 to 120"]),
        (vec!["--nonsense"], ["--nonsense", "ballcast", "--help"]),
        (
            vec!["--max-viewer", "3"],
            ["unknown option --max-viewer.", "mean --max-viewers?", "--help"],
        ),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert_eq!(sentence.lines().count(), 1);
        assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
    }
}

#[test]
fn help_and_version_are_words_where_there_is_no_such_file() {
    for (word, option) in [("help", "--help"), ("version", "--version")] {
        let (word, option) = (run(&[word]), run(&[option]));
        assert_eq!((word.status.code(), &word.stdout), (Some(0), &option.stdout));
    }
}

/// A log of the program, whose standard error is the journal as far as it can tell, or is not.
fn log_where(is_journal: bool, arguments: &[&str]) -> String {
    use std::os::unix::fs::MetadataExt;
    let path =
        format!("{}/journal-{}-{is_journal}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let file = std::fs::File::create(&path).unwrap();
    let metadata = file.metadata().unwrap();
    let named = if is_journal { metadata.ino() } else { metadata.ino() + 1 };
    let mut command = Command::new(binary());
    command.args(arguments).env("JOURNAL_STREAM", format!("{}:{named}", metadata.dev()));
    let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
    // The URL, or the end.
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    let log = std::fs::read_to_string(&path).unwrap();
    let _ = child.kill();
    child.wait().unwrap();
    std::fs::remove_file(path).unwrap();
    log
}

#[test]
fn the_journal_is_given_priorities_and_no_time() {
    let arguments = ["--bind", "127.0.0.1", "--port", "0", "--token", "eleven-char"];
    let log = log_where(true, &arguments);
    let priorities: Vec<&str> = log.lines().map(|line| &line[..3]).collect();
    assert_eq!(priorities, ["<6>", "<4>"], "{log}");
    assert!(log.starts_with("<6>viewers need the token"), "{log}");
    assert!(log_where(true, &["--fps", "0"]).starts_with("<3>invalid value"));

    let log = log_where(false, &arguments);
    assert!(log.lines().count() == 2 && log.lines().all(|line| line.starts_with("[2")), "{log}");
    assert!(log_where(false, &["--fps", "0"]).starts_with("ballcast: invalid value"));
}

#[test]
fn standard_input_that_brings_no_video_is_one_sentence_and_exit_code_2() {
    // The one end of a pseudoterminal is a terminal, too.
    for (path, words) in [("/dev/ptmx", "is a terminal"), ("/dev/null", "neither a pipe nor")] {
        let stdin = std::fs::File::open(path).unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_ballcast")).arg("-").stdin(stdin).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{path}");
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert_eq!(sentence.lines().count(), 1);
        assert!(sentence.contains(words), "{sentence}");
    }
}

#[test]
fn the_command_lines_of_the_help_are_command_lines() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let examples = help.split("  ballcast --exec '").skip(1);
    let commands: Vec<&str> = examples.map(|example| example.split_once('\'').unwrap().0).collect();
    for command in &commands {
        // The names of the programs are functions here, which print their last argument.
        let script = format!(
            "rpicam_vid() {{ printf %s \"$*\"; }}; ffmpeg() {{ rpicam_vid \"$@\"; }}; {command}"
        );
        let script = script.replace("; rpicam-vid", "; rpicam_vid");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{command}: {output:?}");
        let words = String::from_utf8(output.stdout).unwrap();
        assert!(words.ends_with(" -") && !words.contains(['\\', '\n']), "{words}");
    }
    assert_eq!(commands.len(), 3);
}

#[test]
fn a_taken_port_is_one_sentence_and_exit_code_1() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for port in [tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port()] {
        let output = run(&["--bind", "127.0.0.1", "--port", &port.to_string()]);
        assert_eq!(output.status.code(), Some(1));
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
        assert!(sentence.contains(&port.to_string()) && sentence.contains("in use"), "{sentence}");
    }
}

#[test]
fn an_address_of_another_host_is_left_out_and_no_address_is_an_error() {
    let output = run(&["--bind", "192.0.2.77", "--port", "0"]);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("skipping 192.0.2.77: bind failed") && log.contains("no address"),
        "{log}"
    );

    let server = Server::start_on("127.0.0.1", 0, &["--bind", "192.0.2.77"]);
    assert_eq!(request(server.address, "GET", "/", &[], b"").status, 200);
}

#[test]
fn every_address_of_the_host_is_served_and_the_loopback_comes_last() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ballcast"))
        .args(["--port", "0"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut expected = ballcast::testing::driver::net::addresses::addresses().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(expected.len());
    let mut served = Vec::new();
    for line in lines.map(Result::unwrap) {
        let authority = line.strip_prefix("http://").unwrap().strip_suffix('/').unwrap();
        let address: std::net::SocketAddr = authority.parse().unwrap();
        assert_eq!(request(address, "GET", "/", &[], b"").status, 200, "{address}");
        served.push(address.ip());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(served.last().unwrap().is_loopback());
    let loopback = served.iter().position(|ip| ip.is_loopback()).unwrap();
    assert!(served[loopback..].iter().all(|ip| ip.is_loopback()));
    served.sort();
    expected.sort();
    assert_eq!(served, expected);
}

#[test]
fn refusals_have_a_reason_and_are_counted_and_the_server_continues() {
    let server = Server::start(&["--max-offers-per-second", "1000"]);
    let address = server.address;
    let offer = |headers: &[(&str, &str)], body: &str| {
        let response = request(address, "POST", "/offer", headers, body.as_bytes());
        let problem = response.json();
        assert_eq!(problem["status"], response.status, "{}", response.head);
        (response.status, problem["reason"].as_str().unwrap().to_owned(), problem["detail"].clone())
    };
    let json_type = ("Content-Type", "application/json");

    let audio_only = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
                      m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n";
    let body = json!({"type": "offer", "sdp": audio_only}).to_string();
    let (status, reason, detail) = offer(&[json_type], &body);
    assert_eq!((status, reason.as_str()), (422, "no-video"));
    assert_eq!(
        detail,
        "The offer has no video. Call pc.addTransceiver('video', {direction: 'recvonly'}) \
         before createOffer()."
    );

    let vp9 = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP9/90000\r\n";
    let body = json!({"type": "offer", "sdp": vp9}).to_string();
    let (status, reason, detail) = offer(&[json_type], &body);
    assert_eq!((status, reason.as_str()), (422, "no-codec"));
    assert!(detail.as_str().unwrap().contains("VP9"), "{detail}");

    let sendonly = vp9.to_owned() + "a=sendonly\r\n";
    let body = json!({"type": "offer", "sdp": sendonly}).to_string();
    assert_eq!(offer(&[json_type], &body).1, "video-not-receiving");

    for body in ["nonsense", "[]", "{\"type\":\"answer\",\"sdp\":\"v=0\"}", "{\"type\":\"offer\"}"]
    {
        let (status, reason, _) = offer(&[json_type], body);
        assert_eq!((status, reason.as_str()), (400, "offer-malformed"), "{body}");
    }
    assert_eq!(offer(&[("Content-Type", "text/plain")], "x").0, 415);
    assert_eq!(offer(&[json_type, ("Origin", "http://elsewhere.example")], "x").0, 403);
    assert_eq!(offer(&[json_type, ("Sec-Fetch-Site", "cross-site")], "x").0, 403);

    let status = |method: &str, path: &str| request(address, method, path, &[], b"").status;
    assert_eq!(status("GET", "/nothing"), 404);
    assert_eq!(status("GET", "/offer"), 405);
    assert_eq!(status("POST", "/offer"), 411);
    assert_eq!(status("BREW", "/"), 501);
    assert_eq!(status("OPTIONS", "*"), 200);
    assert_eq!(status("HEAD", "/"), 200);
    let rebound =
        raw(address, b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert_eq!(rebound.status, 421);

    let stats = server.stats();
    for reason in ["no-video", "no-codec", "offer-malformed", "host-unknown", "foreign-origin"] {
        assert!(stats["refusals"][reason].as_u64() > Some(0), "{reason}: {stats}");
    }
}

#[test]
fn a_configured_host_name_is_served() {
    let server = Server::start(&["--allow-host", "camera.example"]);
    let status_for = |host: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        raw(server.address, head.as_bytes()).status
    };
    assert_eq!(status_for("camera.example"), 200);
    assert_eq!(status_for("Camera.Example:8080"), 200);
    assert_eq!(status_for("localhost"), 200);
    assert_eq!(status_for("[::1]:9"), 200);
    assert_eq!(status_for("192.0.2.99"), 421);
}

#[test]
fn an_unchanged_asset_is_answered_with_304() {
    let server = Server::start(&[]);
    let first = request(server.address, "GET", "/static/ballcast.js", &[], b"");
    assert_eq!(first.status, 200);
    let etag = first.head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
    let headers = [("If-None-Match", etag)];
    let second = request(server.address, "GET", "/static/ballcast.js", &headers, b"");
    assert_eq!((second.status, second.body.len()), (304, 0));
}

#[test]
fn health_is_asked_for_with_an_exit_code() {
    let healthy = Server::start(&[]);
    let failing = Server::start(&["--exec", "exit 3"]);
    failing.wait_for("it has failed", |stats| stats["source"]["state"] == "failed");
    let check = |url: &str| {
        let output = Command::new(binary()).args(["--check-health", url]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(&healthy.url()), (Some(0), String::new()));
    let (code, sentence) = check(&failing.url());
    assert_eq!(code, Some(1));
    assert!(sentence.starts_with("ballcast: The command exited"), "{sentence}");
    drop(healthy);
    let (code, sentence) = check("http://127.0.0.1:1/");
    assert_eq!(code, Some(1));
    assert!(sentence.contains("does not answer"), "{sentence}");
}

/// systemd's side: the socket of a unit of `Type=notify`.
#[test]
fn systemd_is_told_when_the_server_is_ready_who_watches_and_when_it_stops() {
    let path = format!("{}/notify-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let told = || {
        let mut message = [0; 256];
        let bytes = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..bytes].to_vec()).unwrap().trim().to_owned()
    };
    let mut command = Command::new(binary());
    command.env("NOTIFY_SOCKET", &path);
    // Its own command is not to speak for it.
    let known = format!("{path}-known");
    let source = format!("printenv NOTIFY_SOCKET > '{known}'; exec sleep 60");
    let mut server = Server::start_command(command, "127.0.0.1", 0, &["--exec", &source]);
    assert_eq!([told(), told()], ["READY=1", "STATUS=no viewers"]);
    let mut viewer = SocketViewer::join(&server);
    while server.stats()["viewers_served"] != 1 {
        viewer.handle_all();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(told(), "STATUS=1 viewer");
    assert_eq!(std::fs::read_to_string(&known).unwrap(), "");
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert_eq!(told(), "STOPPING=1");
    for file in [path, known] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_qr_code_is_printed_when_it_is_asked_for() {
    let start = |flags: &[&str]| {
        let mut child = Command::new(binary())
            .args(["--bind", "127.0.0.1", "--port", "0"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(500));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(start(&[]).lines().count(), 1, "standard output is no terminal");
    let printed = start(&["--qr", "--token", "open-sesame"]);
    let code: Vec<&str> = printed.lines().skip(1).filter(|line| !line.is_empty()).collect();
    assert!(code.len() >= 15, "{printed}");
    let width = code[0].chars().count();
    assert!(code.iter().all(|line| line.chars().count() == width), "{printed}");
    assert!(!printed.contains("sesame"), "it is in the code alone");
}

#[test]
fn options_are_in_the_log_for_the_operator_and_in_no_sentence_for_guests() {
    let offer = include_bytes!("../offers/chromium-156.sdp");
    let sdp = [("Content-Type", "application/sdp")];
    let limits = |flag: &str| {
        let server = Server::start(&[flag, "1"]);
        let post = |_| request(server.address, "POST", "/whep", &sdp, offer);
        let answers: Vec<_> = (0..8).map(post).collect();
        let refused = answers.iter().find(|answer| answer.status == 503).unwrap();
        (server, refused.json()["detail"].as_str().unwrap().to_owned())
    };
    for flag in ["--max-viewers", "--max-viewers-per-address", "--max-offers-per-second"] {
        let (server, sentence) = limits(flag);
        assert!(!sentence.contains("--"), "{sentence}");
        server.wait_for_log(&format!("({flag} is the limit)"));
    }
    let server = Server::start(&["--token", "open-sesame"]);
    for (headers, status, words) in [
        (
            &[][..],
            401,
            "token-missing (open the URL with #token=TOKEN in a browser; send Authorization",
        ),
        (&[("Origin", "http://elsewhere")], 403, "--allow-origin ORIGIN"),
    ] {
        let answer = request(server.address, "POST", "/offer", headers, b"{}");
        assert_eq!(answer.status, status);
        assert!(!answer.json()["detail"].as_str().unwrap().contains("--"));
        server.wait_for_log(words);
        // One line a second for each client.
        std::thread::sleep(Duration::from_millis(1_100));
    }
    let unknown = b"GET / HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(server.address, unknown).status, 421);
    server.wait_for_log("host-unknown (--allow-host NAME adds a name for this server)");
}

/// In namespaces of its own, whose host name and resolver change while it runs.
#[test]
fn a_host_that_is_renamed_or_gets_a_domain_is_reached_under_its_new_names() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let resolver = folder.join(format!("resolv-{}.conf", std::process::id()));
    std::fs::write(&resolver, "nameserver 192.0.2.53\n").unwrap();
    let mut command = Command::new("unshare");
    let script = "hostname porch && mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    command
        .args(["--map-root-user", "--uts", "--mount", "sh", "-c", script])
        .arg(&resolver)
        .arg(binary());
    let server = Server::start_command(command, "127.0.0.1", 0, &[]);
    let status = |name: &str| {
        let head = format!("GET /health HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        raw(server.address, head.as_bytes()).status
    };
    for (name, expected) in [("porch", 200), ("porch-2.local", 200), ("porch.lan", 421)] {
        assert_eq!(status(name), expected, "{name}");
    }
    // As a network does that is there later.
    std::fs::write(&resolver, "search lan\n").unwrap();
    wait_until("the domain is known", || status("porch.lan") == 200);
    let pid = server.pid().to_string();
    let rename =
        ["--target", &pid, "--user", "--uts", "--preserve-credentials", "hostname", "shed"];
    assert!(Command::new("nsenter").args(rename).status().unwrap().success());
    wait_until("the new name is known", || status("shed.lan") == 200);
    assert_eq!(status("porch"), 421);
    std::fs::remove_file(&resolver).unwrap();
}

/// In a mount namespace of its own, where opening `/etc/hosts` blocks: it is a named pipe that nobody writes.
#[test]
fn a_lookup_that_hangs_takes_one_thread_and_holds_up_nothing() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let hosts = folder.join(format!("hosts-{}", std::process::id()));
    let _ = std::fs::remove_file(&hosts);
    assert!(Command::new("mkfifo").arg(&hosts).status().unwrap().success());
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(&hosts).arg(binary());
    // The second time that a target fails for the same reason is logged at this level.
    command.env("RUST_LOG", "ballcast=debug");
    let publish = ["--publish", "http://media.example/whip"];
    let mut server = Server::start_command(command, "127.0.0.1", 0, &publish);
    let lookups = || threads(server.pid(), "lookup");
    wait_until("the name is looked up", || lookups() == 1);
    let given_up = "not resolved within 6 s; next attempt";
    server.wait_for_log(given_up);
    let health = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(server.address, health).status, 200);
    server.wait_for_log(given_up);
    assert_eq!(lookups(), 1, "a thread that hangs is the only one");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    std::fs::remove_file(&hosts).unwrap();
}
