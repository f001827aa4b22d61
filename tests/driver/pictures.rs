//! Pictures over real TCP: decoded files, shared encodes, and readers of streams.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::chromium::Chromium;
use crate::support::process::{Server, binary, request};
use crate::support::scripts::LIVE;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

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

/// A path in a folder for temporary files.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pictures-{}-{name}", std::process::id()))
}

/// Ten JPEGs of ffmpeg in this size, as a camera sends them.
fn jpegs(size: &str, pixel_format: &str) -> Vec<Vec<u8>> {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &format!("testsrc2=r=10,scale={size}")])
        .args(["-frames:v", "10", "-c:v", "mjpeg", "-pix_fmt", pixel_format, "-f", "mjpeg", "-"])
        .output()
        .unwrap();
    assert!(made.status.success());
    // ffmpeg puts no thumbnails into them.
    let starts: Vec<usize> =
        (0..made.stdout.len()).filter(|at| made.stdout[*at..].starts_with(&[0xff, 0xd8])).collect();
    let ends = starts.iter().skip(1).copied().chain([made.stdout.len()]);
    let files: Vec<Vec<u8>> =
        starts.iter().zip(ends).map(|(start, end)| made.stdout[*start..end].to_vec()).collect();
    assert_eq!(files.len(), 10);
    files
}

/// A server that plays a file of this stream.
fn playing(stream: &[u8], name: &str) -> Server {
    let path = path(name);
    std::fs::write(&path, stream).unwrap();
    Server::start(&[path.to_str().unwrap()])
}

#[test]
fn a_camera_that_sends_jpeg_gives_its_own_files() {
    let files = jpegs("320x240", "yuvj422p");
    let server = playing(&files.concat(), "camera.mjpeg");
    server.wait_for("it is played", |stats| stats["source"]["state"] == "running");
    let whole = request(server.address, "GET", "/snapshot.jpg", &[], b"");
    assert_eq!(whole.status, 200);
    assert!(files.contains(&whole.body), "{} bytes", whole.body.len());
    std::thread::sleep(Duration::from_millis(200));
    let half = request(server.address, "GET", "/snapshot.jpg?width=160", &[], b"");
    let half = ballcast::testing::driver::encode::jpeg::decode(&half.body).unwrap();
    assert_eq!((half.size().width, half.size().height), (160, 120));
}

/// What ffmpeg writes: ten pictures of one colour.
fn one_colour([r, g, b]: [u8; 3], output: &str) -> Vec<u8> {
    let input = format!("color=0x{r:02x}{g:02x}{b:02x}:s=320x240:r=10,format=rgb24");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &input, "-frames:v", "10"])
        .args(output.split(' '))
        .arg("-")
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
    let frames = |output: &str| one_colour(colour, &format!("{output} -f rawvideo"));
    let full_range = frames("-vf scale=out_range=full -pix_fmt yuv420p");
    let full_range =
        full_range.chunks(320 * 240 * 3 / 2).flat_map(|picture| [&b"FRAME\n"[..], picture]);
    let header = b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL\n";
    let full_range = [&header[..]].into_iter().chain(full_range).collect::<Vec<_>>().concat();
    let grey = one_colour([0x60; 3], "-pix_fmt gray -f rawvideo");
    let bt709 = "-vf scale=out_color_matrix=bt709 -pix_fmt";
    for (raw, stream, expected) in [
        ("", full_range, colour),
        ("320x240@10", frames("-pix_fmt yuv420p"), colour),
        ("320x240@10,bt709", frames(&format!("{bt709} yuv420p")), colour),
        ("320x240@10:nv12", frames("-pix_fmt nv12"), colour),
        ("320x240@10:nv12,bt709", frames(&format!("{bt709} nv12")), colour),
        ("320x240@10:yuyv", frames("-pix_fmt yuyv422"), colour),
        ("320x240@10:yuyv,bt709", frames(&format!("{bt709} yuyv422")), colour),
        ("320x240@10:bgr24", frames("-pix_fmt bgr24"), colour),
        ("320x240@10:rgb24", frames("-pix_fmt rgb24"), colour),
        ("320x240@10:gray8", grey, [0x60; 3]),
    ] {
        let path = path("one-colour");
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

/// The luma of a file, and its width.
fn luma_of(file: &[u8]) -> (Vec<u8>, usize) {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::Luma);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    let samples = decoder.decode().unwrap();
    (samples, decoder.dimensions().unwrap().0)
}

/// The pixels of hours and minutes in the clock: the text begins after 2 pixels, and its characters are 6 wide.
fn clock_in(file: &[u8]) -> Vec<bool> {
    let (luma, width) = luma_of(file);
    let bar = luma.chunks(width).take(14).flat_map(|row| row[2 + 11 * 6..][..5 * 6].iter());
    bar.map(|sample| *sample > 128).collect()
}

