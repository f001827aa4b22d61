//! Cameras that send what no camera should, and whose descriptors lie.

use crate::bench::Bench;
use crate::camera::{Camera, LINK};
use crate::media::{H264, MJPEG, YUYV};
use crate::server::program;
use crate::support::scripts::LIVE;

/// How long each of three cameras is hostile: a minute in all.
const STORM_S: u64 = 20;
const PICTURES_PER_S: u64 = 15;
/// By how much memory may have grown then.
const MOST_GROWTH_KB: u64 = 16_384;

/// See `usb_camera.py`.
const LIES: [&str; 9] = ["zero", "huge", "odd", "still", "many", "none", "small", "format", "name"];
/// Descriptors with bytes changed at random.
const SEEDS: std::ops::Range<u32> = 1..13;
/// In which a camera is plugged in, and the kernel has looked at it.
const LOOK_S: u64 = 2;

pub fn mjpeg(bench: &mut Bench) {
    storm(bench, MJPEG);
}

pub fn h264(bench: &mut Bench) {
    storm(bench, H264);
}

pub fn yuyv(bench: &mut Bench) {
    storm(bench, YUYV);
}

/// Pictures that are random, cut, too large, empty, or of another size; then whole ones again.
fn storm(bench: &mut Bench, mode: &str) {
    let camera = bench.camera(&[mode]);
    let server = bench.serve(LINK);
    let tab = bench.watch(&server);
    let before = server.resident_kb(&mut bench.guest);
    camera.tell(&mut bench.guest, &format!("storm {}", STORM_S * PICTURES_PER_S));
    std::thread::sleep(std::time::Duration::from_secs(STORM_S));
    let source = &server.stats()["source"];
    println!("   after the storm: {source}");
    assert!(source["frames_damaged"].as_u64() > Some(0), "nothing was damaged: {source}");
    server.wait_for_picture();
    // Who watched has a decoder that was given damaged pictures, and the page may have begun again for it.
    bench.chromium().wait_for(&tab, &format!("{LIVE} && !window.ballcast.error"));
    let other = bench.watch(&server);
    bench.follow(&other);
    let after = server.resident_kb(&mut bench.guest);
    println!("   memory: {before} kB, {after} kB");
    assert!(after < before + MOST_GROWTH_KB, "{before} kB, {after} kB");
    assert!(bench.guest.is_running(&server.job));
}

/// The server looks at each, says what it likes, and shows an honest camera at last.
pub fn lies(bench: &mut Bench) {
    let server = bench.serve("--camera");
    let mut told = server.log().lines().count();
    let seeds = SEEDS.map(|seed| seed.to_string());
    for lie in LIES.map(str::to_owned).into_iter().chain(seeds) {
        let camera = Camera::start(&mut bench.guest, 0, &["--lie", &lie, MJPEG, H264, YUYV]);
        bench.guest.run(&format!("sleep {LOOK_S}; udevadm settle"));
        let nodes = bench.guest.run("ls /dev | grep -c '^video' || true");
        let (status, list) = bench.guest.try_run(&format!("{} --list-cameras", program()));
        assert!(status == 0 || status == 1, "{lie}: status {status}\n{list}");
        let is_clean = |c: char| !c.is_control() || c == '\n';
        assert!(list.chars().all(is_clean), "{lie}: {list:?}");
        let source = &server.stats()["source"];
        println!("   {lie}: {nodes} nodes, {} {}", source["state"], source["sentence"]);
        let log = server.log();
        println!("     {}", log.lines().skip(told).collect::<Vec<_>>().join("\n     "));
        told = log.lines().count();
        assert!(bench.guest.is_running(&server.job), "{lie}");
        camera.end(&mut bench.guest);
    }
    bench.camera(&[MJPEG]);
    server.wait_for_picture();
    let tab = bench.watch(&server);
    bench.follow(&tab);
}
