//! The core uses no clock, socket, randomness, thread or hash map. Building the crate without the
//! `driver` feature checks a part of that; these tests search the source for the rest.

use std::path::{Path, PathBuf};

/// The files and folders in `src/` that may do I/O.
const MAY_DO_IO: [&str; 3] = ["main.rs", "cli", "driver"];

const FORBIDDEN: [&str; 17] = [
    "Instant::now",
    "SystemTime::now",
    ".elapsed()",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "HashMap",
    "HashSet",
    "getrandom",
    "fastrand",
    "thread_rng",
    "std::env",
    "std::fs",
    "mio::",
    "openh264",
    "libwebp",
];

fn sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The code of a file without comments and unit tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn core_files_use_no_io_clock_or_randomness() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let may_do_io = |file: &PathBuf| MAY_DO_IO.iter().any(|name| file.starts_with(root.join(name)));
    let core: Vec<&PathBuf> = files.iter().filter(|file| !may_do_io(file)).collect();
    assert!(core.len() >= 12, "the core files are found: {core:?}");
    for file in core {
        let code = code(&std::fs::read_to_string(file).unwrap());
        for word in FORBIDDEN {
            assert!(!code.contains(word), "{} names {word}", file.display());
        }
    }
}

#[test]
fn only_the_viewer_drives_an_rtc() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let drives = |file: &&PathBuf| {
        let code = code(&std::fs::read_to_string(file).unwrap());
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| ["IceAgent", "DtlsInstance", "Rtc"].contains(&word))
    };
    let driving: Vec<&PathBuf> = files.iter().filter(drives).collect();
    let is_viewer = |file: &&PathBuf| {
        file.starts_with(root.join("webrtc/viewer")) || **file == root.join("webrtc/viewer.rs")
    };
    assert!(!driving.is_empty() && driving.iter().all(is_viewer), "{driving:?}");
}

/// What str0m's authors mark `#[doc(hidden)]` or unversioned, which is theirs to change.
const HIDDEN_API: [&str; 13] = [
    "str0m::ice",
    "init_crypto_default",
    "_internal",
    "unversioned",
    "UnknownUri",
    "play_delay_min",
    "play_delay_max",
    "video_content_type",
    "tx_time_offs",
    "abs_send_time",
    "video_timing",
    "frame_mark",
    "Codec::Null",
];

/// str0m's ICE is public in the crate `is`, of which this file uses the reading of STUN messages to
/// find whom they are for. There is no other exception.
const READS_STUN: &str = "server/demux.rs";

#[test]
fn only_the_documented_api_of_str0m_is_used() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_root.join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in &files {
        let code = code(&std::fs::read_to_string(file).unwrap());
        for word in HIDDEN_API {
            assert!(!code.contains(word), "{} uses {word}", file.display());
        }
        let uses_is = code.contains("use is::") || code.contains(" is::");
        assert_eq!(uses_is, *file == root.join(READS_STUN), "{} and the crate is", file.display());
    }
    let manifest = std::fs::read_to_string(crate_root.join("Cargo.toml")).unwrap();
    let str0m = manifest.lines().find(|line| line.starts_with("str0m = ")).unwrap();
    assert!(str0m.contains(r#"default-features = false, features = ["aws-lc-rs"]"#), "{str0m}");
}

#[test]
fn what_may_do_io_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert!(MAY_DO_IO.iter().all(|name| root.join(name).exists()));
}