#[test]
fn the_clock_is_in_what_is_encoded_here_and_the_log_says_where_it_is_not() {
    let grey = [0x60; 3];
    let start = |zone: &str, flags: &[&str]| {
        let mut command = Command::new(binary());
        command.env("TZ", zone);
        Server::start_command(command, "127.0.0.1", 0, flags)
    };
    let path = path("clock.mjpeg");
    std::fs::write(&path, one_colour(grey, "-c:v mjpeg -f mjpeg")).unwrap();
    let flags = [path.to_str().unwrap(), "--clock"];
    let servers = ["UTC0", "UTC0", "XXX-5:30"].map(|zone| start(zone, &flags));
    let clock = |server: &Server| {
        server.wait_for("it is played", |stats| stats["source"]["state"] == "running");
        let file = request(server.address, "GET", "/snapshot.jpg", &[], b"").body;
        let (luma, width) = luma_of(&file);
        assert!(luma[20 * width..].iter().all(|sample| sample.abs_diff(0x60) < 8), "only a bar");
        clock_in(&file)
    };
    // The minute may pass between two snapshots.
    let is_same = (0..3).any(|_| clock(&servers[0]) == clock(&servers[1]));
    assert!(is_same, "two servers in one zone show the same time");
    assert_ne!(clock(&servers[0]), clock(&servers[2]), "another zone has another time");
    assert!(clock(&servers[0]).contains(&true), "there is text");

    let h264 = path.with_extension("h264");
    let x264 = "-pix_fmt yuv420p -c:v libx264 -tune zerolatency -profile:v baseline -f h264";
    std::fs::write(&h264, one_colour(grey, x264)).unwrap();
    let server = start("UTC0", &[h264.to_str().unwrap(), "--clock"]);
    server.wait_for_log("--clock is not in the video");
}

/// The colour in the middle of the video.
const COLOUR_OF_VIDEO: &str = "(() => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [64, 64];
    const context = canvas.getContext('2d');
    context.drawImage(document.querySelector('video'), 0, 0, 64, 64);
    return Array.from(context.getImageData(32, 32, 1, 1).data.slice(0, 3));
})()";

#[test]
fn chromium_shows_the_colours_of_raw_pictures_in_every_size() {
    let mut chromium = Chromium::start();
    let colour = [0x20, 0x60, 0xc0];
    for (raw, output) in [
        ("640x480@10:bgr24", "-vf scale=640:480 -pix_fmt bgr24"),
        ("1280x720@10:bgr24", "-vf scale=1280:720 -pix_fmt bgr24"),
        ("1280x720@10,bt709", "-vf scale=1280:720:out_color_matrix=bt709 -pix_fmt yuv420p"),
    ] {
        let path = path("colour.raw");
        std::fs::write(&path, one_colour(colour, &format!("{output} -f rawvideo"))).unwrap();
        let server = Server::start(&[path.to_str().unwrap(), "--raw", raw]);
        server.wait_for("it is played", |stats| stats["source"]["state"] == "running");
        let tab = chromium.open_window(&server.url());
        chromium.wait_for(&tab, LIVE);
        let shown: Vec<u8> =
            serde_json::from_value(chromium.evaluate(&tab, COLOUR_OF_VIDEO)).unwrap();
        let is_near = shown.iter().zip(colour).all(|(is, should)| is.abs_diff(should) <= 8);
        assert!(is_near, "{raw}: {shown:?} for {colour:?}");
        chromium.close(&tab);
    }
}

#[test]
fn a_stream_of_h264_has_snapshots_in_its_colours() {
    let colour = [0x20, 0x60, 0xc0];
    let x264 = "-pix_fmt yuv420p -c:v libx264 -tune zerolatency -f h264";
    for output in [
        format!("{x264} -profile:v baseline"),
        format!("-vf scale=out_color_matrix=bt709 -colorspace bt709 -profile:v high {x264}"),
        format!("-vf scale=out_range=full -color_range pc -profile:v main {x264}"),
    ] {
        let server = playing(&one_colour(colour, &output), "colour.h264");
        server.wait_for("it is played", |stats| stats["source"]["state"] == "running");
        for (query, width) in [("", 320), ("?width=160", 160)] {
            let path = format!("/snapshot.jpg{query}");
            let answer = request(server.address, "GET", &path, &[], b"");
            assert_eq!(answer.status, 200, "{output}");
            let picture = ballcast::testing::driver::encode::jpeg::decode(&answer.body).unwrap();
            assert_eq!(picture.size().width, width);
            let shown = colour_in(&answer.body);
            let is_near = shown.iter().zip(colour).all(|(is, should)| is.abs_diff(should) <= 6);
            assert!(is_near, "{output}: {shown:?} for {colour:?}");
        }
        let stream = request(server.address, "GET", "/stream.mjpg", &[], b"");
        assert_eq!(stream.json()["reason"], "no-pictures");
    }
}

