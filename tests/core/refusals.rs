//! Every reason for a refusal is known where people and programs meet it: in `packaging/refusals.md`,
//! in the answer that the page shows, and in `/stats`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::world::World;
use ballcast::testing::media::SnapshotError;
use ballcast::testing::server::stats::Statistics;
use ballcast::testing::web::auth::Token;
use ballcast::testing::web::reason::Reason;
use ballcast::testing::web::refusal::Refusal;
use serde_json::Value;

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

#[test]
fn the_page_of_refusals_has_each_reason_and_no_others() {
    let page = read("packaging/refusals.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let mut explained: Vec<&str> =
        cells.flat_map(|cell| cell.split(", ")).map(|name| name.trim().trim_matches('`')).collect();
    let mut names: Vec<&str> = Reason::all().map(Reason::name).collect();
    explained.sort_unstable();
    names.sort_unstable();
    assert_eq!(explained, names);
}

#[test]
fn the_page_shows_the_sentence_of_each_reason_and_knows_no_others() {
    let page = read("static/ballcast.js");
    assert!(page.contains("problem.detail"), "the page shows the sentence of an answer");
    let names: BTreeSet<&str> = Reason::all().map(Reason::name).collect();
    let compared = page.split("reason === '").skip(1);
    let compared: Vec<&str> = compared.filter_map(|rest| rest.split('\'').next()).collect();
    assert!(!compared.is_empty(), "the page treats some reasons in particular");
    assert!(compared.iter().all(|name| names.contains(name)), "{compared:?}");
    for reason in Reason::all() {
        let answer = Refusal::new(400, reason, "What to do.").into_response(false);
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["reason"], reason.name());
        assert_eq!(problem["detail"], "What to do.");
    }
}

#[test]
fn the_statistics_count_each_reason_by_its_name() {
    let refusals = Reason::all().zip(1..).collect();
    let json = Statistics { refusals, ..Statistics::default() }.to_json();
    let counted = json["refusals"].as_object().unwrap();
    assert_eq!(counted.len(), Reason::all().count(), "names are unique");
    for (index, reason) in Reason::all().enumerate() {
        assert_eq!(counted[reason.name()], index + 1, "{reason}");
    }
}

/// What a browser accepts of an address that a person has opened.
const NAVIGATION: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";

#[test]
fn a_person_reads_a_page_with_one_sentence_and_a_program_gets_a_problem_document() {
    let mut world = World::configured(|config| config.token = Token::parse("open-sesame"));
    let mut ask = |what: &str, headers: &str| {
        let request = format!("{what} HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n");
        let answer = world.http_raw("10.0.9.9:9".parse().unwrap(), request.as_bytes());
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    };
    let own = "Host: camera\r\n";
    for (what, host, words) in [
        ("GET /", "Host: elsewhere\r\n", "to the name elsewhere."),
        ("GET /nowhere", own, "The picture is at /."),
        ("GET /offer", own, "This path accepts only POST"),
        ("GET /stats", own, "requires a token"),
        ("GET /snapshot.jpg", own, "add ?token="),
        ("GET /stream.mjpg?token=some-other", own, "The token is wrong."),
        ("POST /offer", "Host: camera\r\nOrigin: null\r\n", "Pages of other sites"),
    ] {
        for accept in ["", "Accept: */*\r\n", "Accept: application/json, text/html;q=0\r\n"] {
            let (head, body) = ask(what, &format!("{host}{accept}"));
            assert_eq!(head.matches("Content-Type: ").count(), 1, "{head}");
            assert!(head.contains("Content-Type: application/problem+json"), "{what} {head}");
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert!(problem["detail"].as_str().unwrap().contains(words), "{what} {problem}");
        }
        let (head, body) = ask(what, &format!("{host}{NAVIGATION}"));
        assert_eq!(head.matches("Content-Type: ").count(), 1, "{head}");
        assert!(head.contains("Content-Type: text/html; charset=utf-8"), "{what} {head}");
        assert!(head.contains("frame-ancestors *\r\n"), "in a frame, too: {head}");
        let (_, sentence) = body.split_once("<p>").unwrap();
        let (sentence, _) = sentence.split_once("</p>").unwrap();
        println!("{what}: {sentence}");
        assert!(sentence.contains(words) && sentence.ends_with('.'), "{what} {sentence}");
        assert!(!sentence.contains("--") && !sentence.contains("Authorization"), "{sentence}");
    }
    let (head, body) = ask("HEAD /nowhere", &format!("{own}{NAVIGATION}"));
    assert!(head.contains("Content-Type: text/html") && body.is_empty(), "{head}");
    let (head, _) = ask("GET /health", &format!("{own}{NAVIGATION}"));
    assert!(head.contains("Content-Type: text/plain"), "what is no refusal stays: {head}");
}

/// A sentence may repeat what a request has said.
#[test]
fn a_page_has_no_markup_of_others() {
    let refusal = Refusal::new(400, Reason::OfferMalformed, "No <b> & no <script>.");
    let page = String::from_utf8(refusal.into_response(true).body.to_vec()).unwrap();
    assert!(page.contains("<p>No &lt;b> &amp; no &lt;script>.</p>"), "{page}");
}

#[test]
fn a_person_who_has_waited_for_a_picture_reads_a_page() {
    let mut world = World::new();
    world.snapshot = Some(|_, _| Err(SnapshotError::NoPicture));
    let request = format!("GET /snapshot.jpg HTTP/1.1\r\nHost: camera\r\n{NAVIGATION}\r\n");
    let answer = world.http_raw("10.0.9.9:9".parse().unwrap(), request.as_bytes());
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("<p>There is no"), "{answer}");
}
