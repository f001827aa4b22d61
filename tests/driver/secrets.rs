//! No secret reaches who has no token: marks are planted in every place that can carry a secret, and then
//! searched for in all that the program tells anybody, over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::client::Client;
use crate::support::process::{Response, Server, binary, raw, request};
use ballcast::testing::foreign::Foreign;
use ballcast::testing::os_error::OsError;
use ballcast::testing::source::{
    Exit, Source, SourceCause, SourceEvent, SourceFailure, SourceKind, StreamConfig,
};
use rustix::process::Signal;
use serde_json::Value;

/// In every secret, and nowhere else.
const MARK: &str = "s3cret";
const TOKEN: &str = "viewer-token-s3cret";
const PUBLISH_TOKEN: &str = "publish-token-s3cret";
/// Of the media server's URL: no secret, but nothing that everybody reads of a URL, either.
const HOST: &str = "127.0.0.1";

/// What a camera's command writes when it fails, by the forms that passwords have in URLs. `MARK` is in
/// the shell's variable `m`, as the command line is a secret, too.
const WORDS: &str = "m=s3cret; \
    echo \"[rtsp @ 0x55d0] method DESCRIBE failed: 401 Unauthorized\" >&2; \
    echo \"rtsp://10.9.8.7/user=admin&password=$m\" >&2; \
    echo \"rtsp://admin:$m@10.9.8.7:554/live\" >&2; \
    echo \"rtsp://admin:p/$m@10.9.8.7:554/live?k=$m#$m\" >&2; \
    echo \"rtsp://10.9.8.7/$m: Server returned 401\" >&2; \
    echo \"password=$m\" >&2; \
    echo \"Authorization: Basic $m\" >&2; \
    echo \"the word before the last\" >&2; ";

/// A media server that refuses every offer in words of its own.
struct MediaServer {
    address: SocketAddr,
}

impl MediaServer {
    fn start() -> MediaServer {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut request = [0; 8_192];
                let _ = connection.read(&mut request);
                let body = format!("{MARK} is the password\u{202e} of the database");
                let response = format!(
                    "HTTP/1.1 403 {MARK}\r\nLocation: http://{HOST}:1/{MARK}\r\nX-{MARK}: {MARK}\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = connection.write_all(response.as_bytes());
            }
        });
        MediaServer { address }
    }

    fn url(&self) -> String {
        format!("http://{}/{MARK}/whip?key={MARK}", self.address)
    }
}

/// The binary with secrets wherever some can be, and systemd's socket.
fn start(flags: &[&str], has_token: bool, media_server: &MediaServer, name: &str) -> Planted {
    let path = temporary(&format!("notify-{name}"));
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let state = temporary(&format!("state-{MARK}-{name}"));
    std::fs::create_dir_all(&state).unwrap();
    let mut command = Command::new(binary());
    command
        .env("BALLCAST_PUBLISH_TOKEN", PUBLISH_TOKEN)
        .env("NOTIFY_SOCKET", &path)
        .env("STATE_DIRECTORY", &state)
        .env_remove("RUST_LOG");
    if has_token {
        command.env("BALLCAST_TOKEN", TOKEN);
    }
    let url = media_server.url();
    let flags = [&["--publish", &url], flags].concat();
    let server = Server::start_command(command, HOST, 0, &flags);
    Planted { server, socket, has_token, files: vec![path, state] }
}

struct Planted {
    server: Server,
    socket: UnixDatagram,
    has_token: bool,
    files: Vec<PathBuf>,
}

impl Drop for Planted {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = std::fs::remove_file(file);
            let _ = std::fs::remove_dir_all(file);
        }
    }
}

fn temporary(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    folder.join(format!("secrets-{}-{name}", std::process::id()))
}

