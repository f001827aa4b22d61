//! Errors of a driver, as the kernel's test driver makes them.

use crate::bench::Bench;
use crate::server::GuestServer;

const CAMERA: &str = "/dev/video0 --camera-size 320x180";

fn with_vivid(bench: &mut Bench, case: impl FnOnce(&mut Bench)) {
    bench.guest.run("modprobe vivid n_devs=1 node_types=0x1 && udevadm settle");
    case(bench);
    bench.guest.end_all();
    bench.guest.run("rmmod vivid && udevadm settle");
}

/// Makes the driver fail once.
fn inject(bench: &mut Bench, error: &str) {
    bench.guest.run(&format!("v4l2-ctl -d /dev/video0 -c inject_{error}=1"));
}

fn says(server: &GuestServer, words: &str) {
    server.job.wait_for_output(&format!("no signal: The camera cannot {words}"));
}

/// A queue that fails, of which the kernel reports only an error, and a buffer that cannot be given back: each is
/// said, and the camera is started again, for the same viewer.
pub fn failed_stream(bench: &mut Bench) {
    with_vivid(bench, |bench| {
        let server = bench.serve(CAMERA);
        let tab = bench.watch(&server);
        let descriptors = server.descriptors(&mut bench.guest);
        for (error, words) in [
            ("fatal_streaming_error", "be read: Input/output error"),
            ("vidioc_qbuf_error", "be read: Invalid argument"),
        ] {
            inject(bench, error);
            says(&server, words);
            server.wait_for_picture();
        }
        assert_eq!(server.descriptors(&mut bench.guest), descriptors);
        assert_eq!(bench.connects(&tab), 1);
    });
}

/// Each step of the start that fails is named, and it is tried again.
pub fn failed_start(bench: &mut Bench) {
    with_vivid(bench, |bench| {
        for (error, words) in [
            ("vidioc_reqbufs_error", "be given memory for its pictures"),
            ("vidioc_qbuf_error", "be given memory for its pictures"),
            ("vidioc_streamon_error", "start its stream"),
        ] {
            inject(bench, error);
            let server = bench.serve(CAMERA);
            says(&server, words);
            server.wait_for_picture();
            bench.guest.end(&server.job);
        }
    });
}

/// A control that the driver does not take, or does not have, is named in the log; the others are set.
pub fn refused_controls(bench: &mut Bench) {
    with_vivid(bench, |bench| {
        let controls = "--control test_pattern=999 --control nonsense=1 --control brightness=201";
        let server = bench.serve(&format!("{CAMERA} {controls}"));
        server.wait_for_picture();
        let log = server.log();
        assert!(log.contains("does not take --control test_pattern=999: "), "{log}");
        assert!(log.contains("has no control nonsense"), "{log}");
        let value = bench.guest.run("v4l2-ctl -d /dev/video0 -C brightness");
        assert_eq!(value, "brightness: 201");
    });
}

/// A buffer that the kernel marks as damaged is counted, and nothing else comes of it.
pub fn damaged_buffer(bench: &mut Bench) {
    with_vivid(bench, |bench| {
        let server = bench.serve(CAMERA);
        let tab = bench.watch(&server);
        inject(bench, "v4l2_buf_flag_error");
        let stats = server.wait_for("the buffer is counted", |stats| {
            stats["source"]["frames_damaged"].as_u64() >= Some(1)
        });
        let before = stats["source"]["frames_in"].as_u64();
        let stats = server.wait_for("more pictures come", |stats| {
            stats["source"]["frames_in"].as_u64() > before.map(|it| it + 10)
        });
        assert_eq!(stats["source"]["frames_damaged"], 1);
        assert_eq!(stats["source"]["restarts"], 0);
        assert_eq!(bench.connects(&tab), 1);
    });
}
