//! Firefox, headless, driven over WebDriver BiDi: JSON over one WebSocket.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::process::PATIENCE;

const NAMES: [&str; 2] = ["firefox-esr", "firefox"];

/// A profile that keeps to itself, and has no H.264: its plug-in would come from the internet.
const PREFERENCES: &str = r#"
user_pref("app.normandy.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.region.update.enabled", false);
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("extensions.systemAddon.update.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("media.gmp-gmpopenh264.enabled", false);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "http://127.0.0.1:9/");
user_pref("toolkit.telemetry.enabled", false);
"#;

pub struct Firefox {
    child: Child,
    profile: PathBuf,
    socket: WebSocket<TcpStream>,
    next_id: u64,
    /// The one tab.
    context: Value,
}

impl Firefox {
    pub fn start() -> Firefox {
        let profile = std::env::temp_dir().join(format!("ballcast-firefox-{}", std::process::id()));
        std::fs::create_dir_all(&profile).unwrap();
        std::fs::write(profile.join("user.js"), PREFERENCES).unwrap();
        let mut command = Command::new(program());
        command.args(["--headless", "--no-remote", "--remote-debugging-port=0", "--profile"]);
        command.arg(&profile).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let announced =
            lines.find_map(|l| l.strip_prefix("WebDriver BiDi listening on ").map(str::to_owned));
        let url = announced.expect("Firefox says where it listens");
        // A full pipe would stop the browser.
        std::thread::spawn(move || lines.for_each(drop));
        let stream = TcpStream::connect(url.strip_prefix("ws://").unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(format!("{url}/session"), stream).unwrap();
        let mut firefox = Firefox { child, profile, socket, next_id: 1, context: Value::Null };
        firefox.call("session.new", json!({"capabilities": {}}));
        let tabs = firefox.call("browsingContext.getTree", json!({}));
        firefox.context = tabs["contexts"][0]["context"].clone();
        firefox
    }

    pub fn navigate(&mut self, url: &str) {
        let to = json!({"context": self.context, "url": url, "wait": "interactive"});
        self.call("browsingContext.navigate", to);
    }

    /// The value of a JavaScript expression; a promise is awaited.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({
            "expression": format!("(async () => JSON.stringify(await ({expression}) ?? null))()"),
            "target": {"context": self.context},
            "awaitPromise": true,
        });
        let result = self.call("script.evaluate", parameters);
        assert_eq!(result["type"], "success", "{expression}: {result}");
        serde_json::from_str(result["result"]["value"].as_str().unwrap()).unwrap()
    }

    /// Waits until an expression is true.
    pub fn wait_for(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.evaluate(expression) != json!(true) {
            if Instant::now() > end {
                let page = self.evaluate("document.body?.innerText");
                panic!("{expression} stays false; the page says {page}");
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Keeps a screenshot as an artefact of the run.
    pub fn screenshot(&mut self, name: &str) -> PathBuf {
        let context = json!({"context": self.context});
        let shot = self.call("browsingContext.captureScreenshot", context);
        let png = data_encoding::BASE64.decode(shot["data"].as_str().unwrap().as_bytes()).unwrap();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        std::fs::write(&path, png).unwrap();
        path
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"id": id, "method": method, "params": parameters});
        self.socket.send(Message::text(request.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap_or_else(|e| panic!("{method}: {e}"));
            let Message::Text(text) = message else { continue };
            let response: Value = serde_json::from_str(&text).unwrap();
            if response["id"] == json!(id) {
                assert_eq!(response["type"], "success", "{method}: {response}");
                return response["result"].clone();
            }
        }
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// A test without its browser fails, it is not skipped.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = NAMES.iter().find_map(|name| {
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    });
    found.unwrap_or_else(|| panic!("none of {NAMES:?} is installed: apt-get install firefox-esr"))
}
