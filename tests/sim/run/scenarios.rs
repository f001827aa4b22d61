//! Named scenarios, after common complaints about streaming servers. All rules are checked as in
//! every run; each scenario adds the result that its situation must have.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Event, GOOD_DELAY, HEALTHY, Outcome, PAGE_CHECK_INTERVAL, RuleResult, Run};
use crate::options::{Options, SERVER_IPV4};
use crate::rules::rule;

/// A scenario: its name, the number of users, and the function that plays it.
pub type Scenario = (&'static str, usize, fn(&mut Run) -> RuleResult);

pub const SCENARIOS: [Scenario; 11] = [
    ("a-late-joiner-sees-a-picture-at-once", 4, late_joiner),
    ("a-viewer-vanishes-and-nobody-else-notices", 3, vanishing),
    ("the-wi-fi-drops-for-five-seconds", 2, wifi_drop),
    ("a-phone-changes-network", 2, network_change),
    ("the-server-changes-its-address", 2, server_moves),
    ("a-storm-of-pli", 4, pli_storm),
    ("a-page-reloads-every-100-ms", 2, reload_loop),
    ("the-host-sleeps-for-an-hour", 3, host_sleeps),
    ("one-slow-viewer-beside-nine-fast-ones", 10, slow_viewer),
    ("the-server-restarts-under-its-viewers", 3, server_restarts),
    ("somebody-elsewhere-keeps-a-viewer-alive", 2, kept_alive),
];

/// Plays one scenario until all viewers have left.
pub fn play((_, users, scenario): Scenario, verbose: bool) -> Outcome {
    let mut run = Run::new(Options::without_faults(users), verbose);
    run.faults_removed = true;
    run.faults_removed_at = Some(run.now);
    let failure = scenario(&mut run).and_then(|()| run.leave_all()).err();
    run.tally.add(&crate::log::happenings());
    Outcome { trace: run.trace, tally: run.tally, failure }
}

const SETTLED: Duration = Duration::from_secs(2);
const ROUND_TRIP: Duration = Duration::from_millis(2 * GOOD_DELAY.as_millis() as u64);

fn late_joiner(run: &mut Run) -> RuleResult {
    run.all_join(0..3)?;
    run.advance(Duration::from_secs(10))?;
    let joined = run.now;
    run.join(3)?;
    run.advance(SETTLED)?;
    let first = run.frames_since(3, joined).next();
    let wait = first.map(|at| at - joined);
    // The request and its answer, checks, the handshake in two round trips, and a frame's time.
    let limit = Duration::from_millis(40) + ROUND_TRIP * 5 + run.period();
    rule!(wait.is_some_and(|wait| wait <= limit), "the first picture came after {wait:?}");
    (0..3).try_for_each(|user| run.check_no_gap(user, joined))
}

fn vanishing(run: &mut Run) -> RuleResult {
    run.all_join(0..3)?;
    run.advance(SETTLED)?;
    let vanished = run.now;
    run.users[2].powered_off = true;
    run.advance(Duration::from_secs(12))?;
    rule!(run.server.viewers() == 2, "{} viewers are left", run.server.viewers());
    (0..2).try_for_each(|user| run.check_no_gap(user, vanished))
}

fn wifi_drop(run: &mut Run) -> RuleResult {
    run.all_join(0..2)?;
    run.advance(SETTLED)?;
    let dropped = run.now;
    let back = dropped + Duration::from_secs(5);
    let user = &mut run.users[1];
    for link in [&mut user.up, &mut user.down] {
        link.conditions.down_until = Some(back);
    }
    run.advance(Duration::from_secs(8))?;
    let first = run.frames_since(1, back).next();
    let wait = first.map(|at| at - back);
    let limit = ROUND_TRIP + Duration::from_millis(200);
    rule!(wait.is_some_and(|wait| wait <= limit), "the picture was back after {wait:?}");
    rule!(run.users[1].offers == 1, "a new offer was needed");
    run.check_no_gap(HEALTHY, dropped)
}

fn network_change(run: &mut Run) -> RuleResult {
    run.all_join(0..2)?;
    run.advance(SETTLED)?;
    let moved = run.now;
    run.change_address(1);
    run.advance(Duration::from_secs(10))?;
    rule!(run.users[1].offers == 1, "a new offer was needed");
    let first = run.frames_since(1, moved).next();
    let wait = first.map(|at| at - moved);
    // The server learns the new address from the next connectivity check.
    let limit = Duration::from_secs(3);
    rule!(wait.is_some_and(|wait| wait <= limit), "the picture was back after {wait:?}");
    run.check_no_gap(HEALTHY, moved)
}

fn server_moves(run: &mut Run) -> RuleResult {
    run.all_join(0..2)?;
    run.advance(SETTLED)?;
    let moved = run.now;
    run.set_addresses(vec![SERVER_IPV4[1].parse().unwrap()])?;
    run.advance(Duration::from_secs(5))?;
    for user in 0..2 {
        rule!(run.users[user].offers == 1, "a new offer was needed");
        let wait = run.frames_since(user, moved).next().map(|at| at - moved);
        // A check from the new address and its response, and a key frame, which may have to wait for
        // the next second.
        let limit = Duration::from_millis(1_200);
        rule!(wait.is_some_and(|wait| wait <= limit), "the picture was back after {wait:?}");
        run.check_no_gap(user, moved + limit)?;
    }
    Ok(())
}

fn pli_storm(run: &mut Run) -> RuleResult {
    run.all_join(0..4)?;
    run.advance(SETTLED)?;
    let began = run.now;
    for _ in 0..500 {
        let now = run.now;
        for user in 0..4 {
            if let Some(viewer) = &mut run.users[user].viewer {
                viewer.request_keyframe(now);
                viewer.handle_timeout(now);
            }
            run.send_from(user);
        }
        run.advance(Duration::from_millis(10))?;
    }
    (0..4).try_for_each(|user| run.check_no_gap(user, began))
}

fn reload_loop(run: &mut Run) -> RuleResult {
    run.pages_reconnect();
    run.all_join(0..2)?;
    run.advance(SETTLED)?;
    let began = run.now;
    for round in 0..100 {
        // A browser that is closed sends close_notify, one that crashes does not.
        if round % 3 > 0 {
            run.leave(1);
        }
        run.users[1].viewer = None;
        run.join(1)?;
        run.advance(Duration::from_millis(100))?;
    }
    run.check_no_gap(HEALTHY, began)?;
    run.advance(Duration::from_secs(15))?;
    rule!(run.server.viewers() == 2, "{} viewers are left", run.server.viewers());
    run.check_no_gap(1, run.now - SETTLED)
}

fn host_sleeps(run: &mut Run) -> RuleResult {
    run.pages_reconnect();
    run.all_join(0..3)?;
    run.advance(SETTLED)?;
    run.suspend_for(Duration::from_secs(3_600))?;
    run.advance(Duration::from_secs(8))?;
    rule!(run.server.viewers() == 3, "{} viewers are left", run.server.viewers());
    (0..3).try_for_each(|user| run.check_no_gap(user, run.now - SETTLED))
}

fn slow_viewer(run: &mut Run) -> RuleResult {
    // Half of the rate that the frames need, and a large queue in the router: this viewer need not
    // get a picture.
    run.faults_removed_at = None;
    run.options.delta_bytes = 3_000;
    let user = &mut run.users[9];
    for link in [&mut user.down, &mut user.up] {
        link.conditions.rate = Some((350_000, 64_000));
    }
    run.all_join(0..10)?;
    run.advance(SETTLED)?;
    let began = run.now;
    run.advance(Duration::from_secs(30))?;
    (0..9).try_for_each(|user| run.check_no_gap(user, began))
}

fn server_restarts(run: &mut Run) -> RuleResult {
    run.pages_reconnect();
    run.all_join(0..3)?;
    run.advance(SETTLED)?;
    run.restart_server()?;
    run.advance(Duration::from_secs(10))?;
    rule!(run.server.viewers() == 3, "{} viewers are back", run.server.viewers());
    (0..3).try_for_each(|user| run.check_no_gap(user, run.now - SETTLED))
}

/// A viewer vanishes, and somebody with its credentials sends checks from another address: media to
/// the address that it had must stop (L7).
fn kept_alive(run: &mut Run) -> RuleResult {
    run.all_join(0..2)?;
    run.advance(SETTLED)?;
    let vanished = run.now;
    run.users[1].powered_off = true;
    for _ in 0..60 {
        run.check_from_elsewhere(1, "10.66.0.1:9".parse().unwrap())?;
        run.advance(Duration::from_secs(1))?;
    }
    rule!(run.server.viewers() == 2, "it is kept alive");
    run.check_no_gap(HEALTHY, vanished)
}

/// Steps and checks that the scenarios share.
impl Run {
    fn all_join(&mut self, mut users: Range<usize>) -> RuleResult {
        users.try_for_each(|user| self.join(user))
    }

    /// From now on the pages reconnect by themselves. In the other scenarios they do not.
    fn pages_reconnect(&mut self) {
        for user in 0..self.users.len() {
            self.after(PAGE_CHECK_INTERVAL, Event::PageCheck(user));
        }
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1) / self.options.frames_per_second
    }

    fn frames_since(&self, user: usize, since: Instant) -> impl Iterator<Item = Instant> {
        let viewer = self.users[user].viewer.as_ref();
        let decoded = viewer.map(|viewer| viewer.decoded.as_slice()).unwrap_or_default();
        decoded.iter().copied().filter(move |at| *at >= since)
    }

    /// Since then this user has missed at most one frame.
    fn check_no_gap(&self, user: usize, since: Instant) -> RuleResult {
        let times: Vec<Instant> =
            [since].into_iter().chain(self.frames_since(user, since)).chain([self.now]).collect();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        let limit = self.period() * 2;
        rule!(longest <= limit, "user {user} saw no new picture for {longest:?}");
        Ok(())
    }
}
