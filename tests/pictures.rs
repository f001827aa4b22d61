//! Pictures over real TCP: decoded files, shared encodes, and readers of streams.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ballcast::pipe::{Item, Parser};
use support::process::{Server, request};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

const READ_LIMIT: Duration = Duration::from_secs(10);
const BOUNDARY: &[u8] = b"--ballcast-picture\r\n";

/// The size of a picture, and the centre of what is green in it.
fn ball_in(file: &[u8]) -> ((usize, usize), (usize, usize)) {
    let mut decoder = JpegDecoder::new(ZCursor::new(file));
    let pixels = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    let green = pixels.chunks_exact(3).enumerate().filter(|(_, rgb)| rgb[1] > 200 && rgb[0] < 60);
    let (mut count, mut x, mut y) = (0, 0, 0);
    for (index, _) in green {
        count += 1;
        x += index % width;
        y += index / width;
    }
    assert!(count > 0, "there is a ball");
    ((width, height), (x / count, y / count))
}

fn connect(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(READ_LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    stream
}

/// The JPEG files of the next complete parts of a stream.
fn read_parts(stream: &mut TcpStream, count: usize) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 65_536];
    loop {
        let starts: Vec<usize> =
            (0..bytes.len()).filter(|at| bytes[*at..].starts_with(BOUNDARY)).collect();
        if starts.len() > count {
            let part = |pair: &[usize]| {
                let part: &[u8] = &bytes[pair[0] + BOUNDARY.len()..pair[1]];
                let head = part.windows(4).position(|word| word == b"\r\n\r\n").unwrap() + 4;
                let text = String::from_utf8(part[..head].to_vec()).unwrap();
                assert!(text.contains("Content-Type: image/jpeg\r\n"), "{text}");
                let length = part.len() - head - 2;
                assert!(text.contains(&format!("Content-Length: {length}\r\n")), "{text}");
                part[head..][..length].to_vec()
            };
            return starts.windows(2).map(part).collect();
        }
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the stream has ended");
        bytes.extend_from_slice(&piece[..read]);
    }
}

#[test]
fn a_snapshot_shows_the_ball_where_it_is() {
    let server = Server::start(&[]);
    // The ball starts at (100, 100) and has moved by (2, 1.5).
    let whole = request(server.address, "GET", "/snapshot.jpg", &[], b"");
    assert_eq!(whole.status, 200);
    let (size, (x, y)) = ball_in(&whole.body);
    assert_eq!(size, (640, 480));
    assert!(x.abs_diff(102) <= 1 && y.abs_diff(101) <= 1, "({x}, {y})");
    std::thread::sleep(Duration::from_millis(100));
    let half = request(server.address, "GET", "/snapshot.jpg?width=320", &[], b"");
    let (size, (x, y)) = ball_in(&half.body);
    assert_eq!(size, (320, 240));
    assert!(x.abs_diff(52) <= 1 && y.abs_diff(51) <= 1, "({x}, {y})");
    let wide = request(server.address, "GET", "/snapshot.jpg?width=642", &[], b"");
    assert_eq!(wide.json()["reason"], "snapshot-width");
    assert!(wide.json()["detail"].as_str().unwrap().contains("640"));
}

