//! Chromium, headless, driven over its DevTools protocol: JSON over one WebSocket.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::browser::{self, Browser, Kind};
use super::process::WAIT_LIMIT;

const KIND: Kind = Kind {
    names: &["chromium", "chromium-browser", "google-chrome", "chrome"],
    package: "chromium",
    flags: &[
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--remote-debugging-port=0",
        "about:blank",
    ],
    profile_flag: "--user-data-dir=",
    announcement: "DevTools listening on ",
    path: "",
    preferences: "",
};

pub struct Chromium {
    browser: Browser,
}

/// A tab: a target that the debugger is attached to.
#[derive(Clone)]
pub struct Tab {
    session: String,
    target: String,
}

impl Chromium {
    pub fn start() -> Chromium {
        Chromium::start_with(&[])
    }

    /// With further flags.
    pub fn start_with(flags: &[&str]) -> Chromium {
        Chromium { browser: Browser::start_with(&KIND, flags) }
    }

    /// Opens a page in a new tab.
    pub fn open(&mut self, url: &str) -> Tab {
        let tab = self.open_blank();
        self.navigate(&tab, url);
        tab
    }

    /// Opens a page in a window of its own, where it is in nobody's background.
    pub fn open_window(&mut self, url: &str) -> Tab {
        let tab = self.open_target(true);
        self.navigate(&tab, url);
        tab
    }

    pub fn open_blank(&mut self) -> Tab {
        self.open_target(false)
    }

    fn open_target(&mut self, in_new_window: bool) -> Tab {
        let target = json!({"url": "about:blank", "newWindow": in_new_window});
        let target = self.call(None, "Target.createTarget", target);
        let target = target["targetId"].as_str().unwrap().to_owned();
        let attach = json!({"targetId": target, "flatten": true});
        let attached = self.call(None, "Target.attachToTarget", attach);
        let tab = Tab { session: attached["sessionId"].as_str().unwrap().to_owned(), target };
        self.tab_call(&tab, "Page.enable", json!({}));
        tab
    }

    pub fn navigate(&mut self, tab: &Tab, url: &str) {
        let result = self.tab_call(tab, "Page.navigate", json!({"url": url}));
        assert!(result["errorText"].is_null(), "{url}: {result}");
    }

    /// From now on, a certificate that nobody has signed is as good as any.
    pub fn ignore_certificate_errors(&mut self, tab: &Tab) {
        self.tab_call(tab, "Security.setIgnoreCertificateErrors", json!({"ignore": true}));
    }

    pub fn close(&mut self, tab: &Tab) {
        self.call(None, "Target.closeTarget", json!({"targetId": tab.target}));
    }

    /// Runs a script before those of every page that the tab loads from now on.
    pub fn prepare(&mut self, tab: &Tab, script: &str) {
        let method = "Page.addScriptToEvaluateOnNewDocument";
        self.tab_call(tab, method, json!({"source": script}));
    }

    /// The value of a JavaScript expression. A promise is awaited.
    pub fn evaluate(&mut self, tab: &Tab, expression: &str) -> Value {
        let parameters = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": false,
        });
        let result = self.tab_call(tab, "Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn wait_for(&mut self, tab: &Tab, expression: &str) {
        browser::wait_for(|script| self.evaluate(tab, script), expression);
    }

    /// The frame in a page that Chromium has put into a process of its own.
    pub fn frame(&mut self, tab: &Tab) -> Tab {
        let end = Instant::now() + WAIT_LIMIT;
        loop {
            let targets =
                self.call(None, "Target.getTargets", json!({"filter": [{"type": "iframe"}]}));
            if let Some(target) = targets["targetInfos"].get(0) {
                let target = target["targetId"].as_str().unwrap().to_owned();
                let attach = json!({"targetId": target, "flatten": true});
                let attached = self.call(Some(&tab.session), "Target.attachToTarget", attach);
                let session = attached["sessionId"].as_str().unwrap().to_owned();
                return Tab { session, target };
            }
            assert!(Instant::now() < end, "no frame has a process of its own");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All texts of the page and of the frames in it that are of its own site.
    pub fn texts(&mut self, tab: &Tab) -> String {
        let snapshot =
            self.tab_call(tab, "DOMSnapshot.captureSnapshot", json!({"computedStyles": []}));
        snapshot["strings"].to_string()
    }

    pub fn set_viewport(&mut self, tab: &Tab, width: u32, height: u32, phone: bool) {
        let metrics = json!({
            "width": width, "height": height, "mobile": phone,
            "deviceScaleFactor": if phone { 2 } else { 1 },
        });
        self.tab_call(tab, "Emulation.setDeviceMetricsOverride", metrics);
    }

    pub fn set_colour_scheme(&mut self, tab: &Tab, scheme: &str) {
        self.set_preference(tab, "prefers-color-scheme", scheme);
    }

    /// Emulates the value of a media feature like `prefers-reduced-motion`.
    pub fn set_preference(&mut self, tab: &Tab, name: &str, value: &str) {
        let features = json!({"features": [{"name": name, "value": value}]});
        self.tab_call(tab, "Emulation.setEmulatedMedia", features);
    }

    /// Presses and releases a key: `Tab`, `Enter`, `f`.
    pub fn press(&mut self, tab: &Tab, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            " " => (32, " "),
            letter => (u32::from(letter.as_bytes()[0].to_ascii_uppercase()), letter),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.tab_call(tab, "Input.dispatchKeyEvent", event);
        }
    }

    /// Clicks on the middle of an element.
    pub fn click(&mut self, tab: &Tab, selector: &str) {
        let middle = format!(
            "(() => {{ const box = document.querySelector('{selector}').getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let middle = self.evaluate(tab, &middle);
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1,
            });
            self.tab_call(tab, "Input.dispatchMouseEvent", event);
        }
    }

    /// Puts a tab in front of the others, which then are in the background.
    pub fn bring_to_front(&mut self, tab: &Tab) {
        self.tab_call(tab, "Page.bringToFront", json!({}));
    }

    /// Sets the page lifecycle state: `active`, or `frozen` as a browser does to save power.
    pub fn set_lifecycle(&mut self, tab: &Tab, state: &str) {
        self.tab_call(tab, "Page.setWebLifecycleState", json!({"state": state}));
    }

    /// Sends a signal to all processes of the browser.
    pub fn signal(&self, signal: Signal) {
        self.browser.signal(signal);
    }

    /// Saves a screenshot under the target directory.
    pub fn screenshot(&mut self, tab: &Tab, name: &str) -> PathBuf {
        let shot = self.tab_call(tab, "Page.captureScreenshot", json!({"format": "png"}));
        browser::keep_screenshot(&shot["data"], name)
    }

    fn tab_call(&mut self, tab: &Tab, method: &str, parameters: Value) -> Value {
        self.call(Some(&tab.session), method, parameters)
    }

    fn call(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        let mut request = json!({"method": method, "params": parameters});
        if let Some(session) = session {
            request["sessionId"] = json!(session);
        }
        self.browser.call(request)
    }
}
