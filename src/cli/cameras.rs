//! `--list-cameras`: the cameras of this machine, what they offer, and what would be chosen.

use std::fmt::Write;

use crate::driver::source::camera::scan::scan;
use crate::foreign::Foreign;
use crate::media::Size;
use crate::source::camera::{
    CameraCause, CameraConfig, CameraControl, CameraDevice, CameraFormat, CameraMode, CameraNode,
    CameraScan, CameraWish, Chosen, ModeWish, choose_device, choose_mode,
};
use crate::source::parse::FrameRate;

const WIDTH: usize = 80;
/// The longest name of a file (NAME_MAX).
const LINK_MAX_CHARS: usize = 255;

/// The cameras of this machine, as text.
///
/// # Errors
/// There is none: the sentence that says why.
pub fn list() -> Result<String, String> {
    describe(&scan(None, None, true))
}

fn describe(scan: &CameraScan) -> Result<String, String> {
    let config =
        CameraConfig { wish: CameraWish::First, mode: ModeWish::default(), controls: Vec::new() };
    let chosen = choose_device(&config, scan);
    let mut text = String::new();
    for node in &scan.nodes {
        describe_node(&mut text, node);
    }
    match chosen {
        Ok(Chosen::Device(node, device)) => {
            let reason = match choose_mode(&device.modes, config.mode) {
                Ok(choice) => choice.reason,
                Err(cause) => cause.to_string(),
            };
            line(&mut text, 0, &format!("--camera shows {}: {reason}.", node.path.display()));
        }
        Ok(Chosen::RaspberryPi { command, .. }) => {
            line(&mut text, 0, "--camera shows the camera of the Raspberry Pi:");
            line(&mut text, 2, &command);
        }
        Err(cause) if text.is_empty() => return Err(cause.to_string()),
        Err(cause) => line(&mut text, 0, &format!("--camera shows nothing. {cause}")),
    }
    Ok(text)
}

/// Omits nodes that are no cameras, such as decoders.
fn describe_node(text: &mut String, node: &CameraNode) {
    let path = node.path.display();
    match &node.device {
        Ok(device) if device.captures => {
            let name = device.name.as_ref().map_or_else(|| "Camera".into(), ToString::to_string);
            line(text, 0, &format!("{name}: {path}"));
            // udev makes them of what the camera says it is.
            for link in node.links.iter().filter_map(|link| Foreign::new(link, LINK_MAX_CHARS)) {
                line(text, 2, &format!("link: {link}"));
            }
            describe_modes(text, device);
            describe_controls(text, device);
            text.push('\n');
        }
        Ok(_) => {}
        Err(error) => {
            let cause = CameraCause::of_opening(*error);
            line(text, 0, &format!("{path}: {cause}"));
            text.push('\n');
        }
    }
}

fn describe_modes(text: &mut String, device: &CameraDevice) {
    if device.modes.is_empty() {
        line(text, 2, "no format that can be shown: for a bare sensor, use libcamera");
    }
    for format in CameraFormat::ALL {
        let modes: Vec<&CameraMode> =
            device.modes.iter().filter(|mode| mode.format == format).collect();
        let mut sizes: Vec<Size> = Vec::new();
        for mode in &modes {
            if !sizes.contains(&mode.size) {
                sizes.push(mode.size);
            }
        }
        let rates = |size: Size| {
            let of_size = modes.iter().filter(|mode| mode.size == size);
            let mut rates: Vec<String> = of_size.filter_map(|mode| mode.rate.map(rate)).collect();
            rates.dedup();
            if rates.is_empty() { String::new() } else { format!("@{}", rates.join("/")) }
        };
        if !sizes.is_empty() {
            let sizes: Vec<String> =
                sizes.iter().map(|size| format!("{size}{}", rates(*size))).collect();
            line(text, 2, &format!("{}: {}", format.flag_name(), sizes.join(" ")));
        }
    }
}

/// Without needless decimals.
fn rate(rate: FrameRate) -> String {
    let hundredths = u64::from(rate.numerator) * 100 / u64::from(rate.denominator);
    match hundredths % 100 {
        0 => format!("{}", hundredths / 100),
        rest => format!("{}.{rest:02}", hundredths / 100),
    }
}

