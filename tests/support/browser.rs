//! A browser as a child process that is told over one WebSocket, in JSON, what to do. That much
//! Chromium's DevTools and Firefox's WebDriver BiDi have in common.

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

use super::process::PATIENCE;

/// Browsers would take each other's time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How one kind of browser is started.
pub struct Kind {
    /// The names of its program.
    pub names: &'static [&'static str],
    /// What to install if there is none.
    pub package: &'static str,
    pub flags: &'static [&'static str],
    /// Before the directory with its profile.
    pub profile_flag: &'static str,
    /// What it writes before the URL where it listens.
    pub announcement: &'static str,
    /// What that URL lacks.
    pub path: &'static str,
    /// The profile's `user.js`, if it knows such a file.
    pub preferences: &'static str,
}

pub struct Browser {
    _turn: MutexGuard<'static, ()>,
    child: Child,
    profile: PathBuf,
    socket: WebSocket<TcpStream>,
    next_id: u64,
}

impl Browser {
    pub fn start(kind: &Kind) -> Browser {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let profile =
            std::env::temp_dir().join(format!("ballcast-{}-{}", kind.package, std::process::id()));
        // What a test before this one has left.
        let _ = std::fs::remove_dir_all(&profile);
        std::fs::create_dir_all(&profile).unwrap();
        std::fs::write(profile.join("user.js"), kind.preferences).unwrap();
        let mut command = Command::new(program(kind));
        command.args(kind.flags).arg(kind.profile_flag.to_owned() + profile.to_str().unwrap());
        command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let announced =
            lines.find_map(|line| line.strip_prefix(kind.announcement).map(str::to_owned));
        let url = announced.expect("the browser says where it listens") + kind.path;
        // A full pipe would stop the browser.
        std::thread::spawn(move || lines.for_each(drop));
        let authority = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).unwrap();
        let stream = TcpStream::connect(authority).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(&url, stream).unwrap();
        Browser { _turn: turn, child, profile, socket, next_id: 1 }
    }

    /// The response to a request, which gets its id here.
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

    /// To all processes of the browser.
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

/// Waits until a page finds that an expression is true.
pub fn wait_for(mut evaluate: impl FnMut(&str) -> Value, expression: &str) {
    let end = Instant::now() + PATIENCE;
    while evaluate(expression) != json!(true) {
        if Instant::now() > end {
            let page = evaluate("document.body?.innerText");
            panic!("{expression} stays false; the page says {page}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Keeps a screenshot as an artefact of the run.
pub fn keep_screenshot(base64: &Value, name: &str) -> PathBuf {
    let png = data_encoding::BASE64.decode(base64.as_str().unwrap().as_bytes()).unwrap();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, png).unwrap();
    path
}

/// A test without its browser fails, it is not skipped.
fn program(kind: &Kind) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = kind.names.iter().find_map(|name| {
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    });
    let Kind { names, package, .. } = kind;
    found.unwrap_or_else(|| panic!("none of {names:?} is installed: apt-get install {package}"))
}
