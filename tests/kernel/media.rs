//! What the cameras of software show, made by ffmpeg once.

use std::fs;
use std::process::{Command, Stdio};

use crate::guest::{share, tests};
use crate::support::marker;

/// After so many pictures, the numbers of the pictures begin again.
pub const CYCLE: i64 = 256;

/// Cameras of numbered pictures (see [`marker`]), for `usb_camera.py`. Its raw pictures are small: it is a program in
/// Python in an emulated processor.
pub const MJPEG: &str = "mjpeg:320x240@15=/share/media/marks.mjpeg";
pub const H264: &str = "h264:320x240@15=/share/media/marks.h264";
/// H.264 with one key frame in all of its pictures.
pub const DISTANT: &str = "h264:320x240@15=/share/media/distant.h264";
pub const YUYV: &str = "yuyv:160x120@15=/share/media/marks.yuyv";
/// A camera of one picture, whose blocks of 2x2 samples have one colour. Its lines and columns fill no macroblocks, and
/// no lines of a hardware encoder.
pub const STATIC: &str = "yuyv:152x116@15=/share/media/static.yuyv";
pub const STATIC_SIZE: (usize, usize) = (152, 116);

/// Makes the pictures, and puts the programs of the guest beside them.
pub fn make() {
    let media = share().join("media");
    fs::create_dir_all(&media).unwrap();
    for entry in fs::read_dir(share()).unwrap().map_while(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with("job-") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    for program in ["kernel/usb_camera.py", "kernel/react.py", "driver/camera/rpicam-vid"] {
        let program = tests().join(program);
        fs::copy(&program, share().join(program.file_name().unwrap())).unwrap();
    }
    let marks = |size| format!("{},scale={size}:flags=neighbor", marker::DRAW);
    let frames = CYCLE.to_string();
    let count = ["-frames:v", &frames];
    let jpegs = ["-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", "5", "-f", "mjpeg"];
    draw("marks.mjpeg", &marks("320:240"), &[&count[..], &jpegs].concat());
    draw("small.mjpeg", &marks("160:120"), &[&count[..], &jpegs].concat());
    for (name, group) in [("marks.h264", "15"), ("distant.h264", "256")] {
        let x264 = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-g", group];
        let tune = ["-tune", "zerolatency", "-profile:v", "baseline"];
        let units = ["-x264-params", "aud=1:sliced-threads=0:scenecut=0", "-f", "h264"];
        draw(name, &marks("320:240"), &[&count[..], &x264, &tune, &units].concat());
    }
    let raw = ["-pix_fmt", "yuyv422", "-f", "rawvideo"];
    draw("marks.yuyv", &marks("160:120"), &[&count[..], &raw].concat());
    let colours = "testsrc=size=76x58,format=yuv444p,scale=152:116:flags=neighbor";
    draw("static.yuyv", colours, &[&["-frames:v", "1"][..], &raw].concat());
}

/// A file of pictures, unless it has been made by the same words.
fn draw(name: &str, filter: &str, arguments: &[&str]) {
    let path = share().join("media").join(name);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y", "-f", "lavfi", "-i", filter]).args(arguments).arg(&path);
    let words = format!("{ffmpeg:?}");
    let note = share().join("media").join(format!("{name}.words"));
    if fs::read_to_string(&note).is_ok_and(|noted| noted == words) {
        return;
    }
    assert!(ffmpeg.stdin(Stdio::null()).status().unwrap().success(), "{words}");
    fs::write(note, words).unwrap();
}

/// The picture of [`STATIC`] as I420.
pub fn static_i420() -> Vec<u8> {
    let yuyv = fs::read(share().join("media/static.yuyv")).unwrap();
    let (width, height) = STATIC_SIZE;
    let luma = yuyv.iter().step_by(2).copied();
    let chroma = |offset: usize| {
        let lines = yuyv.chunks(2 * width).step_by(2);
        lines.flat_map(move |line| line.iter().skip(offset).step_by(4).copied())
    };
    let i420: Vec<u8> = luma.chain(chroma(1)).chain(chroma(3)).collect();
    assert_eq!(i420.len(), width * height * 3 / 2);
    i420
}
