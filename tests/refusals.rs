//! Every reason for a refusal is known where people and programs meet it: in the README, in the
//! answer that the page shows, and in `/stats`.

use std::collections::BTreeSet;
use std::path::Path;

use ballcast::http::Response;
use ballcast::refusal::Reason;
use ballcast::server::stats::{Counters, Statistics};
use serde_json::Value;

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

#[test]
fn the_readme_names_each_reason() {
    let readme = read("README.md");
    let is_missing = |reason: &&Reason| !readme.contains(&format!("`{}`", reason.name()));
    let missing: Vec<&Reason> = Reason::ALL.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_page_shows_the_sentence_of_each_reason_and_knows_no_others() {
    let page = read("static/ballcast.js");
    assert!(page.contains("problem.detail"), "the page shows the sentence of an answer");
    let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    let compared = page.split("reason === '").skip(1);
    let compared: Vec<&str> = compared.filter_map(|rest| rest.split('\'').next()).collect();
    assert!(!compared.is_empty(), "the page treats some reasons in particular");
    assert!(compared.iter().all(|name| names.contains(name)), "{compared:?}");
    for reason in Reason::ALL {
        let answer = Response::problem(400, *reason, "What to do.");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["reason"], reason.name());
        assert_eq!(problem["detail"], "What to do.");
        assert_eq!(answer.refusal, Some(*reason));
    }
}

#[test]
fn the_statistics_count_each_reason_by_its_name() {
    let mut counters = Counters::default();
    for (index, reason) in Reason::ALL.iter().enumerate() {
        (0..=index).for_each(|_| counters.count_refusal(*reason));
    }
    let json = Statistics {
        uptime: Default::default(),
        stamped: false,
        frames_per_second: Some(30),
        counters,
        sent: Default::default(),
        problem: None,
        viewers: Vec::new(),
        connections: 0,
        mjpeg_clients: 0,
        source: None,
        targets: Vec::new(),
    }
    .to_json();
    let counted = json["refusals"].as_object().unwrap();
    assert_eq!(counted.len(), Reason::ALL.len(), "names are unique");
    for (index, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(counted[reason.name()], index + 1, "{reason}");
    }
}
