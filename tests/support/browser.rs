//! A browser as a child process, controlled with JSON over one WebSocket. Chromium's DevTools
//! protocol and Firefox's WebDriver BiDi have this in common.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::process::WAIT_LIMIT;

/// Only one browser runs at a time: several would slow each other down.
static BROWSER_LOCK: Mutex<()> = Mutex::new(());

/// How one kind of browser is started.
pub struct Kind {
    /// The names under which the executable may be installed.
    pub names: &'static [&'static str],
    /// The package to install if there is no executable.
    pub package: &'static str,
    pub flags: &'static [&'static str],
    /// The flag for the profile directory.
    pub profile_flag: &'static str,
    /// What it prints on standard error before the URL of its WebSocket.
    pub announcement: &'static str,
    /// The path to append to that URL.
    pub path: &'static str,
    /// The contents of `user.js` in the profile. Chromium ignores this file.
    pub preferences: &'static str,
}

pub struct Browser {
    _lock: MutexGuard<'static, ()>,
    child: Child,
    profile: PathBuf,
    socket: WebSocket<TcpStream>,
    next_id: u64,
}

impl Browser {
    pub fn start(kind: &Kind) -> Browser {
        Browser::start_with(kind, &[])
    }

    /// With further flags.
    pub fn start_with(kind: &Kind, flags: &[&str]) -> Browser {
        let lock = BROWSER_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let profile =
            std::env::temp_dir().join(format!("ballcast-{}-{}", kind.package, std::process::id()));
        // A profile that an earlier test left behind.
        let _ = std::fs::remove_dir_all(&profile);
        std::fs::create_dir_all(&profile).unwrap();
        std::fs::write(profile.join("user.js"), kind.preferences).unwrap();
        let mut command = Command::new(program(kind));
        command
            .args(kind.flags)
            .args(flags)
            .arg(kind.profile_flag.to_owned() + profile.to_str().unwrap());
        command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let announced =
            lines.find_map(|line| line.strip_prefix(kind.announcement).map(str::to_owned));
        let url = announced.expect("the browser prints the URL of its WebSocket") + kind.path;
        // A full pipe would block the browser.
        std::thread::spawn(move || lines.for_each(drop));
        let authority = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).unwrap();
        let stream = TcpStream::connect(authority).unwrap();
        stream.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        let (socket, _) = tungstenite::client(&url, stream).unwrap();
        Browser { _lock: lock, child, profile, socket, next_id: 1 }
    }

    /// Sends a request, to which this adds the id, and returns the response.
    pub fn call(&mut self, mut request: Value) -> Value {
        let id = json!(self.next_id);
        self.next_id += 1;
        request["id"] = id.clone();
        self.socket.send(Message::text(request.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap_or_else(|e| panic!("{request}: {e}"));
            let Message::Text(text) = message else { continue };
            let response: Value = serde_json::from_str(&text).unwrap();
            if response["id"] == id {
                assert!(response["error"].is_null(), "{request}: {response}");
                return response["result"].clone();
            }
        }
    }

    /// Sends a signal to all processes of the browser.
    pub fn signal(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Waits until a JavaScript expression is true.
pub fn wait_for(mut evaluate: impl FnMut(&str) -> Value, expression: &str) {
    let end = Instant::now() + WAIT_LIMIT;
    while evaluate(expression) != json!(true) {
        if Instant::now() > end {
            let page = evaluate("document.body?.innerText");
            panic!("{expression} stays false; the text of the page is {page}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Saves a screenshot under the target directory.
pub fn keep_screenshot(base64: &Value, name: &str) -> PathBuf {
    let png = data_encoding::BASE64.decode(base64.as_str().unwrap().as_bytes()).unwrap();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, png).unwrap();
    path
}

/// The browser's executable. A test whose browser is missing fails, it is not skipped.
fn program(kind: &Kind) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = kind.names.iter().find_map(|name| {
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    });
    let Kind { names, package, .. } = kind;
    found.unwrap_or_else(|| panic!("none of {names:?} is installed: apt-get install {package}"))
}
