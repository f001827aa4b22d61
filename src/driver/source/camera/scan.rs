//! Finds video devices, and describes them.

use std::fs::read_dir;
use std::path::{Path, PathBuf};

use crate::driver::v4l2::device::{CAPTURES, Device, M2M, M2M_MPLANE, STREAMS, fourcc, text};
use crate::driver::v4l2::ioctl::{self, Format};
use crate::driver::v4l2::layout::{BufferType, ControlDescription, FrameInterval};
use crate::foreign::Foreign;
use crate::media::Size;
use crate::source::camera::{
    CONTROLS_MAX, CameraControl, CameraDevice, CameraFormat, CameraMode, CameraNode, CameraScan,
    MODES_MAX, sizes_in_steps,
};
use crate::source::parse::FrameRate;

/// More than a machine has.
const DEVICES_MAX: usize = 64;
const LINK_FOLDERS: [&str; 2] = ["/dev/v4l/by-id", "/dev/v4l/by-path"];
/// The programs for the camera of a Raspberry Pi, the newer one first.
const PI_PROGRAMS: [&str; 2] = ["rpicam-vid", "libcamera-vid"];
/// The name of the encoder of a Raspberry Pi in `/sys/class/video4linux`.
const PI_ENCODER: &str = "bcm2835-codec-encode";
/// Rates that a camera is asked for whose rates are in steps.
const USUAL_RATES: [u32; 3] = [15, 25, 30];
/// The most items of a menu.
const MENU_MAX: i64 = 64;
const NAME_MAX_CHARS: usize = 32;

/// `enum v4l2_frmsizetypes` and `enum v4l2_frmivaltypes`.
const DISCRETE: u32 = 1;

// `enum v4l2_ctrl_type`.
const INTEGER: u32 = 1;
const BOOLEAN: u32 = 2;
const MENU: u32 = 3;
const BUTTON: u32 = 4;
const INTEGER_64: u32 = 5;
const BITMASK: u32 = 8;
const INTEGER_MENU: u32 = 9;
// Flags of controls.
const IS_DISABLED: u32 = 0x1;
const IS_WRITE_ONLY: u32 = 0x40;

/// Describes one device, or all, as [`CameraCommand::Scan`](crate::source::camera::CameraCommand::Scan) says.
/// `size` is described even if it is unusual.
pub fn scan(path: Option<&Path>, size: Option<Size>, with_controls: bool) -> CameraScan {
    let nodes = match path {
        Some(path) => vec![path.to_owned()].into_iter().filter(|it| it.exists()).collect(),
        None => devices(),
    };
    let names = read_dir("/sys/class/video4linux").into_iter().flatten().flatten();
    let name_of = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("name"));
    CameraScan {
        nodes: nodes.into_iter().map(|path| node(path, size, with_controls)).collect(),
        pi_program: PI_PROGRAMS.into_iter().find(|program| is_in_path(program)),
        has_pi_encoder: names.filter_map(|it| name_of(it).ok()).any(|it| it.trim() == PI_ENCODER),
    }
}

/// `/dev/video*`, in the order of their numbers.
fn devices() -> Vec<PathBuf> {
    let entries = read_dir("/dev").into_iter().flatten().flatten();
    let numbers = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("video")?.parse::<u32>().ok());
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers.truncate(DEVICES_MAX);
    numbers.into_iter().map(|number| format!("/dev/video{number}").into()).collect()
}

fn node(path: PathBuf, size: Option<Size>, with_controls: bool) -> CameraNode {
    let device = Device::open(&path).and_then(|device| describe(&device, size, with_controls));
    CameraNode { links: links(&path), device: device.map_err(|error| (&error).into()), path }
}

