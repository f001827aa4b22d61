//! Bugs as patch files: a head with their name and the rules that find them, then a unified diff.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Patch {
    file: PathBuf,
    pub name: String,
    /// Rules of the simulator, any of which may find the bug; S13 is a panic, which includes the
    /// core's own invariants. Or `scenario` and the name of the scenario that finds it.
    #[allow(dead_code, reason = "for the test that plants them")]
    pub found_by: Vec<String>,
}

/// The patches of `tests/planted/`, by file name.
pub fn all(root: &Path) -> Vec<Patch> {
    let directory = fs::read_dir(root.join("tests/planted")).unwrap();
    let files = directory.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|it| it == "patch")).collect();
    files.sort();
    files.into_iter().map(Patch::read).collect()
}

impl Patch {
    fn read(file: PathBuf) -> Patch {
        let text = fs::read_to_string(&file).unwrap();
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("{} has no line {key}", file.display())).to_owned()
        };
        let found_by = value("found by: ");
        let found_by = match found_by.strip_prefix("scenario ") {
            Some(_) => vec![found_by],
            None => found_by.split(' ').map(str::to_owned).collect(),
        };
        Patch { name: value("name: "), found_by, file }
    }

    #[allow(dead_code, reason = "for the test that plants them")]
    pub fn file_name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether it fits the source in `root` line by line, without changing anything.
    #[allow(dead_code, reason = "for the ordinary test")]
    pub fn check(&self, root: &Path) -> Result<(), String> {
        self.run(root, &["--dry-run"])
    }

    #[allow(dead_code, reason = "for the test that plants them")]
    pub fn apply(&self, root: &Path) -> Result<(), String> {
        self.run(root, &[])
    }

    fn run(&self, root: &Path, flags: &[&str]) -> Result<(), String> {
        let output = Command::new("patch")
            .args(["--strip=1", "--fuzz=0", "--force", "--silent"])
            .args(flags)
            .current_dir(root)
            .stdin(Stdio::from(File::open(&self.file).unwrap()))
            .output()
            .expect("the program patch is installed");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{}: {said}", self.name)) }
    }
}