fn describe_controls(text: &mut String, device: &CameraDevice) {
    if !device.controls.is_empty() {
        line(text, 2, "controls:");
    }
    for control in &device.controls {
        let CameraControl { name, least, most, step, default, value, menu, .. } = control;
        let mut described = format!("{name}: {least} to {most}");
        if *step > 1 {
            let _ = write!(described, " in steps of {step}");
        }
        let _ = write!(described, ", default {default}");
        if let Some(value) = value {
            let _ = write!(described, ", now {value}");
        }
        let items: Vec<String> = menu.iter().map(|(item, name)| format!("{item} {name}")).collect();
        if !items.is_empty() {
            let _ = write!(described, " ({})", items.join(", "));
        }
        line(text, 4, &described);
    }
}

/// Appends words on as many lines as they need, all but the first further to the right.
fn line(text: &mut String, indent: usize, words: &str) {
    let (mut column, mut margin) = (0, indent);
    for word in words.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        }
        let space = if column > 0 { 1 } else { margin };
        margin = indent + 2;
        text.extend(std::iter::repeat_n(' ', space));
        text.push_str(word);
        column += space + length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os_error::OsError;

    fn camera() -> CameraDevice {
        let mode = |format, width, height, rate| CameraMode {
            format,
            size: Size { width, height },
            rate: FrameRate::new(rate, 1),
        };
        CameraDevice {
            name: Foreign::new("HD Webcam", 32),
            captures: true,
            modes: vec![
                mode(CameraFormat::Yuyv, 640, 480, 30),
                mode(CameraFormat::Yuyv, 1_280, 720, 10),
                mode(CameraFormat::Mjpeg, 1_280, 720, 30),
            ],
            controls: vec![CameraControl {
                id: 1,
                name: "auto_exposure".into(),
                least: 0,
                most: 3,
                step: 1,
                default: 3,
                value: Some(1),
                menu: vec![(1, Foreign::new("Manual Mode", 32).unwrap())],
            }],
        }
    }

    fn node(device: Result<CameraDevice, OsError>) -> CameraNode {
        CameraNode { path: "/dev/video0".into(), links: vec!["usb-HD_Webcam".into()], device }
    }

    #[test]
    fn a_camera_is_described_with_what_would_be_chosen_and_why() {
        let scan = CameraScan { nodes: vec![node(Ok(camera()))], ..CameraScan::default() };
        assert_eq!(
            describe(&scan).unwrap(),
            "HD Webcam: /dev/video0\n  \
               link: usb-HD_Webcam\n  \
               yuyv: 640x480@30 1280x720@10\n  \
               mjpeg: 1280x720@30\n  \
               controls:\n    \
                 auto_exposure: 0 to 3, default 3, now 1 (1 Manual Mode)\n\
             \n\
             --camera shows /dev/video0: MJPEG 1280x720 at 30/s, the largest size up to\n  \
               1280x720 with 25/s or more; YUYV has 10/s there.\n"
        );
    }

    #[test]
    fn links_that_a_camera_has_made_up_are_harmless_and_long_lines_are_wrapped() {
        let links = vec!["usb-\u{1b}[2J\u{202e}cod".into()];
        let modes = vec![camera().modes[0]; 20];
        let device = CameraDevice { modes, controls: Vec::new(), ..camera() };
        let nodes = vec![CameraNode { links, ..node(Ok(device)) }];
        let text = describe(&CameraScan { nodes, ..CameraScan::default() }).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(text.chars().all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic()), "{text:?}");
        assert!(lines[1].starts_with("  link: usb-\\u{1b}[2J\\u{202e}cod"), "{text}");
        assert_eq!(lines[2], "  yuyv: 640x480@30", "{text}");
        let mut wrapped = String::new();
        line(&mut wrapped, 2, &["same"; 20].join(" "));
        assert!(wrapped.lines().skip(1).all(|line| line.starts_with("    same")), "{wrapped}");
        assert!(wrapped.lines().all(|line| line.chars().count() <= WIDTH), "{wrapped}");
    }

    #[test]
    fn no_camera_is_an_error_and_one_that_cannot_be_opened_says_why() {
        let none = CameraScan::default();
        assert_eq!(describe(&none), Err("No camera found: plug one in.".into()));
        let nodes = vec![node(Err(OsError::Number(13)))];
        let denied = describe(&CameraScan { nodes, ..CameraScan::default() }).unwrap();
        assert!(denied.starts_with("/dev/video0: No permission to open the camera"), "{denied}");
        let pi = CameraScan { pi_program: Some("rpicam-vid"), ..CameraScan::default() };
        assert!(describe(&pi).unwrap().contains("rpicam-vid"));
    }
}
