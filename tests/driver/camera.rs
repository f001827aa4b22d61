//! The command lines for cameras and films that the program and its package give, word for word.
//!
//! Those for a Raspberry Pi run with a stand-in for rpicam-vid (`camera/rpicam-vid`): Chromium follows its
//! pictures, and it is read from also while nobody watches. That a real one behaves like the stand-in is not
//! tested.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::chromium::Chromium;
use crate::support::marker::{self, DRAW, follow, follow_all};
use crate::support::process::{Server, binary};
use crate::support::scripts::LIVE;

const SOURCES: &str = include_str!("../../packaging/sources.md");
const DEFAULT: &str = include_str!("../../packaging/default");
/// For so long nobody watches. The camera ends if it cannot write for 0.4 s.
const ALONE: Duration = Duration::from_secs(20);

/// With the stand-in as rpicam-vid, which draws marked pictures.
fn with_camera(mut command: Command) -> Command {
    let path = std::env::var("PATH").unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/driver/camera");
    command.env("PATH", format!("{folder}:{path}"));
    command.env("RPICAM_PICTURES", format!("{DRAW},scale=W:H:flags=neighbor"));
    command
}

/// The commands for `--exec` in the help text that begin with this.
fn commands_of_help(beginning: &str) -> Vec<String> {
    let help = Command::new(binary()).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let commands = help.split("--exec '").skip(1).filter_map(|rest| rest.split_once('\''));
    commands.map(|(command, _)| command.to_owned()).filter(|it| it.starts_with(beginning)).collect()
}

fn exec(command: &str, flags: &[&str]) -> Server {
    let flags = [&["--exec", command], flags].concat();
    Server::start_command(with_camera(Command::new(binary())), "127.0.0.1", 0, &flags)
}

/// A command line that ends with `| ballcast -`.
fn pipe_in(line: &str) -> (Server, Child) {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {line}")]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut camera = with_camera(shell).spawn().unwrap();
    let mut ballcast = Command::new(binary());
    ballcast.stdin(camera.stdout.take().unwrap());
    (Server::start_command(ballcast, "127.0.0.1", 0, &["-"]), camera)
}

#[test]
fn the_command_lines_for_a_pi_play_and_are_read_while_nobody_watches() {
    let of_help = commands_of_help("rpicam-vid");
    assert_eq!(of_help.len(), 1, "{of_help:?}");
    for command in &of_help {
        let words: Vec<&str> = command.split_whitespace().filter(|word| *word != "\\").collect();
        let line = format!("`{} \\| ballcast -`", words.join(" "));
        assert!(SOURCES.contains(&line), "{line} is in packaging/sources.md");
    }
    let table = SOURCES.split('`').filter_map(|code| code.strip_suffix(" \\| ballcast -"));
    let of_pi_5: Vec<&str> = table.filter(|line| line.contains("--libav-format")).collect();
    assert_eq!(of_pi_5.len(), 1, "{of_pi_5:?}");
    let raw =
        "rpicam-vid -t 0 -n --codec yuv420 --flush --width 640 --height 480 --framerate 30 -o -";
    let mut servers: Vec<(String, Server)> =
        of_help.into_iter().map(|command| (command.clone(), exec(&command, &[]))).collect();
    servers.push((raw.into(), exec(raw, &["--raw", "640x480@30"])));
    let (server, mut camera) = pipe_in(of_pi_5[0]);
    servers.push((of_pi_5[0].into(), server));
    let started = Instant::now();
    for (command, server) in &servers {
        server.wait_for(command, |stats| stats["source"]["state"] == "running");
    }
    std::thread::sleep(ALONE.saturating_sub(started.elapsed()));
    let mut chromium = Chromium::start();
    for (command, server) in &servers {
        println!("{command}: {}", server.stats()["source"]);
        let tab = chromium.open_window(&server.url());
        chromium.wait_for(&tab, LIVE);
        follow(|script| chromium.evaluate(&tab, script));
        let stats = server.stats();
        assert_eq!(stats["source"]["restarts"], 0, "{command}: {stats}");
        assert_eq!(stats["source"]["state"], "running", "{command}: {stats}");
        assert_eq!(stats["source"]["frames_damaged"], 0, "{command}: {stats}");
        chromium.close(&tab);
    }
    let _ = camera.kill();
    let _ = camera.wait();
}

#[test]
fn what_a_pi_5_sends_without_low_latency_is_refused_with_that_flag() {
    // In the marked pictures, x264 finds no use for B-frames.
    let camera = "unset RPICAM_PICTURES; exec rpicam-vid -t 0 -n --libav-format h264 -o -";
    let server = exec(camera, &[]);
    let stats = server.wait_for("it has failed", |stats| stats["source"]["state"] == "failed");
    let sentence = stats["source"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("rpicam-vid --low-latency"), "{sentence}");
}

#[test]
fn the_stand_in_ends_as_the_camera_does_when_it_is_not_read() {
    let mut shell = Command::new("sh");
    let line = "exec rpicam-vid -t 0 -n --codec yuv420 --flush -o -";
    shell.args(["-c", line]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut camera = with_camera(shell).spawn().unwrap();
    // It stays open, and is not read.
    let _stdout = camera.stdout.take();
    let ended = camera.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(255));
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(log.contains("no buffers available to queue codec input"), "{log}");
}

