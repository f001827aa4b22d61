//! The options of cameras.

use std::time::Instant;

use crate::bench::Bench;
use crate::camera::LINK;
use crate::media::{H264, MJPEG, YUYV};
use crate::server::program;
use crate::support::process::wait_until;

/// Controls are set when the camera has started, in order, and again after a replug, at which it forgets them. The old
/// name of a control is understood.
pub fn controls(bench: &mut Bench) {
    const FLAGS: &str =
        "--control brightness=200 --control exposure_auto=1 --control exposure_time_absolute=333";
    // Brightness, and by the USB Video Class: automatic exposure in mode 1 (manual) is 1, and exposure time.
    const SET: [&str; 3] = ["control 2.2 = 200", "control 1.2 = 1", "control 1.4 = 333"];
    let camera = bench.camera(&[MJPEG]);
    let server = bench.serve(&format!("{LINK} {FLAGS}"));
    for time in 1..=3 {
        server.wait_for_picture();
        wait_until("the controls are set", || camera.log().matches(SET[2]).count() == time);
        let log = camera.log();
        let order: Vec<usize> = SET.iter().map(|line| log.rfind(line).expect(line)).collect();
        assert!(order.is_sorted(), "{log}");
        let values = bench.guest.run(&format!("v4l2-ctl -d {LINK} -C brightness"));
        assert_eq!(values, "brightness: 200");
        camera.tell(&mut bench.guest, "unplug");
        server.wait_for_sentence("unplugged");
        camera.tell(&mut bench.guest, "plug");
    }
}

pub fn listed_cameras(bench: &mut Bench) {
    let list = format!("{} --list-cameras", program());
    let (status, none) = bench.guest.try_run(&list);
    assert_eq!((status, none.contains("No camera found")), (1, true), "{none}");
    bench.camera(&[MJPEG, H264, YUYV]);
    let list = bench.guest.run(&list);
    println!("{list}");
    let link = LINK.rsplit('/').next().unwrap();
    for words in ["Camera of software", link, "320x240", "160x120", "15", "brightness"] {
        assert!(list.contains(words), "no {words} in:\n{list}");
    }
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
}

/// What is asked for instead of the choice by itself.
pub fn size_and_format(bench: &mut Bench) {
    bench.camera(&[MJPEG, "mjpeg:160x120@15=/share/media/small.mjpeg", H264, YUYV]);
    for (flags, format, size) in [
        ("--camera-format yuyv", "YUYV", "160x120"),
        ("--camera-format mjpeg --camera-size 160x120", "MJPEG", "160x120"),
        ("--camera-size 320x240@15 --camera-format h264", "H.264", "320x240"),
    ] {
        let server = bench.serve(&format!("--camera {flags}"));
        server.wait_for_picture();
        let log = server.log();
        assert!(log.contains(&format!("is shown: {format} {size} at 15/s")), "{flags}:\n{log}");
        bench.guest.end(&server.job);
    }
}

/// The camera rests until somebody watches.
pub fn when_watched(bench: &mut Bench) {
    let camera = bench.camera(&[MJPEG]);
    let server = bench.serve(&format!("{LINK} --when-watched --control brightness=99"));
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(!camera.log().contains("= 99"), "nobody watches, and it runs:\n{}", camera.log());
    let began = Instant::now();
    let tab = bench.watch(&server);
    println!("   {:.1} s from the page to the picture", began.elapsed().as_secs_f64());
    bench.follow(&tab);
    assert!(camera.log().contains("= 99"));
}
