//! str0m is used in one room, and only by its documented API. That the core uses no clock, socket, file,
//! thread or randomness is checked by clippy (`clippy.toml`).

use std::path::{Path, PathBuf};

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
    let is_viewer = |file: &&PathBuf| file.starts_with(root.join("webrtc"));
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

/// str0m's ICE is public in the crate `is`, of which this file hands on the STUN messages, to find the
/// viewers they are for. There is no other exception.
const READS_STUN: &str = "webrtc/mod.rs";

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
