//! Firefox, headless, driven over WebDriver BiDi: JSON over one WebSocket.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::browser::{self, Browser, Kind};

const KIND: Kind = Kind {
    names: &["firefox-esr", "firefox"],
    package: "firefox-esr",
    flags: &["--headless", "--no-remote", "--remote-debugging-port=0"],
    profile_flag: "--profile=",
    announcement: "WebDriver BiDi listening on ",
    path: "/session",
    preferences: PREFERENCES,
};

/// A profile without background network traffic, and without H.264: the OpenH264 plug-in would be
/// downloaded from the internet.
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
    browser: Browser,
    /// The browsing context of the only tab.
    context: Value,
}

impl Firefox {
    pub fn start() -> Firefox {
        let mut firefox = Firefox { browser: Browser::start(&KIND), context: Value::Null };
        firefox.call("session.new", json!({"capabilities": {}}));
        let tabs = firefox.call("browsingContext.getTree", json!({}));
        firefox.context = tabs["contexts"][0]["context"].clone();
        firefox
    }

    pub fn navigate(&mut self, url: &str) {
        let to = json!({"context": self.context, "url": url, "wait": "interactive"});
        self.call("browsingContext.navigate", to);
    }

    /// The value of a JavaScript expression. A promise is awaited.
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
        browser::wait_for(|script| self.evaluate(script), expression);
    }

    /// Saves a screenshot under the target directory.
    pub fn screenshot(&mut self, name: &str) -> PathBuf {
        let context = json!({"context": self.context});
        let shot = self.call("browsingContext.captureScreenshot", context);
        browser::keep_screenshot(&shot["data"], name)
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.browser.call(json!({"method": method, "params": parameters}))
    }
}