impl Planted {
    /// The statistics of the operator.
    fn stats(&self) -> Value {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("Authorization", bearer.as_str())];
        let headers = if self.has_token { &headers[..] } else { &[] };
        let response = request(self.server.address, "GET", "/stats", headers, b"");
        assert_eq!(response.status, 200, "{}", response.head);
        response.json()
    }

    /// Waits until the source and the media server have both failed.
    fn wait_until_failed(&self) -> Value {
        let end = std::time::Instant::now() + crate::support::process::WAIT_LIMIT;
        loop {
            let stats = self.stats();
            let has_failed = stats["source"]["state"] == "failed"
                && stats["targets"][0]["sentence"].as_str().is_some_and(|it| it.contains("403"));
            if has_failed {
                return stats;
            }
            assert!(std::time::Instant::now() < end, "{stats}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All that anybody is answered without a token, each with where it is from. What is asked has secrets
    /// of the asker in it, which nobody else is to see.
    fn answers(&self) -> Vec<(String, String)> {
        let address = self.server.address;
        let (_, offer) = Client::new(
            "127.0.0.1:9".parse().unwrap(),
            ballcast::testing::media::Codec::H264,
            std::time::Instant::now(),
        );
        let json = serde_json::json!({"type": "offer", "sdp": offer}).to_string();
        let mut answers = Vec::new();
        let mut add = |what: String, answer: Response| {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            answers.push((what, answer.head + "\r\n\r\n" + &body));
        };
        for path in [
            "/",
            "/static/ballcast.js",
            "/static/style.css",
            "/static/icon.svg",
            "/health",
            "/stats",
            "/metrics",
            "/whep",
            "/snapshot.jpg",
            "/snapshot.jpg?width=320",
            "/nothing",
            "*",
        ] {
            for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE"] {
                add(format!("{method} {path}"), request(address, method, path, &[], b"x"));
            }
        }
        let posts = [
            ("/offer", "application/json", json.as_str()),
            ("/offer", "application/json", "{"),
            ("/whep", "application/sdp", &offer),
            ("/whep", "application/sdp", "v=0"),
        ];
        for (path, kind, body) in posts {
            let headers = [("Content-Type", kind)];
            let answer = request(address, "POST", path, &headers, body.as_bytes());
            add(format!("POST {path} {kind}"), answer);
        }
        // Secrets of one client, which the next one asks for.
        let headers = [
            ("Authorization", format!("Bearer {MARK}-wrong")),
            ("Cookie", MARK.to_owned()),
            ("User-Agent", MARK.to_owned()),
            ("Referer", format!("http://{MARK}.example/")),
            ("X-Forwarded-For", MARK.to_owned()),
        ];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let target = format!("/stats?token={MARK}");
        let _ = request(address, "GET", &target, &headers, b"");
        let _ = request(address, "GET", &format!("/{MARK}"), &headers, b"");
        let rebound =
            format!("GET / HTTP/1.1\r\nHost: {MARK}.example\r\nConnection: close\r\n\r\n");
        let _ = raw(address, rebound.as_bytes());
        let _ = raw(address, format!("{MARK} {MARK}\r\n\r\n").as_bytes());
        for path in ["/health", "/stats", "/metrics"] {
            add(format!("GET {path} again"), request(address, "GET", path, &[], b""));
        }
        answers
    }

    /// What systemd was told, and what was logged until the end of the program.
    fn end(mut self) -> Vec<(String, String)> {
        self.server.signal(Signal::TERM);
        self.server.wait();
        let mut told = Vec::new();
        let mut message = [0; 4_096];
        while let Ok(bytes) = self.socket.recv(&mut message) {
            told.push(("systemd".into(), String::from_utf8_lossy(&message[..bytes]).into_owned()));
        }
        assert!(!told.is_empty());
        let log = self.server.log();
        assert!(log.iter().any(|line| line.contains("no signal: ")), "{log:#?}");
        assert!(log.iter().any(|line| line.contains("has no picture: ")), "{log:#?}");
        told.extend(log.into_iter().map(|line| ("the log".to_owned(), line)));
        told
    }
}

fn check(told: &[(String, String)], marks: &[&str]) {
    for (what, text) in told {
        // Nor as hexadecimal digits, or in another case.
        let lower = text.to_lowercase();
        for mark in marks {
            let hex: Vec<String> = mark.bytes().map(|byte| format!("{byte:02x}")).collect();
            for form in [(*mark).to_owned(), hex.concat(), hex.join(" ")] {
                assert!(!lower.contains(&form), "{form} is in {what}: {text}");
            }
        }
        assert!(!text.contains('\u{202e}'), "{what}: {text}");
    }
}

#[test]
fn nobody_without_a_token_reads_a_word_of_a_command_a_media_server_or_a_url() {
    let media_server = MediaServer::start();
    let port = media_server.address.port().to_string();
    let commands = [
        format!("{WORDS} exit 3"),
        format!("{WORDS} kill -9 $$"),
        format!("/{MARK}/camera --password {MARK}"),
        format!("printf 'YUV4MPEG2 W64 H48 F25:1 C{MARK}\\n'; sleep 9"),
        format!("printf '{MARK}'; exit 1"),
        format!("printf '{MARK} is not a picture, but some text about {MARK}'; sleep 9"),
    ];
    for has_token in [false, true] {
        for (number, command) in commands.iter().enumerate() {
            let name = format!("{number}-{has_token}");
            let planted = start(&["--exec", command], has_token, &media_server, &name);
            let stats = planted.wait_until_failed();
            println!("{}", stats["source"]);
            check(&planted.answers(), &[MARK]);
            if !has_token {
                let stats = stats.to_string();
                for words in ["10.9.8.7", "DESCRIBE", "the word before", "camera", "database"] {
                    assert!(!stats.contains(words), "{words}: {stats}");
                }
                assert!(!stats.contains(&port), "{stats}");
            }
            check(&planted.end(), &[MARK]);
        }
    }
}

#[test]
fn who_has_the_token_reads_why_without_what_is_in_urls() {
    let media_server = MediaServer::start();
    let command = format!("{WORDS} exit 3");
    let planted = start(&["--exec", &command], true, &media_server, "detail");
    let stats = planted.wait_until_failed();
    assert_eq!(stats["source"]["sentence"], "The command exited with status 3.");
    let detail = stats["source"]["detail"].as_str().unwrap();
    println!("{detail}");
    assert!(!detail.contains(MARK), "{detail}");
    for words in ["401 Unauthorized", "rtsp://10.9.8.7/…", "the word before the last"] {
        assert!(detail.contains(words), "{words}: {detail}");
    }
    let target = &stats["targets"][0];
    assert_eq!(target["server"], media_server.address.to_string());
    let detail = target["detail"].as_str().unwrap();
    // Its own words are for the operator, without what it repeats of the request.
    assert!(detail.contains("status 403") && !detail.contains("key="), "{detail}");
}

#[test]
fn a_named_pipe_is_not_named() {
    let media_server = MediaServer::start();
    let path = temporary(&format!("{MARK}.fifo"));
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let planted = start(&[path.to_str().unwrap()], false, &media_server, "fifo");
    std::fs::remove_file(&path).unwrap();
    // Who writes to it, goes: it is opened again, and is not there.
    planted.server.wait_for("it is tried again", |stats| stats["source"]["state"] != "running");
    check(&planted.answers(), &[MARK]);
    planted.server.signal(Signal::TERM);
    check(
        &planted.server.log().into_iter().map(|it| ("log".into(), it)).collect::<Vec<_>>(),
        &[MARK],
    );
}

/// The words in the picture are the core's: none of them is from outside.
#[test]
fn the_picture_says_why_in_words_of_our_own() {
    let now = std::time::Instant::now();
    let words = Foreign::new(MARK, 100);
    let shown = |kind, event: SourceEvent| {
        let mut source = Source::new(StreamConfig { kind, raw: None, interval: None }.into(), now);
        source.handle_timeout(now);
        source.handle_event(now, SourceEvent::Opened);
        source.handle_event(now, event);
        let missing = source.no_signal(now).unwrap();
        let lines = missing.lines().join(" ");
        assert!(!lines.contains(MARK), "{lines}");
        (missing.sentence, missing.detail)
    };
    let exited = SourceEvent::Exited(Exit::Status(127), words);
    let (sentence, detail) = shown(SourceKind::Command, exited);
    assert_eq!(sentence, "The command exited with status 127: a program in it was not found.");
    assert_eq!(detail, Some(format!("{sentence} It wrote: {MARK}.")));
    let missing = SourceFailure::Open(OsError::Number(2));
    let (sentence, detail) = shown(SourceKind::Fifo, SourceEvent::Failed(missing));
    assert_eq!(sentence, SourceCause::Failed(SourceKind::Fifo, missing).to_string());
    assert!(sentence.starts_with("The named pipe cannot be opened: No such file"), "{sentence}");
    assert_eq!(detail, None);
    let text = b"s3cret, no picture at all\n".repeat(200);
    let (sentence, detail) = shown(SourceKind::Fifo, SourceEvent::Bytes(&text));
    assert!(sentence.contains("begins with text"), "{sentence}");
    assert!(detail.unwrap().contains("It starts with: s3cret, no picture at all"));
    let garbage = [&b"s3cret"[..], &vec![0x90; 1 << 20]].concat();
    let (sentence, detail) = shown(SourceKind::Fifo, SourceEvent::Bytes(&garbage));
    assert!(sentence.contains("Name the format"), "{sentence}");
    assert!(detail.unwrap().contains("It starts with: 73"));
}

#[test]
fn what_is_given_in_the_wrong_place_is_not_repeated_with_its_secrets() {
    for arguments in [
        &["rtsp://admin:s3cret@camera/live"][..],
        &["http://camera/s3cret"],
        &["--check-health", "https://user:s3cret@device/"],
        &["--allow-origin", "http://user:s3cret@device"],
        &["--publish", "https://user:s3cret@media/whip?key=s3cret"],
        &["--raw", "http://camera/s3cret"],
        &["--size", "password=s3cret"],
        &["--qr=http://u:s3cret@h/"],
    ] {
        let output = Command::new(binary()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert!(!sentence.contains(MARK), "{sentence}");
    }
}
