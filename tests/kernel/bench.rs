//! A guest, the browser outside, and what cases do with both.

use serde_json::Value;

use crate::camera::Camera;
use crate::guest::Guest;
use crate::media::CYCLE;
use crate::server::GuestServer;
use crate::support::chromium::{Chromium, Tab};
use crate::support::marker::{self, Mark};
use crate::support::program::free_port;
use crate::support::scripts::LIVE;

/// Marks that are looked at.
const MARKS: usize = 40;
/// What was shown before the pictures, such as words.
const MOST_BEFORE: usize = 20;

pub struct Bench {
    pub suite: &'static str,
    pub guest: Guest,
    ports: Vec<u16>,
    chromium: Option<Chromium>,
    tabs: Vec<Tab>,
}

impl Bench {
    pub fn boot(suite: &'static str) -> Bench {
        // Of two servers.
        let ports = vec![free_port(), free_port()];
        let guest = Guest::boot(suite, &ports);
        Bench { suite, guest, ports, chromium: None, tabs: Vec::new() }
    }

    /// Ends what a case has started, and closes its pages.
    pub fn clear(&mut self) {
        if let Some(chromium) = &mut self.chromium {
            self.tabs.drain(..).for_each(|tab| chromium.close(&tab));
        }
        self.guest.end_all();
    }

    /// Prints what a case that has failed has left.
    pub fn report(&mut self) {
        for job in self.guest.jobs() {
            println!("-- {}:\n{}", job.pid, job.output());
        }
        println!("-- kernel:\n{}", self.guest.run("dmesg | tail -15"));
        let tabs = std::mem::take(&mut self.tabs);
        for (number, tab) in tabs.iter().enumerate() {
            let name = format!("kernel-failed-{number}.png");
            println!("-- page: {}", self.chromium().screenshot(tab, &name).display());
        }
        self.tabs = tabs;
    }

    pub fn camera(&mut self, modes: &[&str]) -> Camera {
        Camera::plug(&mut self.guest, modes)
    }

    pub fn serve(&mut self, flags: &str) -> GuestServer {
        self.serve_at(0, flags)
    }

    /// At one of the two ports that lead to the guest.
    pub fn serve_at(&mut self, port: usize, flags: &str) -> GuestServer {
        GuestServer::start(&mut self.guest, self.ports[port], flags)
    }

    /// As nobody, who is in these groups.
    pub fn serve_as_nobody(&mut self, groups: &str, flags: &str) -> GuestServer {
        self.serve_by(&format!("setpriv --reuid 65534 --regid 65534 {groups}"), flags)
    }

    /// By a command in front that changes what the server may do or finds.
    pub fn serve_by(&mut self, before: &str, flags: &str) -> GuestServer {
        GuestServer::start_as(&mut self.guest, before, self.ports[0], flags)
    }

    pub fn chromium(&mut self) -> &mut Chromium {
        self.chromium.get_or_insert_with(Chromium::start)
    }

    /// Opens the page of a server in a window of its own, and waits until it shows the picture.
    pub fn watch(&mut self, server: &GuestServer) -> Tab {
        let url = server.url();
        let tab = self.chromium().open_window(&url);
        self.tabs.push(tab.clone());
        self.chromium().wait_for(&tab, &format!("{LIVE} && !window.ballcast.error"));
        tab
    }

    pub fn evaluate(&mut self, tab: &Tab, script: &str) -> Value {
        self.chromium().evaluate(tab, script)
    }

    /// How often the page has connected: a viewer that was not interrupted has done so once.
    pub fn connects(&mut self, tab: &Tab) -> Value {
        self.evaluate(tab, "window.ballcast.connects")
    }

    /// Checks that a page shows numbered pictures whole, in order, and none twice.
    pub fn follow(&mut self, tab: &Tab) {
        let chromium = self.chromium();
        let mut evaluate = |script: &str| chromium.evaluate(tab, script);
        marker::record(&mut evaluate);
        let marks = marker::recorded(&mut evaluate, MARKS + MOST_BEFORE);
        let begin = marks.iter().position(Mark::is_whole).filter(|begin| *begin <= MOST_BEFORE);
        let begin = begin.unwrap_or_else(|| panic!("no marks: {marks:?}"));
        let steps = marker::steps(&marks[begin..], CYCLE);
        println!("   steps from picture to picture: {steps:?}");
        // A busy browser draws the next picture in place of one, and that once more in its own turn.
        let twice = |pair: &[i64]| pair[1] == 0 && pair[0] < 2;
        assert!(!steps.windows(2).any(twice), "a picture is shown twice: {steps:?}");
        assert_eq!(self.connects(tab), 1);
    }
}
