//! Does the simulator find bugs? Each of these is planted in a copy of the source, alone, and has
//! to be found within 500 seeds by a rule that it is meant for.
//!
//! Run by name: `cargo test --test planted`; `PLANTED=name` plants one of them.

use std::path::Path;
use std::process::{Command, ExitCode};

const SEEDS: &str = "1..501";

struct Bug {
    name: &'static str,
    /// The rules that may find it; S13 is a panic, from the core's own invariants too. Or the story
    /// that does.
    rules: &'static [&'static str],
    /// File, what is there, what is there instead.
    edits: &'static [(&'static str, &'static str, &'static str)],
}

const BUGS: &[Bug] = &[
    Bug {
        name: "the gate is open from the start",
        rules: &["S1"],
        edits: &[(
            "src/webrtc/viewer.rs",
            "if !self.gate_open {",
            "if !self.gate_open && self.counters.frames > 0 {",
        )],
    },
    Bug {
        name: "a failed send does not shut the gate",
        rules: &["S2"],
        edits: &[("src/server/mod.rs", "seat.viewer.shut_gate();", "")],
    },
    Bug {
        name: "key frames skip a sequence number",
        rules: &["S3"],
        edits: &[(
            "src/webrtc/rtp/stream.rs",
            "let mut rest = frame.packets.clone();",
            "self.next += u64::from(frame.keyframe && self.packets > 0);
        let mut rest = frame.packets.clone();",
        )],
    },
    Bug {
        name: "timestamps run backwards",
        rules: &["S3"],
        edits: &[(
            "src/webrtc/rtp/stream.rs",
            "packet.timestamp.wrapping_add(self.format.timestamp_offset)",
            "self.format.timestamp_offset.wrapping_sub(packet.timestamp)",
        )],
    },
    Bug {
        name: "candidates of the offer are believed",
        rules: &["S4"],
        edits: &[
            ("src/sdp/offer.rs", "    pub ice_lite: bool,\n", "    pub ice_lite: bool,\n    pub candidates: Vec<String>,\n"),
            (
                "src/sdp/offer.rs",
                "            ice_lite: self.session.has(\"ice-lite\"),",
                "            ice_lite: self.session.has(\"ice-lite\"),
            candidates: video.values(\"candidate\").map(|c| format!(\"candidate:{c}\")).collect(),",
            ),
            (
                "src/webrtc/transport.rs",
                "ice.set_remote_credentials(peer.credentials.clone());",
                "ice.set_remote_credentials(peer.credentials.clone());
        for candidate in &peer.candidates {
            ice.add_remote_candidate(Candidate::from_sdp_string(candidate).unwrap());
        }",
            ),
        ],
    },
    Bug {
        name: "what is not understood is sent back",
        rules: &["S4", "S5"],
        edits: &[(
            "src/server/mod.rs",
            "if recipient.is_none() {",
            "if recipient.is_none() {
                let path = Path { source: destination, destination: source };
                self.outbox.push_back(Output::Transmit(path.transmit(contents.to_vec())));",
        )],
    },
    Bug {
        name: "an error of DTLS ends the viewer",
        rules: &["S6"],
        edits: &[(
            "src/webrtc/transport.rs",
            "if let Err(error) = &handled {",
            "if let Err(error) = &handled {
                self.events.push_back(Event::Failed);",
        )],
    },
    Bug {
        name: "one viewer too many",
        rules: &["S13"],
        edits: &[(
            "src/server/mod.rs",
            "self.viewers.len() >= limits.viewers",
            "self.viewers.len() > limits.viewers",
        )],
    },
    Bug {
        name: "one half-open viewer too many",
        rules: &["S13"],
        edits: &[("src/server/mod.rs", ">= limits.half_open", "> limits.half_open")],
    },
    Bug {
        name: "delta frames are held back for a while",
        rules: &["S8"],
        edits: &[
            ("src/server/mod.rs", "    outbox: VecDeque<Output>,\n", "    outbox: VecDeque<Output>,\n    held: VecDeque<Frame>,\n"),
            ("src/server/mod.rs", "            outbox: VecDeque::new(),\n", "            outbox: VecDeque::new(),\n            held: VecDeque::new(),\n"),
            (
                "src/server/mod.rs",
                "Input::Frame(frame) => self.frame(now, &frame),",
                "Input::Frame(frame) => {
                    if frame.is_keyframe() {
                        self.held.clear();
                        self.frame(now, &frame);
                    } else {
                        self.held.push_back(frame);
                    }
                    if self.held.len() > 4 {
                        let frame = self.held.pop_front().unwrap();
                        self.frame(now, &frame);
                    }
                }",
            ),
        ],
    },
    Bug {
        name: "after a framing error the rest is parsed",
        rules: &["S9"],
        edits: &[(
            "src/http/connection.rs",
            "self.phase = Phase::answer(Some(refusal.response()), method, Next::Close);",
            "self.phase = Phase::answer(Some(refusal.response()), method, Next::Head { after_bytes: 0 });",
        )],
    },
    Bug {
        name: "two pictures in one tick",
        rules: &["S11"],
        edits: &[(
            "src/server/mod.rs",
            "self.outbox.push_back(Output::Capture(codecs));",
            "self.outbox.push_back(Output::Capture(codecs.clone())); self.outbox.push_back(Output::Capture(codecs));",
        )],
    },
    Bug {
        name: "the clock runs on when nobody watches",
        rules: &["S11", "S13"],
        edits: &[("src/server/mod.rs", "            self.clock.stop();\n", "")],
    },
    Bug {
        name: "the clock's next tick is the last one",
        rules: &["S10", "S11", "S13"],
        edits: &[(
            "src/server/frame_clock.rs",
            "passed.max(running.next_tick) + 1",
            "passed.max(running.next_tick)",
        )],
    },
    Bug {
        name: "a connection is closed twice",
        rules: &["S12"],
        edits: &[(
            "src/server/mod.rs",
            "                http::Event::Close => {\n                    self.outbox.push_back(Output::Close(id));",
            "                http::Event::Close => {\n                    self.outbox.push_back(Output::Close(id));
                    self.outbox.push_back(Output::Close(id));",
        )],
    },
    Bug {
        name: "a connection is never closed",
        rules: &["S12"],
        edits: &[(
            "src/server/mod.rs",
            "                http::Event::Close => {\n                    self.outbox.push_back(Output::Close(id));",
            "                http::Event::Close => {",
        )],
    },
    Bug {
        name: "an ordinary thing is logged as an error",
        rules: &["S13"],
        edits: &[("src/server/mod.rs", "log::info!(\"{id} asks from {}\"", "log::error!(\"{id} asks from {}\"")],
    },
    Bug {
        name: "no key frame for a viewer that joins",
        rules: &["L1"],
        edits: &[("src/server/mod.rs", "keyframes.viewer_joined();", "")],
    },
    Bug {
        name: "PLI is not heard",
        rules: &["L2"],
        edits: &[(
            "src/server/mod.rs",
            "Effect::KeyframeRequested => keyframes.request(),",
            "Effect::KeyframeRequested => {}",
        )],
    },
    Bug {
        name: "a storm of PLI is answered in full",
        rules: &["L2"],
        edits: &[(
            "src/server/keyframes.rs",
            "self.granted[0].is_none_or(|oldest| now >= oldest + WINDOW)",
            "now.elapsed() < WINDOW * 1_000",
        )],
    },
    Bug {
        name: "a viewer that comes back stays silent",
        rules: &["L3"],
        edits: &[(
            "src/webrtc/viewer.rs",
            "if self.state == State::Silent {\n            self.state = State::Live;",
            "if self.state == State::Silent {",
        )],
    },
    Bug {
        name: "a viewer that moves is not followed",
        rules: &["story a-phone-changes-network"],
        edits: &[("src/server/mod.rs", "if answers && viewer.has_moved", "if false && answers && viewer.has_moved")],
    },
    Bug {
        name: "a silent viewer that is back waits until it asks",
        rules: &["story the-wi-fi-drops-for-five-seconds"],
        edits: &[
            (
                "src/server/mod.rs",
                "log::info!(\"{id} is back\");\n            keyframes.request();",
                "log::info!(\"{id} is back\");",
            ),
            ("src/server/mod.rs", "            if *missed {\n", "            if *missed && false {\n"),
        ],
    },
    Bug {
        name: "a goodbye is not heard",
        rules: &["L4"],
        edits: &[("src/webrtc/viewer.rs", "Event::Closed => self.end(now, Ending::Left),", "Event::Closed => {}")],
    },
    Bug {
        name: "a silent viewer gets media for 8 s",
        rules: &["L4"],
        edits: &[("src/webrtc/viewer.rs", "SILENT_AFTER: Duration = Duration::from_secs(5)", "SILENT_AFTER: Duration = Duration::from_secs(8)")],
    },
    Bug {
        name: "a vanished viewer is kept for 30 s",
        rules: &["L4"],
        edits: &[("src/webrtc/viewer.rs", "Duration::from_millis(9_500)", "Duration::from_millis(30_000)")],
    },
    Bug {
        name: "a half-open viewer is kept for 30 s",
        rules: &["L4"],
        edits: &[("src/webrtc/viewer.rs", "HALF_OPEN_LIMIT: Duration = Duration::from_secs(10)", "HALF_OPEN_LIMIT: Duration = Duration::from_secs(30)")],
    },
    Bug {
        name: "a timer outlives its connection",
        rules: &["S13", "L5"],
        edits: &[(
            "src/server/mod.rs",
            "fn forget_connection(&mut self, id: ConnId) {\n        self.schedule.set(Timer::Connection(id), None);",
            "fn forget_connection(&mut self, id: ConnId) {",
        )],
    },
    Bug {
        name: "among many viewers nobody gets delta frames after a while",
        rules: &["L6"],
        edits: &[(
            "src/server/mod.rs",
            "        let FanOut { now, codec, frame, next, missed } = &mut fan_out;",
            "        let FanOut { now, codec, frame, next, missed } = &mut fan_out;
        if !frame.keyframe && self.viewers.len() > 5 && *now - self.started > Duration::from_secs(20) {
            return None;
        }",
        )],
    },
    Bug {
        name: "frames go to viewers of the other codec, too",
        rules: &["S1", "S2", "S3"],
        edits: &[(
            "src/server/mod.rs",
            "rest.find(|(_, seat)| seat.viewer.codec() == *codec)",
            "rest.next()",
        )],
    },
    Bug {
        name: "a forged check takes an address away",
        rules: &["S5", "S6"],
        edits: &[(
            "src/server/mod.rs",
            "if !viewer.authenticates(&message) {\n            return None;\n        }",
            "",
        )],
    },
];

