//! Persistent record of the sessions at media servers. A process that is killed leaves its sessions behind, and
//! some servers accept no other publisher until they expire, so the next process deletes them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::http::{TARGET_MAX_BYTES, Url};
use crate::publish::{MAX_TARGETS, Target, TargetId};

const FILE: &str = "sessions";
/// Readable by the owner only.
const MODE: u32 = 0o600;
/// The most that [`Sessions::to_text`] returns: a number and two URLs per line.
const MAX_BYTES: usize = MAX_TARGETS * (2 * TARGET_MAX_BYTES + 4);

/// The sessions to delete in the next process. By default they are not written to a file.
///
/// The file has a line for each session: the target's position on the command line, the target's URL and the
/// session's URL, separated by spaces. A process with other targets ignores such a line. As URLs may be secret,
/// only the owner can read the file: it is created anew each time with its mode, and a link in its place, or a
/// file of another user, is neither read nor written.
#[derive(Debug, Default)]
pub struct Sessions {
    file: Option<PathBuf>,
    targets: Vec<Url>,
    kept: BTreeMap<TargetId, Url>,
}

impl Sessions {
    /// Reads the sessions that an earlier process left in this folder. Logs a warning if the file cannot be read.
    pub fn open(folder: &Path, targets: &[Target]) -> Sessions {
        let file = folder.join(FILE);
        let targets: Vec<Url> = targets.iter().map(|target| target.url.clone()).collect();
        let text = read(&file).unwrap_or_else(|error| {
            log::warn!("ignoring the file of sessions at media servers: {error}");
            String::new()
        });
        let kept = text.lines().filter_map(|line| parse(line, &targets)).collect();
        Sessions { file: Some(file), targets, kept }
    }

    /// The current sessions.
    pub fn kept(&self) -> &BTreeMap<TargetId, Url> {
        &self.kept
    }

