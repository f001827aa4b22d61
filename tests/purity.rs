//! The core uses no clock, socket, randomness, thread or hash map. Building the crate without the
//! `driver` feature checks a part of that; these tests search the source for the rest.

use std::path::{Path, PathBuf};

/// The files and folders in `src/` that may do I/O.
const MAY_DO_IO: [&str; 4] = ["main.rs", "cli.rs", "source", "driver"];

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
fn only_one_file_uses_str0m() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let uses_str0m = |file: &&PathBuf| {
        let code = code(&std::fs::read_to_string(file).unwrap());
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| ["IceAgent", "DtlsInstance", "Rtc"].contains(&word))
    };
    let users: Vec<&PathBuf> = files.iter().filter(uses_str0m).collect();
    assert_eq!(users, [&root.join("webrtc/viewer.rs")]);
}

#[test]
fn the_exceptions_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert!(MAY_DO_IO.iter().all(|name| root.join(name).exists()));
}