#[test]
fn a_key_frame_is_decoded_for_snapshots_once_a_second_at_most() {
    // Each picture is a key frame.
    let x264 = "-pix_fmt yuv420p -c:v libx264 -tune zerolatency -g 1 -f h264";
    let server = playing(&one_colour([0x20, 0x60, 0xc0], x264), "intra.h264");
    server.wait_for("it is played", |stats| stats["source"]["state"] == "running");
    let begun = Instant::now();
    for _ in 0..15 {
        let answer = request(server.address, "GET", "/snapshot.jpg", &[], b"");
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        std::thread::sleep(Duration::from_millis(100));
    }
    let made = server.stats()["jpegs_made"].as_u64().unwrap();
    assert!((1..=begun.elapsed().as_secs() + 2).contains(&made), "{made} files");
}

#[test]
fn pictures_that_are_damaged_inside_are_left_out_and_counted() {
    let mut files = jpegs("320x240", "yuvj422p");
    let good = files.clone();
    let middle = files[0].len() / 2;
    for (file, damage) in files.iter_mut().skip(3).step_by(5).zip([&[0; 64][..], &[0x5a; 64]]) {
        file.splice(middle..middle + 150, damage.iter().copied());
    }
    let server = playing(&files.concat(), "damaged.mjpeg");
    let mut watched = connect(server.address, "/stream.mjpg");
    let parts = read_parts(&mut watched, 25);
    let foreign = parts.iter().filter(|part| !good.contains(part)).count();
    assert_eq!(foreign, 0, "of {}", parts.len());
    let stats = server.stats();
    assert!(stats["source"]["frames_damaged"].as_u64() >= Some(1), "{stats}");
    assert_eq!(stats["source"]["state"], "running");
}

#[test]
fn pictures_without_their_end_are_shown_whole() {
    let files = jpegs("320x240", "yuvj422p");
    let stream: Vec<u8> = files.iter().flat_map(|file| &file[..file.len() - 2]).copied().collect();
    let server = playing(&stream, "no-end.mjpeg");
    server.wait_for("it is played", |stats| stats["source"]["state"] == "running");
    let shown = request(server.address, "GET", "/snapshot.jpg", &[], b"");
    assert!(files.contains(&shown.body), "{} bytes", shown.body.len());
    assert_eq!(server.stats()["source"]["frames_damaged"], 0);
}

#[test]
fn a_picture_of_an_odd_size_is_shown_without_its_last_row_and_column() {
    let server = playing(&jpegs("321x241", "yuvj444p").concat(), "odd.mjpeg");
    server.wait_for("it is played", |stats| stats["source"]["state"] == "running");
    assert_eq!(server.stats()["source"]["size"], "320x240");
    let half = request(server.address, "GET", "/snapshot.jpg?width=160", &[], b"");
    let half = ballcast::testing::driver::encode::jpeg::decode(&half.body).unwrap();
    assert_eq!((half.size().width, half.size().height), (160, 120));
}

#[test]
fn what_is_not_decoded_or_encoded_is_named() {
    let file = &jpegs("320x240", "yuvj420p")[0];
    let sof = file.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut file = file.clone();
        file[sof + at] = byte;
        file.repeat(3)
    };
    let small = [b"YUV4MPEG2 W8 H8 F25:1\n", &[b"FRAME\n", &[0; 96][..]].concat()[..]].concat();
    for (name, stream, words) in [
        ("arithmetic.mjpeg", changed(1, 0xc9), "arithmetic coding"),
        ("lossless.mjpeg", changed(1, 0xc3), "lossless coding"),
        ("12-bit.mjpeg", changed(4, 12), "12 bits a sample"),
        ("sampling.mjpeg", changed(11, 0x31), "a third of the width"),
        ("small.y4m", small, "8x8, but the smallest supported size is 16x16"),
    ] {
        let server = playing(&stream, name);
        server.wait_for("it is refused", |stats| stats["source"]["state"] == "failed");
        let stats = server.stats();
        let sentence = stats["source"].to_string();
        assert!(sentence.contains(words), "{name}: {sentence}");
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

/// As all programs on ffmpeg do: OpenCV, mpv, Home Assistant.
#[test]
fn ffmpeg_reads_pictures_with_the_token_as_password_of_the_address() {
    let server = Server::start(&["--token", "open-sesame"]);
    let reads = |password: &str, path: &str| {
        let url = format!("http://user:{password}@{}{path}", server.address);
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-i", &url, "-frames:v", "1", "-f", "null", "-"])
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for path in ["/stream.mjpg", "/snapshot.jpg", "/?action=stream", "/?action=snapshot"] {
        let (success, errors) = reads("open-sesame", path);
        assert!(success, "{path}: {errors}");
    }
    let (success, errors) = reads("some-other", "/stream.mjpg");
    assert!(!success && errors.contains("401"), "{errors}");
}
