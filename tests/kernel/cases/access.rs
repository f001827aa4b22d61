//! Several cameras, several programs, and who may open what.

use std::time::Duration;

use crate::bench::Bench;
use crate::camera::{Camera, LINK};
use crate::media::{H264, MJPEG};

const IN_THE_GROUP: &str = "--groups 44";
const IN_NO_GROUP: &str = "--clear-groups";
const NO_PERMISSION: &str = "No permission";
/// Longer than a new device may be without permissions before that is said.
const LONGER_THAN_UDEV: Duration = Duration::from_secs(4);

/// A server for each, by the serial numbers in their links.
pub fn two_cameras(bench: &mut Bench) {
    bench.camera(&[MJPEG]);
    Camera::start(&mut bench.guest, 1, &["--serial", "0002", H264]);
    let other = LINK.replace("0001", "0002");
    bench.guest.run(&format!("until [ -e {other} ]; do sleep 0.1; done; udevadm settle"));
    let first = bench.serve_at(0, "--camera software_0001");
    let second = bench.serve_at(1, "--camera software_0002");
    let tabs = [bench.watch(&first), bench.watch(&second)];
    for (server, format) in [(&first, "MJPEG"), (&second, "H.264")] {
        let log = server.log();
        assert!(log.contains(&format!("is shown: {format} ")), "{log}");
    }
    for tab in tabs {
        bench.chromium().bring_to_front(&tab);
        bench.follow(&tab);
    }
}

pub fn busy_camera(bench: &mut Bench) {
    bench.camera(&[MJPEG]);
    let other =
        bench.guest.start(&format!("v4l2-ctl -d {LINK} --stream-mmap --stream-to=/dev/null"));
    bench.guest.run("sleep 1");
    let server = bench.serve("--camera");
    server.wait_for_sentence("Another program uses the camera");
    bench.guest.end(&other);
    server.wait_for_picture();
}

pub fn not_in_the_group(bench: &mut Bench) {
    bench.camera(&[MJPEG]);
    let server = bench.serve_as_nobody(IN_NO_GROUP, "--camera");
    server.wait_for_sentence("group video");
    // As if it were; the kernel tells that the node has changed.
    bench.guest.run("chmod 666 /dev/video*");
    server.wait_for_picture();
}

/// A device belongs to root until udev has been.
pub fn before_udev(bench: &mut Bench) {
    let server = bench.serve_as_nobody(IN_THE_GROUP, "--camera");
    server.wait_for_sentence("plug one in");
    let camera = bench.camera(&[MJPEG]);
    server.wait_for_picture();
    for _ in 0..3 {
        camera.tell(&mut bench.guest, "unplug");
        server.wait_for_sentence("unplugged");
        camera.tell(&mut bench.guest, "plug");
        server.wait_for_picture();
    }
    assert!(!server.log().contains(NO_PERMISSION), "{}", server.log());
}

/// A device whose permissions do not come: that is said, and over when they come.
pub fn udev_that_hangs(bench: &mut Bench) {
    let server = bench.serve_as_nobody(IN_THE_GROUP, "--camera");
    server.wait_for_sentence("plug one in");
    bench.guest.run("udevadm control --stop-exec-queue");
    Camera::start(&mut bench.guest, 0, &[MJPEG]);
    bench.guest.run("until [ -e /dev/video0 ]; do sleep 0.1; done");
    std::thread::sleep(LONGER_THAN_UDEV);
    server.wait_for_sentence(NO_PERMISSION);
    bench.guest.run("udevadm control --start-exec-queue");
    server.wait_for_picture();
}
