//! Each planted bug still has its place in the source: the program that plants them takes longer.

use std::path::Path;

#[path = "../planted/bugs.rs"]
mod bugs;

#[test]
fn each_planted_bug_has_its_place_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bugs = bugs::all(root);
    assert!(bugs.len() >= 70, "{} bugs", bugs.len());
    let errors = bugs::plant(&bugs, &root.join("src")).err().unwrap_or_default();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}
