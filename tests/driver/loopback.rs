//! The real binary with TCP and UDP on the loopback address, real DTLS and SRTP, and a real decoder.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::ball;
use crate::support::process::{Server, binary};
use crate::support::socket_viewer::{SocketViewer, run_until};
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use rustix::process::Signal;
use serde_json::Value;

/// The luma and chroma planes of a decoded picture.
struct Decoded {
    width: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

fn decode(frames: &[crate::support::client::ReceivedFrame]) -> Vec<Decoded> {
    let mut decoder = Decoder::new().unwrap();
    let mut pictures = Vec::new();
    for frame in frames {
        let picture =
            decoder.decode(&frame.data).unwrap().expect("each frame decodes to a picture");
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
    /// The centre of the bounding box of all bright pixels.
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
    let mut viewers = [SocketViewer::join(&server)];
    run_until(&mut viewers, |w| w[0].client.frames.len() >= 300);

    // The server has one thread while it streams.
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().count();
    assert_eq!(threads, 1);

    let frames = &viewers[0].client.frames[..300];
    assert!(frames[0].is_keyframe());
    let pictures = decode(frames);
    let centres: Vec<_> = pictures.iter().map(Decoded::centre).collect();
    let numbers = ball::follow(&centres, 0).unwrap();
    assert_eq!(numbers[0], 1, "the ball starts to move when the first viewer connects");
    for picture in &pictures {
        check_colours(picture);
    }
}

/// Waits for 60 frames, and checks that they show the ball.
fn follow_the_ball(viewer: SocketViewer) -> SocketViewer {
    let mut viewers = [viewer];
    run_until(&mut viewers, |w| w[0].client.frames.len() >= 60);
    let [viewer] = viewers;
    let pictures = decode(&viewer.client.frames);
    let centres: Vec<_> = pictures.iter().map(Decoded::centre).collect();
    ball::follow(&centres, 0).unwrap();
    viewer
}

/// RFC 5763, section 5, and RFC 8842, section 5.3.
#[test]
fn the_answer_has_the_other_role_in_dtls_and_the_ball_arrives_in_each() {
    let server = Server::start(&[]);
    for (offered, answered) in
        [("actpass", "passive"), ("active", "passive"), ("passive", "active")]
    {
        let setup = format!("a=setup:{offered}");
        let viewer = SocketViewer::join_with(&server, "a=setup:actpass", &setup);
        let answer = viewer.client.answer();
        assert!(answer.contains(&format!("a=setup:{answered}\r\n")), "{offered}: {answer}");
        follow_the_ball(viewer);
    }
}

#[test]
fn the_ball_arrives_over_ipv6() {
    let server = Server::start_on("::1", 0, &[]);
    let viewer = follow_the_ball(SocketViewer::join(&server));
    let stats = server.stats();
    let address = viewer.client.address.to_string();
    assert!(address.starts_with("[::1]:"), "{address}");
    assert_eq!(stats["viewers"][0]["address"], address, "{stats}");
}

/// Checks that the disc is green and the rest black, each sample within 6, except within two to
/// three pixels of the disc's edge.
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
    let mut viewers = [SocketViewer::join(&server), SocketViewer::join(&server)];
    run_until(&mut viewers, |w| w.iter().all(|w| w.client.frames.len() >= 60));
    let captured = server.stats()["frames"].as_u64().unwrap();
    let [first, second] = &viewers;
    let same =
        |w: &SocketViewer| w.client.frames.iter().map(|f| f.data.clone()).collect::<Vec<_>>();
    let (all, late) = (same(first), same(second));
    // The first frame of the second viewer is a key frame that the first one got, too.
    let start =
        all.iter().position(|frame| *frame == late[0]).expect("a frame that both viewers got");
    let shared = all[start..].iter().zip(&late).take_while(|(a, b)| a == b).count();
    assert!(shared >= late.len().min(all.len() - start), "{shared}");
    let most = all.len().max(late.len()) as u64 + 30;
    assert!(captured <= most, "{captured} encodes for {most} frames");
}

#[test]
fn the_stamp_is_the_capture_time() {
    let server = Server::start(&["--stamp"]);
    let mut viewers = [SocketViewer::join(&server)];
    run_until(&mut viewers, |w| w[0].client.frames.len() >= 30);
    let now = ballcast::testing::media::stamp_of(std::time::SystemTime::now());
    for picture in decode(&viewers[0].client.frames) {
        let bit = |bit: usize| u32::from(picture.y[8 * picture.width + bit * 16 + 8] > 128) << bit;
        let stamp: u32 = (0..24).map(bit).sum();
        let age_ms = (now.wrapping_sub(stamp) & 0xff_ffff) / 4;
        assert!(age_ms < 40_000, "{age_ms} ms old");
    }
}

#[test]
fn the_bitstream_says_bt601_limited_range() {
    let server = Server::start(&[]);
    let mut viewers = [SocketViewer::join(&server)];
    run_until(&mut viewers, |w| !w[0].client.frames.is_empty());
    let data = &viewers[0].client.frames[0].data;
    let start = data.windows(4).position(|w| w[..3] == [0, 0, 1] && w[3] & 0x1f == 7).unwrap();
    let bits: String =
        data[start + 3..start + 40].iter().map(|byte| format!("{byte:08b}")).collect();
    // video_signal_type_present_flag, video_format 5 (unspecified), video_full_range_flag 0,
    // colour_description_present_flag, then 6, 6, 6: SMPTE 170M (H.264 annex E.1.1).
    let signal_type = "11010 1 00000110 00000110 00000110".replace(' ', "");
    assert!(bits.contains(&signal_type), "{bits}");
}

#[test]
fn standard_error_has_lines_of_the_log_only_and_they_tell_how_a_viewer_received() {
    let server = Server::start(&[]);
    let mut viewers = [SocketViewer::join(&server)];
    // A round trip needs a sender report, of which there is one in 5 s, and a loss two receiver
    // reports.
    let figures = ["round_trip_ms", "loss", "jitter_ms"];
    let mut viewer = Value::Null;
    for frames in (30..600).step_by(30) {
        run_until(&mut viewers, |w| w[0].client.frames.len() >= frames);
        viewer = server.stats()["viewers"][0].clone();
        if figures.iter().all(|figure| viewer[figure].is_f64()) {
            break;
        }
    }
    assert!(viewer["round_trip_ms"].as_f64().is_some_and(|ms| ms < 1_000.0), "{viewer}");
    assert_eq!((&viewer["loss"], viewer["jitter_ms"].is_f64()), (&0.0.into(), true), "{viewer}");
    viewers[0].client.close(Instant::now());
    viewers[0].send();
    server
        .wait_for("the viewer is removed", |stats| stats["viewers"].as_array().unwrap().is_empty());
    let log = server.log();
    let is_log_line = |line: &&String| line.starts_with("[20") && line.contains(" INFO ] ");
    assert!(log.iter().all(|line| is_log_line(&line)), "{log:#?}");
    let last = log.last().unwrap();
    let parts = ["the peer closed the connection (round trip ", " ms, loss 0.0 %, jitter "];
    assert!(parts.iter().all(|part| last.contains(part)), "{last}");
}

#[test]
fn a_viewer_that_sends_close_notify_is_removed_at_once() {
    let server = Server::start(&[]);
    let mut viewers = [SocketViewer::join(&server)];
    run_until(&mut viewers, |w| w[0].client.frames.len() >= 5);
    assert_eq!(server.stats()["viewers"][0]["state"], "live");
    let [viewer] = &mut viewers;
    viewer.client.close(Instant::now());
    viewer.send();
    let left = Instant::now();
    server
        .wait_for("the viewer is removed", |stats| stats["viewers"].as_array().unwrap().is_empty());
    // The tests in virtual time check the limit of 100 ms. This one runs in parallel with others.
    assert!(left.elapsed() < Duration::from_secs(2), "{:?}", left.elapsed());
}

#[test]
fn a_signal_sends_close_notify_to_the_viewers_and_ends_the_process_at_once() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut server = Server::start(&[]);
        let mut viewers = [SocketViewer::join(&server)];
        run_until(&mut viewers, |w| w[0].client.frames.len() >= 5);
        let sent = Instant::now();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        // The limit is 300 ms. The rest allows for other tests that run at the same time.
        assert!(sent.elapsed() < Duration::from_millis(1_500), "{:?}", sent.elapsed());
        run_until(&mut viewers, |w| w[0].client.closed);
        let log = server.log().join("\n");
        assert!(log.contains("the server shut down"), "{log}");
    }
}

#[test]
fn a_hangup_that_was_ignored_from_the_start_ends_nothing() {
    let mut command = Command::new("sh");
    // As nohup(1) does.
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(binary());
    let mut server = Server::start_command(command, "127.0.0.1", 0, &[]);
    server.signal(Signal::HUP);
    let mut viewers = [SocketViewer::join(&server)];
    run_until(&mut viewers, |w| w[0].client.frames.len() >= 5);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn without_viewers_the_process_never_wakes_up() {
    let server = Server::start(&[]);
    let mut viewers = [SocketViewer::join(&server)];
    run_until(&mut viewers, |w| w[0].client.frames.len() >= 5);
    viewers[0].client.close(Instant::now());
    viewers[0].send();
    server
        .wait_for("the viewer is removed", |stats| stats["viewers"].as_array().unwrap().is_empty());
    // The connection of the last request still lingers. Wait until its limit has passed.
    std::thread::sleep(Duration::from_secs(3));
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
        line.unwrap().split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(switches(), before, "the process did not wake up");
}
