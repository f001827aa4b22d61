//! Pictures from outside, with real ffmpeg, real sockets and real Chromium: streams of each format come
//! through a pipe, a named pipe, a file and a supervised command, and Chromium follows their marks from
//! picture to picture.

use std::fs::{read_to_string, remove_file};
use std::io::{PipeReader, Read, Write, pipe};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::support::chromium::{Chromium, Tab};
use crate::support::jpegs;
use crate::support::marker::{
    CYCLE, Mark, follow, follow_all, input, record, recorded, steps, unhurried,
};
use crate::support::process::{Server, WAIT_LIMIT, binary};
use crate::support::processes::descendants;
use crate::support::scripts::LIVE;
use crate::support::socket_viewer::{SocketViewer, run_until};
use ballcast::testing::source::parse::{ParsedItem, Parser};
use jpeg_encoder::{ColorType, Encoder};
use serde_json::Value;

const SIZE: &str = "320x240";
/// So many streams play at the same time.
const AT_ONCE: usize = 4;
/// The pictures of a file.
const CLIP_FRAMES: i64 = 60;
/// From one key frame to the next.
const GROUP_FRAMES: usize = 30;
/// In two seconds there are so many pictures.
const TWO_SECONDS: i64 = 60;

const BASELINE: &str = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency \
                        -profile:v baseline -g 30 -flush_packets 1 -f h264 -";
const MAIN: &str = "-pix_fmt yuv420p -c:v libx264 -preset veryfast -bf 0 -tune zerolatency \
                    -profile:v main -g 60 -f h264 -";
const HIGH: &str = "-pix_fmt yuv420p -c:v libx264 -preset medium -bf 0 -tune zerolatency \
                    -profile:v high -g 30 -f h264 -";
const SLICES: &str = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency \
                      -x264-params sliced-threads=1:slices=4 -g 30 -f h264 -";
const Y4M: &str = "-pix_fmt yuv420p -f yuv4mpegpipe -";
const MJPEG_422: &str = "-c:v mjpeg -q:v 3 -pix_fmt yuvj422p -huffman default -f mjpeg -";
const MJPEG_444: &str = "-c:v mjpeg -q:v 3 -pix_fmt yuvj444p -f mjpeg -";
const RAW: &str = "-pix_fmt yuv420p -f rawvideo -";

fn ffmpeg(output: &str) -> String {
    format!("exec ffmpeg -v error {} {output}", input(SIZE))
}

fn exec(output: &str) -> Server {
    Server::start(&["--exec", &ffmpeg(output)])
}

/// A command of the shell that writes to a pipe.
struct Writer(Child);

impl Writer {
    fn start(command: &str, stdout: impl Into<Stdio>) -> Writer {
        let mut shell = Command::new("sh");
        Writer(shell.args(["-c", command]).stdin(Stdio::null()).stdout(stdout).spawn().unwrap())
    }

