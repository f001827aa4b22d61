//! The page inside pages of others: out of sight, small, and in a sandbox.

use std::time::Duration;

use serde_json::json;

use super::{check_stage, open_with, with_port};
use crate::support::chromium::Chromium;
use crate::support::process::Server;
use crate::support::scripts::LIVE;
use crate::support::site;

/// Longer than a connection without a picture is kept.
const OUT_OF_SIGHT: Duration = Duration::from_secs(17);

/// Chromium makes no frame callbacks there.
#[test]
fn a_frame_out_of_sight_keeps_its_connection() {
    let server = Server::start(&[]);
    let frame =
        |id: &str| format!("<iframe id='{id}' src='{}' width='400'></iframe>", server.url());
    let page = format!("{}<div style='height: 9000px'></div>{}", frame("seen"), frame("unseen"));
    let site = site::serve("127.0.0.1", &page);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&format!("http://{site}/"));
    server.wait_for("both frames have a picture", |stats| {
        let viewers = stats["viewers"].as_array().unwrap();
        viewers.len() == 2 && viewers.iter().all(|viewer| viewer["frames_sent"].as_u64() > Some(30))
    });
    for style in ["marginTop = '5000px'", "display = 'none'"] {
        chromium.evaluate(&tab, &format!("document.querySelector('#seen').style.{style}"));
        std::thread::sleep(OUT_OF_SIGHT / 2);
    }
    let stats = server.stats();
    assert_eq!((&stats["viewers_served"], &stats["viewers_ended"]), (&json!(2), &json!({})));
}

#[test]
fn a_failure_can_be_read_in_a_small_frame() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = open_with(&mut chromium, &with_port(9), &server.url());
    check_stage(&mut chromium, &tab, "udp-blocked", &["non-proxied UDP"]);
    for (width, height) in [(200, 150), (300, 200), (240, 600), (800, 120)] {
        chromium.set_viewport(&tab, width, height, false);
        let legible = "(() => {
            const message = document.querySelector('.message');
            const { top, bottom, left, right } = message.getBoundingClientRect();
            if (top < 0 || left < 0 || bottom > innerHeight || right > innerWidth) return 'outside';
            const size = parseFloat(getComputedStyle(document.querySelector('#status')).fontSize);
            if (size < 12) return `${size} px`;
            for (const end of ['#status', '#next']) {
                document.querySelector(end).scrollIntoView({ block: 'nearest' });
                const line = document.querySelector(end).getBoundingClientRect();
                const y = end === '#next' ? line.bottom - 4 : line.top + 4;
                const there = document.elementFromPoint((line.left + line.right) / 2, y);
                if (!message.contains(there)) return `${end} is behind ${there?.className}`;
            }
            return 'legible';
        })()";
        chromium.wait_for(&tab, &format!("({legible}) === 'legible'"));
        chromium.screenshot(&tab, &format!("small-{width}x{height}.png"));
    }
}

#[test]
fn a_sandboxed_frame_says_what_it_lacks() {
    // Of another site, so that Chromium gives each frame a process of its own.
    let site =
        format!("http://localhost:{}", site::serve("127.0.0.1", "<p>Another site</p>").port());
    let server = Server::start(&["--allow-origin", &site]);
    let mut chromium = Chromium::start();
    let open = |chromium: &mut Chromium, sandbox: &str| {
        let tab = chromium.open(&format!("{site}/"));
        chromium.wait_for(&tab, "document.readyState === 'complete'");
        let add = format!(
            "document.body.innerHTML =
                `<iframe sandbox='{sandbox}' src='{}' width='200' height='150'></iframe>`",
            server.url()
        );
        chromium.evaluate(&tab, &add);
        tab
    };
    for (sandbox, class, words) in [
        ("", "not-loaded", "a sandboxed frame needs allow-scripts and allow-same-origin"),
        (
            "allow-scripts",
            "not-loaded",
            "a sandboxed frame needs allow-scripts and allow-same-origin",
        ),
        ("allow-same-origin", "message", "a sandboxed frame needs allow-scripts"),
    ] {
        let tab = open(&mut chromium, sandbox);
        let frame = chromium.frame(&tab);
        let shown = format!(
            "(() => {{ const shown = document.elementFromPoint(100, 60);
                return shown?.className === '{class}' && shown.innerText.includes('{words}'); }})()"
        );
        chromium.wait_for(&frame, &shown);
        chromium.screenshot(&tab, &format!("sandbox-{sandbox}.png"));
        chromium.close(&tab);
    }
    // And with what it needs, it plays.
    open(&mut chromium, "allow-scripts allow-same-origin");
    server.wait_for("it plays", |stats| stats["viewers"][0]["frames_sent"].as_u64() > Some(30));
}

#[test]
fn the_title_of_the_page_tells_servers_on_one_host_apart() {
    let mut chromium = Chromium::start();
    for (flags, name) in
        [(&[][..], None), (&["--title", "Porch & <b>yard"], Some("Porch & <b>yard"))]
    {
        let server = Server::start(flags);
        let tab = chromium.open(&server.url());
        chromium.wait_for(&tab, LIVE);
        let address = server.address.to_string();
        let title = format!("Live · {}", name.unwrap_or(&address));
        assert_eq!(chromium.evaluate(&tab, "document.title"), title);
    }
}
