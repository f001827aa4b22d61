//! With a fifth of a core, and TCP clients that send as fast as they can: the server looks at its UDP
//! socket all the time, who watches sees every frame, and who is new gets in.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

use super::group::Group;
use crate::support::dear_offers::{BODY_BYTES, dear_offers};
use crate::support::process::{Server, request_from};
use crate::support::socket_viewer::SocketViewer;

const MEMORY_BYTES: u64 = 64 << 20;
const PERCENT: u64 = 20;
/// Short, so that the kernel keeps the server waiting for 4 ms at most.
const PERIOD: Duration = Duration::from_millis(5);
const MEASURED: Duration = Duration::from_secs(4);
/// A check is sent this often.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// From a connectivity check to its answer, which the server sends when it looks at its socket. One core is
/// busy with the load, and there are viewers and other programs: medians count, the longest is printed.
const ANSWER_LIMIT: Duration = Duration::from_millis(20);
const LEAST_RATE: f64 = 25.0;
const JOIN_LIMIT: Duration = Duration::from_secs(1);
const HEALTH_LIMIT: Duration = Duration::from_millis(500);

/// What its clients send.
struct Load {
    name: &'static str,
    /// Over and over.
    bytes: Vec<u8>,
    /// This much at a time.
    piece_bytes: usize,
    /// From each address.
    connections: usize,
    addresses: u8,
}

fn loads(server: SocketAddr) -> Vec<Load> {
    let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: {server}\r\n\r\n");
    let upload = |kind: &str, body: &str| {
        let length = body.len();
        format!(
            "POST /offer HTTP/1.1\r\nHost: {server}\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let offers = dear_offers(BODY_BYTES * 3 / 4).into_iter().map(|(_, sdp)| {
        upload("application/json", &serde_json::json!({"type": "offer", "sdp": sdp}).to_string())
    });
    let lines = ["GET /", "GET /stats", "GET /metrics", "GET /health", "OPTIONS /whep", "GET /x"];
    let routes = lines.map(head).concat() + &head("GET /snapshot.jpg");
    let patch = format!(
        "PATCH /whep/0123456789abcdef HTTP/1.1\r\nHost: {server}\r\nIf-Match: *\r\nContent-Length: 0\r\n\
         Content-Type: application/trickle-ice-sdpfrag\r\n\r\n"
    );
    let pictures =
        [16, 160, 320, 480, 640].map(|it| head(&format!("GET /snapshot.jpg?width={it}")));
    let closing = format!("HEAD / HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    let load = |name, text: String, connections, addresses| Load {
        name,
        bytes: text.into_bytes(),
        piece_bytes: usize::MAX,
        connections,
        addresses,
    };
    vec![
        load("pipelined HEAD", head("HEAD /").repeat(400), 32, 1),
        load("pipelined HEAD of three clients", head("HEAD /").repeat(400), 32, 3),
        load("all routes", routes.repeat(20), 32, 3),
        load("pictures in all widths", pictures.concat().repeat(20), 32, 3),
        load("offers", offers.collect(), 32, 3),
        load("patches", patch.repeat(100), 32, 3),
        load("refused uploads", upload("text/plain", &"x".repeat(60_000)), 32, 3),
        load("a request a connection", closing, 32, 3),
        Load { piece_bytes: 1, ..load("slow heads", head("GET /slow"), 32, 3) },
    ]
}

pub fn no_load_of_tcp_harms_a_viewer(only: &str) {
    let group = Group::create(MEMORY_BYTES, PERCENT, PERIOD);
    let server = Server::start_command(group.command(), "127.0.0.1", 0, &[]);
    let mut viewer = SocketViewer::join(&server);
    while viewer.client.frames.is_empty() {
        viewer.step();
    }
    for load in loads(server.address) {
        if load.name.contains(only) {
            withstand(&server, &mut viewer, &load);
        }
    }
}

