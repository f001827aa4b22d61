//! The real binary, real TCP and UDP on the loopback, real DTLS and SRTP, and a real decoder.

mod support;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use ballcast::media::Codec;
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use rustix::process::Signal;
use support::ball;
use support::client::Client;
use support::process::{Server, WAIT_LIMIT};

/// A client on a real socket.
struct Watcher {
    client: Client,
    socket: UdpSocket,
}

impl Watcher {
    fn join(server: &Server) -> Watcher {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let now = Instant::now();
        let (mut client, sdp) = Client::new(socket.local_addr().unwrap(), Codec::H264, now);
        let response = server.post_offer(&sdp);
        assert_eq!(response.status, 200, "{}", response.json());
        client.accept(response.json()["sdp"].as_str().unwrap(), now);
        Watcher { client, socket }
    }

    /// Sends what is due and takes in what comes, for a moment.
    fn step(&mut self) {
        self.send();
        let wait = self.client.poll_timeout().saturating_duration_since(Instant::now());
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(20));
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut datagram = [0; 2_048];
        match self.socket.recv_from(&mut datagram) {
            Ok((bytes, source)) => {
                self.client.handle_datagram(Instant::now(), source, &datagram[..bytes]);
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
            }
        }
        self.client.handle_timeout(Instant::now());
        self.send();
    }

    fn send(&mut self) {
        for transmit in std::mem::take(&mut self.client.outgoing) {
            self.socket.send_to(&transmit.contents, transmit.destination).unwrap();
        }
    }
}

fn watch_until(watchers: &mut [Watcher], done: impl Fn(&[Watcher]) -> bool) {
    let end = Instant::now() + WAIT_LIMIT + Duration::from_secs(20);
    while !done(watchers) {
        assert!(Instant::now() < end, "{} frames", watchers[0].client.frames.len());
        watchers.iter_mut().for_each(Watcher::step);
    }
}