/// The names of the links to a device.
fn links(path: &Path) -> Vec<String> {
    let Ok(target) = path.canonicalize() else { return Vec::new() };
    let entries = LINK_FOLDERS.into_iter().filter_map(|folder| read_dir(folder).ok());
    let entries = entries.flatten().flatten();
    let leads_there = |link: &PathBuf| link.canonicalize().is_ok_and(|path| path == target);
    let links = entries.map(|entry| entry.path()).filter(leads_there);
    links.filter_map(|link| Some(link.file_name()?.to_str()?.to_owned())).collect()
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn describe(
    device: &Device,
    size: Option<Size>,
    with_controls: bool,
) -> std::io::Result<CameraDevice> {
    let identity = device.identity()?;
    let is = |capability: u32| identity.capabilities & capability != 0;
    let captures = is(CAPTURES) && is(STREAMS) && !is(M2M) && !is(M2M_MPLANE);
    let (mut modes, mut controls) = (Vec::new(), Vec::new());
    if captures {
        for format in device.formats(BufferType::Capture) {
            if let Some(known) = format_of(format.pixel_format) {
                add_modes(device, known, size, &mut modes);
            }
        }
        modes.truncate(MODES_MAX);
    }
    if captures && with_controls {
        controls = device.controls().filter_map(|it| control(device, &it)).collect();
        controls.truncate(CONTROLS_MAX);
    }
    Ok(CameraDevice { name: identity.name, captures, modes, controls })
}

/// `V4L2_PIX_FMT_…` of a format.
pub fn pixel_format(format: CameraFormat) -> u32 {
    fourcc(match format {
        CameraFormat::H264 => *b"H264",
        CameraFormat::I420 => *b"YU12",
        CameraFormat::Nv12 => *b"NV12",
        CameraFormat::Yuyv => *b"YUYV",
        CameraFormat::Mjpeg => *b"MJPG",
    })
}

/// `V4L2_PIX_FMT_JPEG`, which some drivers say for the same as MJPEG.
const JPEG: u32 = fourcc(*b"JPEG");

pub fn format_of(number: u32) -> Option<CameraFormat> {
    if number == JPEG {
        return Some(CameraFormat::Mjpeg);
    }
    CameraFormat::ALL.into_iter().find(|format| pixel_format(*format) == number)
}

fn add_modes(
    device: &Device,
    format: CameraFormat,
    wanted: Option<Size>,
    modes: &mut Vec<CameraMode>,
) {
    let number = pixel_format(format);
    let mut sizes = Vec::new();
    for described in device.sizes(number) {
        let n = described.numbers.map(|number| number as usize);
        if described.kind == DISCRETE {
            sizes.push(Size { width: n[0], height: n[1] });
            continue;
        }
        let [least, most] = [0, 1].map(|at| Size { width: n[at], height: n[at + 3] });
        let step = Size { width: n[2].max(1), height: n[5].max(1) };
        sizes.extend(sizes_in_steps(least, most, step, wanted));
        break;
    }
    if sizes.is_empty() {
        // A driver without sizes has the one that is set.
        let Ok(Format::Single(current)) = device.format(BufferType::Capture) else { return };
        if current.pixel_format == number {
            sizes.push(Size { width: current.width as usize, height: current.height as usize });
        }
    }
    for size in sizes {
        let rates = rates(device, number, size);
        match rates.is_empty() {
            true => modes.push(CameraMode { format, size, rate: None }),
            false => modes.extend(rates.into_iter().map(|rate| CameraMode {
                format,
                size,
                rate: Some(rate),
            })),
        }
        if modes.len() >= MODES_MAX {
            return;
        }
    }
}

fn rates(device: &Device, pixel_format: u32, size: Size) -> Vec<FrameRate> {
    let size = [size.width as u32, size.height as u32];
    let mut rates = Vec::new();
    for interval in device.intervals(pixel_format, size) {
        rates.extend(rates_of(&interval));
        if interval.kind != DISCRETE {
            break;
        }
    }
    rates
}

/// The rate of an interval; of intervals in steps, the highest rate and the usual ones.
fn rates_of(interval: &FrameInterval) -> Vec<FrameRate> {
    let rate =
        |[numerator, denominator]: [u32; 2]| FrameRate::new(denominator.into(), numerator.into());
    let n = interval.numbers;
    let highest = rate([n[0], n[1]]);
    if interval.kind == DISCRETE {
        return highest.into_iter().collect();
    }
    let lowest = rate([n[2], n[3]]);
    let per_second = |rate: &FrameRate| f64::from(rate.numerator) / f64::from(rate.denominator);
    let fits = |usual: &FrameRate| {
        highest.as_ref().is_some_and(|it| per_second(usual) < per_second(it))
            && lowest.as_ref().is_none_or(|it| per_second(usual) >= per_second(it))
    };
    let usual = USUAL_RATES.into_iter().filter_map(|rate| FrameRate::new(rate.into(), 1));
    usual.filter(fits).chain(highest).collect()
}

fn control(device: &Device, described: &ControlDescription) -> Option<CameraControl> {
    let ControlDescription { id, kind, least, most, step, default, flags, elements, .. } =
        *described;
    let is_known =
        matches!(kind, INTEGER | BOOLEAN | MENU | BUTTON | INTEGER_64 | BITMASK | INTEGER_MENU);
    if !is_known || flags & IS_DISABLED != 0 || elements > 1 {
        return None;
    }
    let is_readable = flags & IS_WRITE_ONLY == 0 && kind != BUTTON;
    let value =
        || ioctl::get_control(std::os::fd::AsFd::as_fd(device), id, kind == INTEGER_64).ok();
    let item = |index: i64| {
        let name = ioctl::query_menu(std::os::fd::AsFd::as_fd(device), id, index as u32).ok()?;
        let name = match kind {
            INTEGER_MENU => i64::from_ne_bytes(*name.first_chunk()?).to_string(),
            _ => text(&name),
        };
        Some((index, Foreign::new(&name, NAME_MAX_CHARS)?))
    };
    let has_menu = matches!(kind, MENU | INTEGER_MENU);
    let menu = (least.max(0)..=most.min(least.saturating_add(MENU_MAX))).filter(|_| has_menu);
    Some(CameraControl {
        id,
        name: variable_name(&text(&described.name)),
        least,
        most,
        step,
        default,
        value: is_readable.then(value).flatten(),
        menu: menu.filter_map(item).collect(),
    })
}

/// The name of a control as `v4l2-ctl` prints it: letters and digits in lower case, with `_` for all that is
/// between.
fn variable_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_controls_are_those_of_v4l2_ctl() {
        for (name, variable) in [
            ("White Balance Temperature, Auto", "white_balance_temperature_auto"),
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("H264 I-Frame Period", "h264_i_frame_period"),
            ("  ", ""),
        ] {
            assert_eq!(variable_name(name), variable);
        }
    }

    #[test]
    fn formats_are_known_by_their_numbers() {
        for format in CameraFormat::ALL {
            assert_eq!(format_of(pixel_format(format)), Some(format));
        }
        assert_eq!(pixel_format(CameraFormat::Yuyv), 0x5659_5559);
        assert_eq!(format_of(JPEG), Some(CameraFormat::Mjpeg));
        assert_eq!(format_of(fourcc(*b"BA81")), None);
    }

    #[test]
    fn a_device_that_is_missing_or_no_camera_is_found_as_that() {
        let missing = scan(Some(Path::new("/dev/video-missing")), None, true);
        assert!(missing.nodes.is_empty());
        let null = scan(Some(Path::new("/dev/null")), None, true);
        assert!(null.nodes[0].device.is_err());
    }
}