fn main() -> ExitCode {
    let only = std::env::var("PLANTED").ok();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
    let wanted = BUGS.iter().filter(|bug| only.as_deref().is_none_or(|name| name == bug.name));
    let (mut found, mut missed) = (0, 0);
    for bug in wanted {
        lay_out(root, &copy);
        for (file, before, after) in bug.edits {
            let path = copy.join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.matches(before).count(), 1, "{}: {before}", bug.name);
            std::fs::write(&path, text.replace(before, after)).unwrap();
        }
        match simulate(&copy, bug.rules) {
            Some(failure) => {
                found += 1;
                println!("found  {}: {failure}", bug.name);
            }
            None => {
                missed += 1;
                println!("MISSED {} by {:?}", bug.name, bug.rules);
            }
        }
    }
    println!("{found} passed, {missed} failed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A copy of everything that the simulator is built from.
fn lay_out(root: &Path, copy: &Path) {
    for directory in ["src", "static", "tests", "benches", "fuzz/src", "fuzz/targets"] {
        let _ = std::fs::remove_dir_all(copy.join(directory));
        copy_directory(&root.join(directory), &copy.join(directory));
    }
    for file in ["Cargo.toml", "Cargo.lock", "fuzz/Cargo.toml"] {
        std::fs::copy(root.join(file), copy.join(file)).unwrap();
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The first failure of one of the rules that the simulator finds in the copy.
fn simulate(copy: &Path, rules: &[&str]) -> Option<String> {
    let story = rules.iter().find_map(|rule| rule.strip_prefix("story "));
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["test", "--locked", "--profile", "sim", "--no-default-features", "--test", "sim"])
        .current_dir(copy)
        // One of its own: what is built from the copy must never pass for the original.
        .env("CARGO_TARGET_DIR", copy.join("target"));
    match story {
        Some(name) => command.env("SIM_STORY", name),
        None => command.env("SIM_SEEDS", SEEDS).env("SIM_STOP", rules.join(",")),
    };
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("could not compile"), "{errors}");
    let mut failures = text.lines().filter_map(|line| line.split_once(" FAILED: "));
    let by_rule = |what: &str| rules.contains(&what.split(':').next().unwrap_or_default());
    let (run, what) = failures.find(|(_, what)| story.is_some() || by_rule(what))?;
    Some(format!("{what} ({run})"))
}