/// A decoded picture's luma and chroma.
struct Decoded {
    width: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

fn decode(frames: &[support::client::ReceivedFrame]) -> Vec<Decoded> {
    let mut decoder = Decoder::new().unwrap();
    let mut pictures = Vec::new();
    for frame in frames {
        let picture = decoder.decode(&frame.data).unwrap().expect("each frame is a picture");
        let (width, height) = picture.dimensions();
        let plane = |samples: &[u8], stride: usize, width: usize, height: usize| {
            samples.chunks(stride).take(height).flat_map(|row| row[..width].to_vec()).collect()
        };
        let (y_stride, u_stride, v_stride) = picture.strides();
        pictures.push(Decoded {
            width,
            y: plane(picture.y(), y_stride, width, height),
            u: plane(picture.u(), u_stride, width / 2, height / 2),
            v: plane(picture.v(), v_stride, width / 2, height / 2),
        });
    }
    pictures
}

impl Decoded {
    /// The middle of everything that is bright.
    fn centre(&self) -> (f64, f64) {
        let bright = self.y.iter().enumerate().filter(|(_, luma)| **luma > 80);
        let points: Vec<(usize, usize)> =
            bright.map(|(at, _)| (at % self.width, at / self.width)).collect();
        let middle = |axis: &dyn Fn(&(usize, usize)) -> usize, length: usize| {
            let (least, most) = (points.iter().map(axis).min(), points.iter().map(axis).max());
            ball::middle(least.unwrap() as f64, most.unwrap() as f64, length as f64)
        };
        (middle(&|p| p.0, self.width), middle(&|p| p.1, self.y.len() / self.width))
    }
}

#[test]
fn the_ball_arrives_on_its_trajectory_300_frames_in_a_row() {
    let server = Server::start(&[]);
    let mut watchers = [Watcher::join(&server)];
    watch_until(&mut watchers, |w| w[0].client.frames.len() >= 300);

    // Asked while it streams: threads of the process, encodes so far.
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().count();
    assert_eq!(threads, 1);

    let frames = &watchers[0].client.frames[..300];
    assert!(frames[0].is_keyframe());
    let pictures = decode(frames);
    let centres: Vec<_> = pictures.iter().map(Decoded::centre).collect();
    let numbers = ball::follow(&centres, 0).unwrap();
    assert_eq!(numbers[0], 1, "the ball starts to move for the first viewer");
    for picture in &pictures {
        check_colours(picture);
    }
}

/// Black and green within 6 steps, two pixels away from the disc's edge.
fn check_colours(picture: &Decoded) {
    const TOLERANCE: u8 = 6;
    let (centre_x, centre_y) = picture.centre();
    for (at, luma) in picture.y.iter().enumerate() {
        let (x, y) = (at % picture.width, at / picture.width);
        let distance = (x as f64 - centre_x).hypot(y as f64 - centre_y);
        let expected = match distance {
            d if d < 18.0 => (145, 54, 34),
            d if d > 23.0 => (16, 128, 128),
            _ => continue,
        };
        let chroma = (y / 2) * (picture.width / 2) + x / 2;
        let seen = (*luma, picture.u[chroma], picture.v[chroma]);
        let near = seen.0.abs_diff(expected.0) <= TOLERANCE
            && seen.1.abs_diff(expected.1) <= TOLERANCE
            && seen.2.abs_diff(expected.2) <= TOLERANCE;
        assert!(near, "({x}, {y}) is {seen:?}, not {expected:?}");
    }
}

#[test]
fn two_viewers_get_the_same_pictures_from_one_encode() {
    let server = Server::start(&[]);
    let mut watchers = [Watcher::join(&server), Watcher::join(&server)];
    watch_until(&mut watchers, |w| w.iter().all(|w| w.client.frames.len() >= 60));
    let captured = server.stats()["frames"].as_u64().unwrap();
    let [first, second] = &watchers;
    let same = |w: &Watcher| w.client.frames.iter().map(|f| f.data.clone()).collect::<Vec<_>>();
    let (all, late) = (same(first), same(second));
    // The second began with a key frame of the first's stream.
    let start = all.iter().position(|frame| *frame == late[0]).expect("the same key frame");
    let shared = all[start..].iter().zip(&late).take_while(|(a, b)| a == b).count();
    assert!(shared >= late.len().min(all.len() - start), "{shared}");
    let most = all.len().max(late.len()) as u64 + 30;
    assert!(captured <= most, "{captured} encodes for {most} frames");
}

#[test]
fn a_stamp_tells_when_the_picture_was_taken() {
    let server = Server::start(&["--stamp"]);
    let mut watchers = [Watcher::join(&server)];
    watch_until(&mut watchers, |w| w[0].client.frames.len() >= 30);
    let now = ballcast::media::stamp_of(std::time::SystemTime::now());
    for picture in decode(&watchers[0].client.frames) {
        let bit = |bit: usize| u32::from(picture.y[8 * picture.width + bit * 16 + 8] > 128) << bit;
        let stamp: u32 = (0..24).map(bit).sum();
        let age_ms = (now.wrapping_sub(stamp) & 0xff_ffff) / 4;
        assert!(age_ms < 40_000, "{age_ms} ms old");
    }
}

#[test]
fn the_bitstream_says_bt601_limited_range() {
    let server = Server::start(&[]);
    let mut watchers = [Watcher::join(&server)];
    watch_until(&mut watchers, |w| !w[0].client.frames.is_empty());
    let data = &watchers[0].client.frames[0].data;
    let start = data.windows(4).position(|w| w[..3] == [0, 0, 1] && w[3] & 0x1f == 7).unwrap();
    let bits: String =
        data[start + 3..start + 40].iter().map(|byte| format!("{byte:08b}")).collect();
    // video_signal_type_present_flag, video_format 5 (unspecified), video_full_range_flag 0,
    // colour_description_present_flag, then 6, 6, 6: SMPTE 170M (H.264 annex E.1.1).
    let signal_type = "11010 1 00000110 00000110 00000110".replace(' ', "");
    assert!(bits.contains(&signal_type), "{bits}");
}

#[test]
fn a_viewer_that_leaves_is_freed_at_once() {
    let server = Server::start(&[]);
    let mut watchers = [Watcher::join(&server)];
    watch_until(&mut watchers, |w| w[0].client.frames.len() >= 5);
    assert_eq!(server.stats()["viewers"][0]["state"], "live");
    let [watcher] = &mut watchers;
    watcher.client.close(Instant::now());
    watcher.send();
    let left = Instant::now();
    server.wait_for("the viewer leaves", |stats| stats["viewers"].as_array().unwrap().is_empty());
    // 100 ms is what is promised and the pure tests hold it to; this one runs beside others.
    assert!(left.elapsed() < Duration::from_secs(2), "{:?}", left.elapsed());
}

#[test]
fn a_signal_says_goodbye_to_the_viewers_and_ends_the_process_at_once() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut server = Server::start(&[]);
        let mut watchers = [Watcher::join(&server)];
        watch_until(&mut watchers, |w| w[0].client.frames.len() >= 5);
        let sent = Instant::now();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        // Promised are 300 ms; the rest is for a machine that is busy with other tests.
        assert!(sent.elapsed() < Duration::from_millis(1_500), "{:?}", sent.elapsed());
        watch_until(&mut watchers, |w| w[0].client.closed);
        let log = server.log().join("\n");
        assert!(log.contains("the server ended"), "{log}");
    }
}

#[test]
fn nobody_watching_costs_no_cpu_and_no_wake_up() {
    let server = Server::start(&[]);
    let mut watchers = [Watcher::join(&server)];
    watch_until(&mut watchers, |w| w[0].client.frames.len() >= 5);
    watchers[0].client.close(Instant::now());
    watchers[0].send();
    server.wait_for("the viewer leaves", |stats| stats["viewers"].as_array().unwrap().is_empty());
    // The connection that asked is still lingering; it is gone when the limit of that has passed.
    std::thread::sleep(Duration::from_secs(3));
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
        line.unwrap().split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(switches(), before, "the process slept");
}