#[test]
fn a_camera_that_sends_jpeg_gives_its_own_files() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("snapshot.mjpeg");
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=320x240:r=10",
            "-frames:v",
            "5",
        ])
        .args(["-c:v", "mjpeg", "-pix_fmt", "yuvj422p", "-f", "mjpeg"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    let mut parser = Parser::new();
    parser.push(&std::fs::read(&path).unwrap()).unwrap();
    let files: Vec<Vec<u8>> = std::iter::from_fn(|| parser.poll())
        .map(|item| match item {
            Item::Jpeg(jpeg) => jpeg.data,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(files.len(), 5);
    let server = Server::start(&[path.to_str().unwrap()]);
    server.wait_for("it is played", |stats| stats["source"]["state"] == "running");
    let whole = request(server.address, "GET", "/snapshot.jpg", &[], b"");
    assert_eq!(whole.status, 200);
    assert!(files.contains(&whole.body), "{} bytes", whole.body.len());
    std::thread::sleep(Duration::from_millis(200));
    let half = request(server.address, "GET", "/snapshot.jpg?width=160", &[], b"");
    let half = ballcast::source::jpeg::decode(&half.body).unwrap();
    assert_eq!((half.size().width, half.size().height), (160, 120));
}

/// What ffmpeg writes: ten pictures of one colour.
fn one_colour([r, g, b]: [u8; 3], output: &str) -> Vec<u8> {
    let input = format!("color=0x{r:02x}{g:02x}{b:02x}:s=320x240:r=10,format=rgb24");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &input, "-frames:v", "10"])
        .args(output.split(' '))
        .args(["-f", "rawvideo", "-"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{output}");
    made.stdout
}

/// The colour in the middle of a file.
fn colour_in(file: &[u8]) -> [u8; 3] {
    let mut decoder = JpegDecoder::new(ZCursor::new(file));
    let pixels = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    let middle = 3 * (height / 2 * width + width / 2);
    [pixels[middle], pixels[middle + 1], pixels[middle + 2]]
}

#[test]
fn a_colour_is_the_same_whatever_format_the_source_has() {
    let colour = [0x20, 0x60, 0xc0];
    let frames = |format: &str| one_colour(colour, format);
    let full_range = frames("-vf scale=out_range=full -pix_fmt yuv420p");
    let full_range =
        full_range.chunks(320 * 240 * 3 / 2).flat_map(|picture| [&b"FRAME\n"[..], picture]);
    let header = b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL\n";
    let full_range = [&header[..]].into_iter().chain(full_range).collect::<Vec<_>>().concat();
    let grey = one_colour([0x60; 3], "-pix_fmt gray");
    let bt709 = "-vf scale=out_color_matrix=bt709 -pix_fmt";
    for (raw, stream, expected) in [
        ("", full_range, colour),
        ("320x240@10", frames("-pix_fmt yuv420p"), colour),
        ("320x240@10,bt709", frames(&format!("{bt709} yuv420p")), colour),
        ("320x240@10:nv12", frames("-pix_fmt nv12"), colour),
        ("320x240@10:nv12,bt709", frames(&format!("{bt709} nv12")), colour),
        ("320x240@10:bgr24", frames("-pix_fmt bgr24"), colour),
        ("320x240@10:rgb24", frames("-pix_fmt rgb24"), colour),
        ("320x240@10:gray8", grey, [0x60; 3]),
    ] {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("one-colour");
        std::fs::write(&path, stream).unwrap();
        let path = path.to_str().unwrap();
        let flags = [path, "--raw", raw];
        let server = Server::start(if raw.is_empty() { &flags[..1] } else { &flags });
        server.wait_for("it is played", |stats| stats["source"]["state"] == "running");
        let file = request(server.address, "GET", "/snapshot.jpg", &[], b"");
        let shown = colour_in(&file.body);
        let is_near = shown.iter().zip(expected).all(|(is, should)| is.abs_diff(should) <= 4);
        assert!(is_near, "{raw}: {shown:?} for {expected:?}");
    }
}

#[test]
fn many_who_ask_at_once_cost_one_encode() {
    // One frame a second: whatever the machine does meanwhile, all ask for one picture.
    let server = Server::start(&["--fps", "1"]);
    let mut streams: Vec<TcpStream> =
        (0..20).map(|_| connect(server.address, "/snapshot.jpg")).collect();
    let mut files = streams.iter_mut().map(|stream| {
        let mut answer = Vec::new();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|word| word == b"\r\n\r\n").unwrap() + 4;
        answer.split_off(head)
    });
    let first = files.next().unwrap();
    assert!(files.all(|file| file == first), "all have the same picture");
    let stats = server.stats();
    assert_eq!((&stats["jpegs_made"], &stats["snapshots_sent"]), (&1.into(), &20.into()));
}

#[test]
fn a_stream_moves_and_a_slow_reader_costs_the_other_nothing() {
    // Pictures that are large enough to fill the buffers of a reader that does not read.
    let server = Server::start(&["--size", "1280x720"]);
    let slow = connect(server.address, "/stream.mjpg");
    let mut fast = connect(server.address, "/stream.mjpg");
    let begun = Instant::now();
    let parts = read_parts(&mut fast, 10);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let places: std::collections::BTreeSet<_> = parts.iter().map(|part| ball_in(part).1).collect();
    assert!(places.len() >= 8, "the ball moves: {places:?}");
    let stats = server.stats();
    assert_eq!(stats["mjpeg_clients"], 2);
    assert!(stats["jpegs_made"].as_u64() < stats["mjpeg_parts_sent"].as_u64(), "{stats}");
    drop((slow, fast));
    server.wait_for("both are gone", |stats| stats["mjpeg_clients"] == 0);
    let encoded = server.stats()["jpegs_made"].clone();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.stats()["jpegs_made"], encoded, "the source sleeps");
}