fn withstand(server: &Server, viewer: &mut SocketViewer, load: &Load) {
    let (ends, address) = (AtomicBool::new(false), server.address);
    let started = Instant::now();
    let (sent, frames, mut answers, mut joins, mut health) = scope(|threads| {
        let ends = &ends;
        let sender = threads.spawn(move || send(address, load, ends));
        let check = viewer.check();
        let watcher = threads.spawn(move || {
            viewer.client.frames.clear();
            let started = Instant::now();
            while started.elapsed() < MEASURED {
                viewer.step();
            }
            viewer.client.frames.len() as f64 / started.elapsed().as_secs_f64()
        });
        let prober = threads.spawn(move || {
            let started = Instant::now();
            let mut answers = Vec::new();
            while started.elapsed() < MEASURED {
                answers.push(check.time_to_answer());
                sleep(CHECK_INTERVAL);
            }
            answers
        });
        let newcomer = threads.spawn(move || {
            [0; 3].map(|_| {
                sleep(MEASURED / 5);
                time_to_join(address)
            })
        });
        let asker = threads.spawn(move || {
            let source = IpAddr::from([127, 0, 0, 9]);
            [0; 8].map(|_| {
                sleep(MEASURED / 10);
                let started = Instant::now();
                assert_eq!(request_from(source, address, "GET", "/health", &[], b"").status, 200);
                started.elapsed()
            })
        });
        let frames = watcher.join().unwrap();
        let measured = (prober.join().unwrap(), newcomer.join().unwrap(), asker.join().unwrap());
        ends.store(true, Ordering::Relaxed);
        (sender.join().unwrap(), frames, measured.0, measured.1, measured.2)
    });
    answers.sort_unstable();
    joins.sort_unstable();
    health.sort_unstable();
    let slowest = answers[answers.len() - 1];
    let slow = answers[answers.len() * 99 / 100];
    let answered = answers[answers.len() / 2];
    let (joined, asked) = (joins[joins.len() / 2], health[health.len() / 2]);
    println!(
        "{}: {:.1} Mbit/s taken; {frames:.1} frames/s; checks are answered after {:.1} ms (median), {:.1} \
         (p99), {:.1} (longest); first frame of a newcomer after {joined:.2?}, /health after {asked:.2?}",
        load.name,
        sent as f64 * 8e-6 / started.elapsed().as_secs_f64(),
        1e3 * answered.as_secs_f64(),
        1e3 * slow.as_secs_f64(),
        1e3 * slowest.as_secs_f64(),
    );
    assert!(frames >= LEAST_RATE, "{}: {frames:.1} frames/s", load.name);
    assert!(answered <= ANSWER_LIMIT, "{}: {answered:?}", load.name);
    assert!(joined <= JOIN_LIMIT, "{}: {joins:?}", load.name);
    assert!(asked <= HEALTH_LIMIT, "{}: {health:?}", load.name);
}

/// From the offer to the first frame. The viewer closes its connection then.
fn time_to_join(server: SocketAddr) -> Duration {
    let started = Instant::now();
    let joined = SocketViewer::try_join_from(Ipv4Addr::LOCALHOST.into(), server, &[]).unwrap();
    let mut viewer = joined.unwrap_or_else(|refusal| panic!("{}", refusal.json()));
    while viewer.client.frames.is_empty() && started.elapsed() < 20 * JOIN_LIMIT {
        viewer.step();
    }
    let elapsed = started.elapsed();
    viewer.client.close(Instant::now());
    viewer.send();
    elapsed
}

/// Sends as fast as the server reads, and reads what is answered; how many bytes were sent.
fn send(server: SocketAddr, load: &Load, ends: &AtomicBool) -> usize {
    let addresses = (0..load.addresses).map(|n| IpAddr::from([127, 0, 1, n]));
    let sources = addresses.flat_map(|address| std::iter::repeat_n(address, load.connections));
    let mut clients: Vec<_> = sources.map(|source| (source, None, 0)).collect();
    let mut sent = 0;
    while !ends.load(Ordering::Relaxed) {
        for (source, connection, at) in &mut clients {
            let stream = connection.get_or_insert_with(|| {
                *at = 0;
                open(*source, server)
            });
            let rest = &load.bytes[*at..];
            let written = stream.write(&rest[..rest.len().min(load.piece_bytes)]);
            let is_closed = match written {
                Ok(bytes) => {
                    sent += bytes;
                    *at = (*at + bytes) % load.bytes.len();
                    false
                }
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            let read = stream.read(&mut [0; 64 << 10]);
            let waits = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            if is_closed || !waits && !read.is_ok_and(|bytes| bytes > 0) {
                *connection = None;
            }
        }
        // The test's own viewers have to get their turn.
        sleep(Duration::from_micros(100));
    }
    sent
}

/// A connection that ends with a reset, so that its port is free again.
fn open(source: IpAddr, server: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    bind(&socket, &SocketAddr::new(source, 0)).unwrap();
    connect(&socket, &server).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true).unwrap();
    stream
}
