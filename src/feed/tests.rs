//! A feed that is told when there are no more bytes for now.

use super::*;

const PERIOD: Duration = Duration::from_millis(33);
const KEY: &[u8] = &[
    0, 0, 0, 1, 0x67, 66, 0xc0, 10, 0xd9, 4, 0x7b, 1, 0x10, 0, 0, 0, 1, 0x68, 0xcb, 0x83, 0xcb,
    0x20, 0, 0, 0, 1, 0x65, 0x88, 0x84, 1, 2,
];
const PICTURE: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 0x38, 3];

/// A picture comes, and no more bytes; how long until it can be shown.
fn delay(feed: &mut Feed, now: Instant, picture: &[u8]) -> Duration {
    feed.handle_event(now, Event::Bytes(picture));
    feed.handle_event(now, Event::Dry);
    let mut at = now;
    while feed.poll_item().is_none() {
        at = feed.poll_timeout().unwrap();
        feed.handle_timeout(at);
    }
    at - now
}

#[test]
fn a_picture_is_not_waited_for_once_the_source_has_shown_that_it_writes_whole_ones() {
    let mut now = Instant::now();
    let mut feed = Feed::new(Config { kind: Kind::Stdin, raw: None }, now);
    feed.handle_timeout(now);
    feed.handle_event(now, Event::Opened);
    assert_eq!(delay(&mut feed, now, KEY), FLUSH_AFTER);
    let mut delays = Vec::new();
    for _ in 0..300 {
        now += PERIOD;
        delays.push(delay(&mut feed, now, PICTURE));
    }
    let waited = delays.iter().position(Duration::is_zero).expect("it is trusted in the end");
    assert!((100..200).contains(&waited), "{waited} pictures");
    assert!(delays[waited..].iter().all(Duration::is_zero));
    assert!(feed.poll_timeout() > Some(now + FLUSH_AFTER), "no timer is left of it");
}