    /// A writer each piece of whose output is changed, and the changed output.
    fn changed(
        command: &str,
        mut change: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> (Writer, PipeReader) {
        let (reader, mut ours) = pipe().unwrap();
        let mut writer = Writer::start(command, Stdio::piped());
        let mut output = writer.0.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut piece = vec![0; 65_536];
            while let Ok(bytes @ 1..) = output.read(&mut piece) {
                if ours.write_all(&change(&piece[..bytes])).is_err() {
                    return;
                }
            }
        });
        (writer, reader)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server and what writes to it.
type Playing = (Server, Option<Writer>);

fn read_stdin(stdin: impl Into<Stdio>, flags: &[&str]) -> Server {
    let mut ballcast = Command::new(binary());
    ballcast.stdin(stdin);
    Server::start_command(ballcast, "127.0.0.1", 0, &[&["-"], flags].concat())
}

/// What a command of the shell writes, on the standard input of a server.
fn pipe_in(command: &str, flags: &[&str]) -> Playing {
    let mut writer = Writer::start(command, Stdio::piped());
    (read_stdin(writer.0.stdout.take().unwrap(), flags), Some(writer))
}

/// The same, with each piece of it changed.
fn pipe_in_changed(
    command: &str,
    change: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
) -> Playing {
    let (writer, reader) = Writer::changed(command, change);
    (read_stdin(reader, &[]), Some(writer))
}

/// Grey JPEGs, which ffmpeg does not make.
fn grey_mjpeg() -> Playing {
    let mut kept = Vec::new();
    pipe_in_changed(&ffmpeg("-pix_fmt gray -f rawvideo -"), move |bytes| {
        kept.extend_from_slice(bytes);
        let whole = kept.len() / (320 * 240) * (320 * 240);
        let mut jpegs = Vec::new();
        for picture in kept.drain(..whole).as_slice().chunks(320 * 240) {
            Encoder::new(&mut jpegs, 90).encode(picture, 320, 240, ColorType::Luma).unwrap();
        }
        jpegs
    })
}

/// MJPEG as many USB cameras send it: without Huffman tables, which are the standard ones.
fn mjpeg_without_tables() -> Playing {
    const TABLES: [u8; 4] = [0xff, 0xc4, 0x01, 0xa2];
    let mut kept = Vec::new();
    pipe_in_changed(&ffmpeg(MJPEG_422), move |bytes| {
        kept.extend_from_slice(bytes);
        let mut bare = Vec::new();
        while let Some(tables) = memchr::memmem::find(&kept, &TABLES)
            && kept.len() >= tables + 420
        {
            bare.extend(kept.drain(..tables + 420).take(tables));
        }
        bare
    })
}

/// A path in a folder for temporary files.
fn path(name: &str) -> PathBuf {
    let name = format!("pipes-{}-{name}", std::process::id());
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A file of two seconds.
fn clip(output: &str, name: &str) -> Playing {
    let path = path(name);
    let output = output.strip_suffix('-').unwrap();
    let path = path.to_str().unwrap();
    let input = unhurried(SIZE);
    let command = format!("ffmpeg -v error {input} -frames:v {CLIP_FRAMES} {output} {path}");
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    (Server::start(&[path]), None)
}

fn watch_frames(server: &Server, frames: usize) {
    let mut viewers = [SocketViewer::join(server)];
    run_until(&mut viewers, |viewers| viewers[0].client.frames.len() >= frames);
}

/// A page that shows the stream.
fn open_live(server: &Server, chromium: &mut Chromium) -> Tab {
    let tab = chromium.open_window(&server.url());
    chromium.wait_for(&tab, LIVE);
    server.wait_for("the stream runs", |stats| stats["source"]["state"] == "running");
    chromium.wait_for(&tab, "document.querySelector('video')?.videoWidth === 320");
    tab
}

fn follow_tabs(chromium: &mut Chromium, tabs: &[Tab], cycle: i64) {
    let evaluate = |index: usize, script: &str| chromium.evaluate(&tabs[index], script);
    follow_all(evaluate, &vec![cycle; tabs.len()]);
}

#[test]
fn a_stream_on_standard_input_reaches_a_viewer() {
    for (output, flags) in
        [(BASELINE, &[][..]), (Y4M, &[]), (MJPEG_422, &[]), (RAW, &["--raw", "320x240@30"])]
    {
        let (server, _writer) = pipe_in(&ffmpeg(output), flags);
        watch_frames(&server, 40);
        let source = &server.stats()["source"];
        println!("{source}");
        assert_eq!((&source["state"], &source["size"]), (&"running".into(), &SIZE.into()));
    }
}

#[test]
fn chromium_plays_each_format_with_every_picture_in_order() {
    type Case = (&'static str, fn() -> Playing);
    let cases: [Case; 10] = [
        ("baseline", || (exec(BASELINE), None)),
        ("main", || (exec(MAIN), None)),
        ("high", || (exec(HIGH), None)),
        ("four slices a picture", || (exec(SLICES), None)),
        ("yuv4mpeg2", || (exec(Y4M), None)),
        ("MJPEG 4:2:2", || (exec(MJPEG_422), None)),
        ("MJPEG 4:4:4", || (exec(MJPEG_444), None)),
        ("grey MJPEG", grey_mjpeg),
        ("MJPEG without tables", mjpeg_without_tables),
        ("raw", || pipe_in(&ffmpeg(RAW), &["--raw", "320x240@30"])),
    ];
    let mut chromium = Chromium::start();
    for cases in cases.chunks(AT_ONCE) {
        let names: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
        println!("{names:?}");
        let playing: Vec<Playing> = cases.iter().map(|(_, start)| start()).collect();
        let open = |(server, _): &Playing| open_live(server, &mut chromium);
        let tabs: Vec<Tab> = playing.iter().map(open).collect();
        follow_tabs(&mut chromium, &tabs, CYCLE);
        for ((server, _), (name, _)) in playing.iter().zip(cases) {
            let stats = server.stats();
            assert_eq!(stats["source"]["frames_damaged"], 0, "{name}: {stats}");
            assert_eq!(stats["source"]["restarts"], 0, "{name}: {stats}");
        }
        tabs.iter().for_each(|tab| chromium.close(tab));
    }
}

#[test]
fn a_file_begins_again_in_order() {
    let files = [(HIGH, "clip.h264"), (Y4M, "clip.y4m"), (MJPEG_422, "clip.mjpeg")];
    let playing = files.map(|(output, name)| clip(output, name));
    let mut chromium = Chromium::start();
    let tabs = playing.each_ref().map(|(server, _)| open_live(server, &mut chromium));
    tabs.iter().for_each(|tab| record(&mut |script| chromium.evaluate(tab, script)));
    for tab in &tabs {
        let marks =
            recorded(&mut |script| chromium.evaluate(tab, script), CLIP_FRAMES as usize + 30);
        let steps = steps(&marks, CLIP_FRAMES);
        assert!(steps.iter().sum::<i64>() > CLIP_FRAMES, "{steps:?}");
    }
    follow_tabs(&mut chromium, &tabs, CLIP_FRAMES);
    files.iter().for_each(|(_, name)| remove_file(path(name)).unwrap());
}

#[test]
fn a_writer_that_is_killed_and_one_that_hangs_come_back_to_the_same_viewer() {
    let server = exec(BASELINE);
    let mut chromium = Chromium::start();
    let tab = open_live(&server, &mut chromium);
    for signal in ["KILL", "STOP"] {
        let restarts = server.stats()["source"]["restarts"].as_u64().unwrap();
        let processes = descendants(server.pid());
        let ffmpeg = processes.iter().find(|process| {
            read_to_string(format!("/proc/{}/comm", process.pid))
                .is_ok_and(|name| name == "ffmpeg\n")
        });
        let ffmpeg =
            ffmpeg.unwrap_or_else(|| panic!("no ffmpeg among {processes:?}")).pid.to_string();
        let killed = Command::new("kill").args(["-s", signal, &ffmpeg]).status().unwrap();
        assert!(killed.success());
        let asked = Instant::now();
        server.wait_for("it is noticed", |stats| stats["source"]["state"] != "running");
        server.wait_for("it is started again", |stats| {
            stats["source"]["restarts"].as_u64() > Some(restarts)
                && stats["source"]["state"] == "running"
        });
        println!("{signal}: running after {:?}", asked.elapsed());
        follow(|script| chromium.evaluate(&tab, script));
    }
    assert_eq!(server.stats()["viewers_served"], 1, "the same connection");
}

#[test]
fn writers_of_a_named_pipe_are_killed_and_the_next_one_is_shown_at_once() {
    let path = path("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let server = Server::start(&[path.to_str().unwrap()]);
    let mut chromium = Chromium::start();
    let write = |output: &str| {
        let command = format!("{} >{}", ffmpeg(output), path.display());
        Writer::start(&command, Stdio::null())
    };
    let mut writer = write(BASELINE);
    let tab = open_live(&server, &mut chromium);
    // One after the other, at once or after a while, also in another format.
    for (output, waits) in [(BASELINE, false), (Y4M, true), (MAIN, false), (MJPEG_422, false)] {
        follow(|script| chromium.evaluate(&tab, script));
        record(&mut |script| chromium.evaluate(&tab, script));
        chromium.wait_for(&tab, "window.marks.length > 0");
        drop(writer);
        if waits {
            server.wait_for("it is gone", |stats| stats["source"]["state"] == "silent");
        }
        writer = write(output);
        let first = first_of_next(&mut chromium, &tab);
        println!("{output}: picture {first} is the first");
        // The number of a picture is its age in thirtieths of a second.
        assert!(first < TWO_SECONDS, "picture {first}");
    }
    follow(|script| chromium.evaluate(&tab, script));
    assert_eq!(server.stats()["viewers_served"], 1, "the same connection");
    remove_file(path).unwrap();
}

/// The first number that a page shows of a stream that follows another, since it records.
fn first_of_next(chromium: &mut Chromium, tab: &Tab) -> i64 {
    let end = Instant::now() + WAIT_LIMIT;
    loop {
        let marks = recorded(&mut |script| chromium.evaluate(tab, script), 2);
        let whole: Vec<&Mark> = marks.iter().filter(|mark| mark.is_whole()).collect();
        if let Some(pair) = whole.windows(2).find(|pair| pair[1].number < pair[0].number) {
            return pair[1].number;
        }
        assert!(Instant::now() < end, "{marks:?}");
    }
}

#[test]
fn the_size_of_a_stream_changes_on_the_same_connection() {
    let two_sizes = |output: &str| {
        let [small, large] = [input(SIZE), input("480x360")];
        pipe_in(
            &format!(
                "ffmpeg -v error {small} -t 8 {output}; exec ffmpeg -v error {large} {output}"
            ),
            &[],
        )
    };
    let mut chromium = Chromium::start();
    let playing = [BASELINE, Y4M, MJPEG_422].map(two_sizes);
    let open = |(server, _): &Playing| open_live(server, &mut chromium);
    let tabs = playing.each_ref().map(open);
    tabs.iter().for_each(|tab| record(&mut |script| chromium.evaluate(tab, script)));
    for ((server, _), tab) in playing.iter().zip(&tabs) {
        chromium.wait_for(tab, "window.marks.filter(([, , width]) => width === 480).length >= 45");
        let marks = recorded(&mut |script| chromium.evaluate(tab, script), 1);
        let change = marks.iter().position(|mark| mark.width == 480).unwrap();
        let (small, large) = marks.split_at(change);
        assert!(small.iter().all(|mark| mark.width == 320));
        assert!(large.iter().all(|mark| mark.width == 480));
        println!("{:?}, then {:?}", small.last(), large[0]);
        // What waits in a queue of the decoder may be let go.
        assert!(small.last().unwrap().number > TWO_SECONDS && large[0].number < TWO_SECONDS);
        steps(small, CYCLE);
        steps(large, CYCLE);
        let stats = server.stats();
        assert_eq!(stats["viewers_served"], 1, "the same connection");
        assert_eq!(stats["source"]["restarts"], 0);
    }
    follow_tabs(&mut chromium, &tabs, CYCLE);
}

/// 100 kB that mean nothing, among them much that looks like the beginning of something.
fn garbage() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut bytes = Vec::new();
    while bytes.len() < 100_000 {
        let beginning: &[u8] =
            random.choice([&[0, 0, 1][..], &[0xff, 0xd8], b"FRAME", b"YUV4MPEG2"]).unwrap();
        bytes.extend_from_slice(beginning);
        bytes.extend((0..random.usize(1..400)).map(|_| random.u8(..)));
    }
    bytes
}

#[test]
fn garbage_in_a_running_stream_is_over_when_good_data_follows() {
    let disturbed = |output: &str| {
        let (disturb, disturbance) = channel();
        let playing = pipe_in_changed(&ffmpeg(output), move |bytes| {
            let middle = bytes.len() / 2;
            match disturbance.try_recv() {
                Ok(()) => [&bytes[..middle], &garbage(), &bytes[middle..]].concat(),
                Err(_) => bytes.to_vec(),
            }
        });
        (playing, disturb)
    };
    let disturbed = [BASELINE, HIGH, Y4M, MJPEG_422].map(disturbed);
    let mut chromium = Chromium::start();
    let tabs = disturbed.each_ref().map(|((server, _), _)| open_live(server, &mut chromium));
    tabs.iter().for_each(|tab| record(&mut |script| chromium.evaluate(tab, script)));
    let damaged = |stats: &Value| stats["source"]["frames_damaged"].as_u64();
    for _ in 0..3 {
        let before = disturbed.each_ref().map(|((server, _), _)| damaged(&server.stats()));
        disturbed.iter().for_each(|(_, disturb)| disturb.send(()).unwrap());
        for (((server, _), _), before) in disturbed.iter().zip(before) {
            server.wait_for("the garbage has come", |stats| damaged(stats) > before);
        }
        // However late a busy machine shows them: two groups of pictures after the garbage.
        let mut count = |tab| recorded(&mut |script| chromium.evaluate(tab, script), 1).len();
        let shown = tabs.each_ref().map(&mut count);
        for (tab, shown) in tabs.iter().zip(shown) {
            recorded(&mut |script| chromium.evaluate(tab, script), shown + 2 * GROUP_FRAMES);
        }
    }
    for tab in &tabs {
        let marks = recorded(&mut |script| chromium.evaluate(tab, script), 1);
        let garbled = marks.iter().filter(|mark| !mark.is_whole()).count();
        println!("{garbled} of {} pictures are garbled", marks.len());
    }
    follow_tabs(&mut chromium, &tabs, CYCLE);
    for ((server, _), _) in &disturbed {
        let stats = server.stats();
        println!("{}", stats["source"]);
        assert_eq!(stats["viewers_served"], 1, "the same connection");
    }
}

#[test]
fn a_picture_that_breaks_the_decoder_is_damaged_and_the_viewer_sees_the_next_one() {
    let mut parser = Parser::new();
    let mut count = 0;
    let (server, _writer) = pipe_in_changed(&ffmpeg(MJPEG_422), move |bytes| {
        let mut pictures = Vec::new();
        parser.push(bytes).unwrap();
        while let Some(ParsedItem::Jpeg(jpeg)) = parser.poll() {
            pictures.extend(jpeg.data);
            count += 1;
            if count % 5 == 0 {
                pictures.extend(jpegs::with_late_colours([320, 240]));
            }
        }
        pictures
    });
    let mut viewers = [SocketViewer::join(&server)];
    let damaged = || server.stats()["source"]["frames_damaged"].as_u64().unwrap();
    run_until(&mut viewers, |viewers| viewers[0].client.frames.len() >= 10);
    let (frames, before) = (viewers[0].client.frames.len(), damaged());
    run_until(&mut viewers, |viewers| viewers[0].client.frames.len() >= frames + 60);
    let stats = server.stats();
    println!("{}", stats["source"]);
    assert!(damaged() >= before + 5, "each is counted: {stats}");
    assert_eq!(
        (&stats["source"]["state"], &stats["viewers_served"]),
        (&"running".into(), &1.into())
    );
    let log = server.log();
    assert!(
        log.iter().filter(|line| line.contains("skipping a picture:")).count() == 1,
        "{log:#?}"
    );
    assert!(log.iter().filter(|line| line.contains("panicked")).count() <= 1, "{log:#?}");
}

#[test]
fn a_command_that_fails_is_a_picture_with_words_and_a_sentence() {
    let command = "echo the camera is not there >&2; exit 3";
    let server = Server::start(&["--exec", command]);
    let failed = |stats: &Value| stats["source"]["state"] == "failed";
    let stats = server.wait_for("it has failed", failed);
    let sentence = stats["source"]["sentence"].as_str().unwrap().to_owned();
    println!("{sentence}");
    assert_eq!(sentence, "The command exited with status 3.");
    watch_frames(&server, 2);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, "document.querySelector('video')?.videoWidth === 640");
    let shown = "document.querySelector('[data-no-signal] #status')?.textContent";
    chromium.wait_for(&tab, &format!("{shown} === '{sentence}'"));
    let retry = "document.querySelector('#next').textContent.includes('tries again in')";
    chromium.wait_for(&tab, retry);
    let title = format!("No picture · {}", server.address);
    assert_eq!(chromium.evaluate(&tab, "document.title"), title.as_str());
    assert_eq!(chromium.evaluate(&tab, "ballcast.state"), "live");
    let stages = "[ballcast.stage, document.querySelector('#page').dataset.stage, ballcast.error]";
    let expected = serde_json::json!(["no-picture", "no-picture", sentence]);
    assert_eq!(chromium.evaluate(&tab, stages), expected);
    std::thread::sleep(Duration::from_millis(500));
    chromium.screenshot(&tab, "no-signal.png");

    // Who has the token reads what the command wrote, too.
    let server = Server::start(&["--exec", command, "--token", "open-sesame"]);
    let tab = chromium.open(&format!("{}#token=open-sesame", server.url()));
    let detail = format!("{sentence} It wrote: the camera is not there.");
    chromium.wait_for(&tab, &format!("{shown} === '{detail}'"));
}

#[test]
fn the_page_shows_the_picture_again_as_soon_as_it_comes() {
    let mut chromium = Chromium::start();
    let server = Server::start(&["--exec", &format!("sleep 8; {}", ffmpeg(BASELINE))]);
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, "document.querySelector('[data-no-signal]') !== null");
    chromium
        .wait_for(&tab, "document.querySelector('[data-no-signal]') === null && ballcast.fps > 20");
    assert_eq!(chromium.evaluate(&tab, "ballcast.connects"), 1);
}

#[test]
fn what_browsers_cannot_show_is_refused_with_the_flag_that_mends_it() {
    // x264 has open groups of pictures with B-frames alone.
    for parameters in ["bframes=2", "bframes=2:open-gop=1"] {
        let output =
            format!("-pix_fmt yuv420p -c:v libx264 -x264-params {parameters} -g 30 -f h264 -");
        let server = exec(&output);
        let stats = server.wait_for("it has failed", |stats| stats["source"]["state"] == "failed");
        let sentence = stats["source"]["sentence"].as_str().unwrap();
        assert!(sentence.contains("--low-latency") && sentence.contains("-bf 0"), "{sentence}");
    }
}