/// The arguments that a shell script prints, one a line.
fn words(script: &str, parameters: &[&str]) -> Vec<String> {
    let output = Command::new("sh").args(["-c", script, "sh"]).args(parameters).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The options in the file for the service, first those in force, then each example.
fn flags_of_default() -> Vec<String> {
    let lines = DEFAULT.lines().map(|line| line.trim_start_matches('#'));
    lines.filter(|line| line.starts_with("BALLCAST_FLAGS=")).map(str::to_owned).collect()
}

#[test]
fn the_options_for_the_service_show_cameras_as_systemd_reads_them() {
    // As systemd reads the file and splits a variable (systemd.exec(5), systemd.service(5)): so does the shell,
    // without what only the shell knows.
    let script = r#"eval "$1"; eval "set -- $BALLCAST_FLAGS"; printf '%s\n' "$@""#;
    let of_default = flags_of_default();
    assert_eq!(of_default.len(), 3);
    for line in &of_default {
        assert!(!line.contains(['$', '`', '\\', '*', '?', '[', '~', '&', '|', ';', '<', '>', '(']));
        let flags = words(script, &[line]);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let server =
            Server::start_command(with_camera(Command::new(binary())), "127.0.0.1", 0, &flags);
        if line.contains(" C920 ") {
            server.wait_for(line, |stats| {
                let sentence = stats["source"]["sentence"].as_str().unwrap_or_default();
                sentence.starts_with("No camera of that name found")
            });
        } else {
            server.wait_for(line, |stats| stats["source"]["frames_in"].as_u64() > Some(30));
        }
    }
}

/// The last line of what the program says to this source, to be typed in its place.
fn advice(source: &str) -> String {
    // On a terminal, as a URL is cut elsewhere.
    let mut terminal = Command::new("script");
    terminal.args(["-qec", r#""$BINARY" "$SOURCE""#, "/dev/null"]);
    let output = terminal.env("BINARY", binary()).env("SOURCE", source).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{said}");
    let line = said.lines().last().unwrap().trim_start();
    assert!(line.starts_with("ballcast --exec "), "{said}");
    line.to_owned()
}

/// Types a command line that begins with `ballcast`.
fn typed(line: &str) -> Server {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ballcast() {{ exec \"$0\" \"$@\"; }}; {line} \"$@\"")]);
    shell.arg(binary());
    Server::start_command(shell, "127.0.0.1", 0, &[])
}

/// A file that ffmpeg makes, which is removed at the end.
struct Film(String);

impl Film {
    fn new(name: &str, made_of: &str) -> Film {
        let path = format!("{}/{}-{name}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let script = format!("exec ffmpeg -v error -y {made_of} \"$1\"");
        assert_eq!(words(&script, &[&path]), [""; 0]);
        Film(path)
    }
}

impl Drop for Film {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn what_is_said_of_a_film_plays_it_over_and_over() {
    const PICTURES: i64 = 90;
    // With sound, and with B-frames, also where x264 finds no use for them.
    let video = format!(
        "{} -f lavfi -i sine -t 3 -c:v libx264 -x264-params b-adapt=0 -pix_fmt yuv420p -c:a aac",
        marker::unhurried("640:480")
    );
    let film = Film::new("it's a $film.mp4", &video);
    let server = typed(&advice(&film.0));
    let mut chromium = Chromium::start();
    let tab = chromium.open_window(&server.url());
    chromium.wait_for(&tab, LIVE);
    follow_all(|_, script| chromium.evaluate(&tab, script), &[PICTURES]);
    let stats = server.wait_for("it began again", |stats| {
        stats["source"]["frames_in"].as_i64() > Some(2 * PICTURES)
    });
    let counted = ["restarts", "frames_damaged"].map(|name| stats["source"][name].clone());
    assert_eq!(counted, [0, 0], "{stats}");
}

#[test]
fn what_is_said_of_other_containers_plays_them_also_in_odd_sizes() {
    let odd = "-f lavfi -i testsrc=s=321x241:r=10:d=3";
    for (name, encoded) in [
        ("odd.gif", ""),
        ("odd.mkv", "-c:v libx264 -pix_fmt yuv444p"),
        ("odd.ts", "-c:v libx264 -pix_fmt yuv444p -f mpegts"),
    ] {
        let film = Film::new(name, &format!("{odd} {encoded}"));
        let server = typed(&advice(&film.0));
        let stats = server.wait_for(name, |stats| stats["source"]["frames_in"].as_u64() > Some(15));
        assert_eq!(stats["source"]["size"], "320x240", "{name}: {stats}");
        assert_eq!(stats["source"]["restarts"], 0, "{name}: {stats}");
    }
}

#[test]
fn what_is_said_of_a_url_plays_it() {
    let camera = Server::start(&["--size", "320x240"]);
    let server = typed(&advice(&format!("{}stream.mjpg", camera.url())));
    let stats = server
        .wait_for("the other's stream", |stats| stats["source"]["frames_in"].as_u64() > Some(20));
    assert_eq!(stats["source"]["size"], "320x240", "{stats}");
    assert_eq!(stats["source"]["restarts"], 0, "{stats}");
}
