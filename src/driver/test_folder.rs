//! A folder for the files of one test.

use std::path::PathBuf;

/// Removed when it is dropped.
pub struct TestFolder(pub PathBuf);

impl TestFolder {
    /// Each test uses a name of its own.
    pub fn new(name: &str) -> TestFolder {
        let name = format!("ballcast-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        TestFolder(path)
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