    /// Sets or removes the session at a target. Replaces the file as a whole, without fsync(2), which would
    /// block the loop.
    ///
    /// # Errors
    /// The file cannot be written, and is unchanged.
    pub fn keep(&mut self, id: TargetId, session: Option<Url>) -> io::Result<()> {
        match session {
            Some(session) => self.kept.insert(id, session),
            None => self.kept.remove(&id),
        };
        let Some(file) = &self.file else { return Ok(()) };
        if self.kept.is_empty() {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let new = file.with_extension("new");
        // Left by a process that was killed while writing, or created by somebody else.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // O_EXCL does not follow links (open(2)).
        let mut options = OpenOptions::new();
        let mut opened = options.write(true).create_new(true).mode(MODE).open(&new)?;
        opened.write_all(self.to_text().as_bytes())?;
        fs::rename(new, file)
    }

    fn to_text(&self) -> String {
        let line = |(id, session): (&TargetId, &Url)| {
            let target = self.targets.get(id.0)?;
            Some(format!("{} {target} {session}\n", id.0))
        };
        self.kept.iter().filter_map(line).collect()
    }
}

/// Reads the file. Empty if there is none.
///
/// # Errors
/// The file cannot be read, or is not one that this program writes: a link, a pipe, or a file of another user.
fn read(file: &Path) -> io::Result<String> {
    let mut options = OpenOptions::new();
    // Without O_NONBLOCK, opening a named pipe blocks.
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let opened = match options.open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        opened => opened?,
    };
    let metadata = opened.metadata()?;
    if !metadata.is_file() || metadata.uid() != geteuid().as_raw() {
        let what = "the file does not belong to the user that this program runs as";
        return Err(io::Error::new(ErrorKind::PermissionDenied, what));
    }
    let mut text = String::new();
    opened.take(MAX_BYTES as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// Parses a line. `None` if it is not valid, or belongs to another target.
fn parse(line: &str, targets: &[Url]) -> Option<(TargetId, Url)> {
    let [number, target, session] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let number: usize = number.parse().ok()?;
    let is_known = targets.get(number)?.to_string() == target;
    is_known.then_some((TargetId(number), Url::parse(session).ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::driver::test_folder::TestFolder;

    const TARGETS: [&str; 2] = ["http://one.example/whip?key=a", "http://two.example/whip"];

    fn targets(urls: &[&str]) -> Vec<Target> {
        urls.iter().map(|url| Target { url: url_of(url), token: None }).collect()
    }

    fn url_of(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_next_process_knows_the_sessions_that_are_left() {
        let folder = TestFolder::new("sessions-next");
        let open = || Sessions::open(&folder.0, &targets(&TARGETS));
        let session = url_of("http://two.example/session/1");
        let mut first = open();
        assert!(first.kept().is_empty());
        first.keep(TargetId(0), Some(url_of("http://one.example/session/1"))).unwrap();
        first.keep(TargetId(1), Some(session.clone())).unwrap();
        first.keep(TargetId(0), None).unwrap();
        let mut second = open();
        assert_eq!(second.kept(), &BTreeMap::from([(TargetId(1), session)]));
        let file = folder.0.join(FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        second.keep(TargetId(1), None).unwrap();
        assert!(!file.exists());
        second.keep(TargetId(1), None).unwrap();
        assert!(open().kept().is_empty());
    }

    #[test]
    fn a_file_or_link_in_the_place_of_the_new_file_is_replaced_and_not_written() {
        let folder = TestFolder::new("sessions-links");
        let new = folder.0.join("sessions.new");
        let other = folder.0.join("other");
        let session = url_of("http://one.example/session/1");
        let keep = || {
            let mut sessions = Sessions::open(&folder.0, &targets(&TARGETS));
            sessions.keep(TargetId(0), Some(session.clone())).unwrap();
            let metadata = fs::symlink_metadata(folder.0.join(FILE)).unwrap();
            assert!(metadata.is_file());
            assert_eq!(metadata.permissions().mode() & 0o7777, MODE);
            assert!(!new.exists());
        };
        fs::write(&other, "theirs").unwrap();
        symlink(&other, &new).unwrap();
        keep();
        fs::write(&new, "stale").unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o666)).unwrap();
        keep();
        fs::hard_link(&other, &new).unwrap();
        keep();
        symlink("/nowhere/at/all", &new).unwrap();
        keep();
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
    }

    #[test]
    fn a_link_or_a_pipe_in_the_place_of_the_file_is_not_read() {
        let folder = TestFolder::new("sessions-planted");
        let (file, other) = (folder.0.join(FILE), folder.0.join("other"));
        let line = format!("0 {0} http://one.example/session/1\n", TARGETS[0]);
        fs::write(&other, line).unwrap();
        let open = || Sessions::open(&folder.0, &targets(&TARGETS));
        symlink(&other, &file).unwrap();
        assert!(open().kept().is_empty());
        fs::remove_file(&file).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
        assert!(fifo.success());
        assert!(open().kept().is_empty());
        fs::rename(&other, &file).unwrap();
        assert_eq!(open().kept().len(), 1);
    }

    #[test]
    fn sessions_of_another_command_line_are_ignored() {
        let folder = TestFolder::new("sessions-others");
        let mut sessions = Sessions::open(&folder.0, &targets(&TARGETS));
        sessions.keep(TargetId(0), Some(url_of("http://one.example/session/1"))).unwrap();
        for others in [&[][..], &TARGETS[1..], &["http://one.example/whip?key=b"]] {
            assert!(Sessions::open(&folder.0, &targets(others)).kept().is_empty(), "{others:?}");
        }
    }

    #[test]
    fn an_invalid_file_is_ignored() {
        let folder = TestFolder::new("sessions-wrong");
        let one = TARGETS[0];
        let endless = "x".repeat(2 * MAX_BYTES);
        for text in [
            "",
            "\n\n",
            "0",
            &format!("0 {one}"),
            &format!("0 {one} https://one.example/session/1"),
            &format!("0 {one} /session/1"),
            &format!("0 {one} http://one.example/session/1 more"),
            &format!("2 {one} http://one.example/session/1"),
            &format!("-1 {one} http://one.example/session/1"),
            &endless,
        ] {
            fs::write(folder.0.join(FILE), text).unwrap();
            let sessions = Sessions::open(&folder.0, &targets(&TARGETS));
            assert!(sessions.kept().is_empty(), "{text}");
        }
        fs::write(folder.0.join(FILE), [0xff; 9]).unwrap();
        assert!(Sessions::open(&folder.0, &targets(&TARGETS)).kept().is_empty());
    }

    #[test]
    fn without_a_folder_nothing_is_written_and_a_missing_one_is_an_error() {
        let session = Some(url_of("http://one.example/session/1"));
        Sessions::default().keep(TargetId(0), session.clone()).unwrap();
        let missing = TestFolder::new("sessions-missing").0.join("folder");
        let mut sessions = Sessions::open(&missing, &targets(&TARGETS));
        let error = sessions.keep(TargetId(0), session).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
