//! The cases, by name.

mod access;
mod encoder;
mod faults;
mod hostile;
mod options;
mod pictures;
mod plug;

use crate::bench::Bench;

type Case = (&'static str, fn(&mut Bench));

pub const CASES: &[Case] = &[
    ("pictures::mjpeg", pictures::mjpeg),
    ("pictures::yuyv", pictures::yuyv),
    ("pictures::h264", pictures::h264),
    ("pictures::distant_key_frames", pictures::distant_key_frames),
    ("pictures::vivid_yuyv", pictures::vivid_yuyv),
    ("pictures::vivid_nv12", pictures::vivid_nv12),
    ("plug::mjpeg_camera", plug::mjpeg_camera),
    ("plug::h264_camera", plug::h264_camera),
    ("plug::ten_cycles", plug::ten_cycles),
    ("plug::dead_cable", plug::dead_cable),
    ("plug::another_number", plug::another_number),
    ("plug::no_camera_at_first", plug::no_camera_at_first),
    ("plug::silent_camera", plug::silent_camera),
    ("plug::silent_from_the_start", plug::silent_from_the_start),
    ("hostile::mjpeg", hostile::mjpeg),
    ("hostile::h264", hostile::h264),
    ("hostile::yuyv", hostile::yuyv),
    ("hostile::lies", hostile::lies),
    ("access::two_cameras", access::two_cameras),
    ("access::busy_camera", access::busy_camera),
    ("access::not_in_the_group", access::not_in_the_group),
    ("access::before_udev", access::before_udev),
    ("access::udev_that_hangs", access::udev_that_hangs),
    ("options::controls", options::controls),
    ("options::listed_cameras", options::listed_cameras),
    ("options::size_and_format", options::size_and_format),
    ("options::when_watched", options::when_watched),
    ("faults::failed_stream", faults::failed_stream),
    ("faults::failed_start", faults::failed_start),
    ("faults::refused_controls", faults::refused_controls),
    ("faults::damaged_buffer", faults::damaged_buffer),
    ("encoder::static_picture", encoder::static_picture),
    ("encoder::moving_pictures", encoder::moving_pictures),
    ("encoder::misdated", encoder::misdated),
    ("encoder::raspberry_pi", encoder::raspberry_pi),
    ("encoder::another_viewer", encoder::another_viewer),
    ("encoder::deaf", encoder::deaf),
    ("encoder::errors", encoder::errors),
    ("encoder::errors_again", encoder::errors_again),
    ("encoder::stall", encoder::stall),
    ("encoder::noise", encoder::noise),
];
