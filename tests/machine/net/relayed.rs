//! H.264 that comes through a link of 4 Mbit/s and a program that copies it to standard input, as with
//! `ssh` or `nc`: each picture comes in several parts, some milliseconds apart.

use std::io::{Read, Write, pipe};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::{scope, sleep, spawn};
use std::time::{Duration, Instant};

use ballcast::testing::source::parse::{ParsedItem, Parser};

use super::namespaces::{Network, SERVER, SERVER_IPV4};
use crate::support::process::{Server, WAIT_LIMIT, binary};
use crate::support::socket_viewer::{SocketViewer, run_until};

const LINK_KBIT: u32 = 4_000;
/// Pictures between two key frames: one a second, ffmpeg's default, and never again.
const GROUPS: [u32; 3] = [25, 250, 1_000_000];
/// All streams together take three quarters of the link.
const OUTPUT: &str = "-re -f lavfi -i testsrc2=size=640x360:rate=25 -c:v libx264 -preset ultrafast \
                      -tune zerolatency -pix_fmt yuv420p -sc_threshold 0 -b:v 1M -maxrate 1M -bufsize 500k";
const PERIOD: Duration = Duration::from_millis(40);
/// What is looked at of each stream.
const FRAMES: usize = 300;
/// The last bytes of a picture tell which one it is.
const TAIL_BYTES: usize = 24;

/// When the last byte of each picture was written to standard input.
type Written = Vec<(Vec<u8>, Instant)>;

pub fn slow_link(network: &Network) {
    network.set_rate(LINK_KBIT);
    scope(|threads| {
        let streams = GROUPS
            .into_iter()
            .zip(7_001..)
            .map(|(group, port)| threads.spawn(move || play(network, group, port)));
        let streams: Vec<_> = streams.collect();
        streams.into_iter().for_each(|stream| stream.join().unwrap());
    });
}

fn play(network: &Network, group: u32, port: u16) {
    let (reader, mut writer) = pipe().unwrap();
    let mut ballcast = Command::new(binary());
    ballcast.stdin(reader);
    let server = Server::start_command(ballcast, "127.0.0.1", 0, &["-"]);
    let _encoder = Encoder::start(network, group, port);
    let mut link = connect(port);
    let copy = spawn(move || {
        let (mut parser, mut written) = (Parser::new(), Written::new());
        let (mut part, mut last_write, mut parts) = ([0; 65_536], Instant::now(), 0);
        while let Ok(bytes @ 1..) = link.read(&mut part) {
            if writer.write_all(&part[..bytes]).is_err() {
                break;
            }
            parser.push(&part[..bytes]).unwrap();
            while let Some(ParsedItem::AccessUnit(unit)) = parser.poll() {
                written.push((tail(unit.data()), last_write));
            }
            last_write = Instant::now();
            parts += 1;
        }
        (written, parts)
    });
    server.wait_for("the stream runs", |stats| stats["source"]["state"] == "running");
    let mut viewers = [SocketViewer::join(&server)];
    run_until(&mut viewers, |viewers| viewers[0].client.frames.len() >= FRAMES);
    let source = &server.stats()["source"];
    drop(server);
    let (written, parts) = copy.join().unwrap();
    let frames = &viewers[0].client.frames;
    let mut latencies: Vec<Duration> = Vec::new();
    for (data, at) in &written {
        let frame = frames.iter().find(|frame| tail(&frame.data) == *data);
        latencies.extend(frame.map(|frame| frame.at.saturating_duration_since(*at)));
    }
    latencies.sort();
    let (count, pictures) = (latencies.len(), written.len());
    let median = latencies[count / 2];
    println!(
        "groups of {group}: {pictures} pictures in {parts} parts, latency p50 {median:?}, most {:?} of {count}",
        latencies[count - 1],
    );
    assert!(parts > 2 * pictures, "the link cuts pictures: {parts} parts of {pictures}");
    assert_eq!((&source["frames_skipped"], &source["frames_damaged"]), (&0.into(), &0.into()));
    assert!(count >= FRAMES - 1 && median < 2 * PERIOD, "{median:?} of {count}");
}

fn tail(data: &[u8]) -> Vec<u8> {
    data[data.len().saturating_sub(TAIL_BYTES)..].to_vec()
}

/// Behind the link.
struct Encoder(Child);

impl Encoder {
    fn start(network: &Network, group: u32, port: u16) -> Encoder {
        let mut command = network.command(SERVER, "ffmpeg");
        command.args(["-v", "error", "-nostdin"]).args(OUTPUT.split_whitespace());
        command.args(["-g", &group.to_string(), "-f", "h264"]);
        command.arg(format!("tcp://{SERVER_IPV4}:{port}?listen=1")).stdin(Stdio::null());
        Encoder(command.spawn().unwrap())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(port: u16) -> TcpStream {
    let end = Instant::now() + WAIT_LIMIT;
    loop {
        match TcpStream::connect((SERVER_IPV4, port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        sleep(Duration::from_millis(50));
    }
}
