//! Each planted bug still fits the source: `cargo test --test planted` would fail much later.

#[path = "planted/patches.rs"]
mod patches;

use std::path::Path;

#[test]
fn each_planted_bug_applies_to_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches = patches::all(root);
    assert!(patches.len() >= 30, "{} patches", patches.len());
    let errors: Vec<String> = patches.iter().filter_map(|patch| patch.check(root).err()).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}
