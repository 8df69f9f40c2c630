use super::*;

fn asleep(now: Instant) -> Gate {
    let mut g = Gate::default();
    g.claim_started();
    g.claimed(now, 4, 0, true);
    assert_eq!(g.step(now, true, true, true), Step::Arm);
    g.arming(1);
    g.armed(now, Armed::Held, true, false);
    assert_eq!(g.step(now, true, true, true), Step::Claim, "W1: the scan comes after the arm");
    g.claim_started();
    g.claimed(now, 4, 0, true);
    assert!(g.asleep());
    g
}

/// Fear (W1): sleep without a scan after arming.
#[test]
fn sleeps_only_after_arm_then_empty_scan() {
    let now = Instant::now();
    assert_eq!(asleep(now).step(now, true, true, true), Step::Rest);
}

/// Fear: a wake that arrives while a claim is under way is forgotten.
#[test]
fn a_wake_during_a_claim_asks_for_another_look() {
    let now = Instant::now();
    let mut g = asleep(now);
    g.woken(now, true);
    g.claim_started();
    g.woken(now + Duration::from_millis(500), true);
    g.claimed(now, 4, 1, true);
    assert_eq!(g.step(now, true, true, true), Step::Claim);
}

/// Fear (W3): a follower that was woken by a disarm goes back to sleep with nobody as sentinel.
#[test]
fn a_woken_follower_arms_anew() {
    let now = Instant::now();
    let mut g = asleep(now);
    g.phase = Phase::Following;
    g.told(now);
    g.claim_started();
    g.claimed(now, 4, 0, true);
    assert_eq!(g.step(now, true, true, true), Step::Arm);
}

/// Fear (W2): the sentinel that refused us disarms before its refusal is read, and nobody is sentinel while we sleep.
#[test]
fn a_wake_that_overtakes_a_refusal_is_not_slept_upon() {
    let now = Instant::now();
    let mut g = Gate::default();
    g.claim_started();
    g.claimed(now, 4, 0, true);
    g.arming(1);
    g.told(now);
    g.armed(now, Armed::Followed, false, true);
    g.claim_started();
    g.claimed(now, 4, 0, true);
    assert_eq!(g.step(now, true, true, true), Step::Arm);
}

/// Fear (W3): a saturated runtime stays sentinel.
#[test]
fn lost_demand_releases() {
    let now = Instant::now();
    assert_eq!(asleep(now).step(now, false, false, true), Step::Release);
}

/// Fear (W2): silent publishers in flight are slept upon.
#[test]
fn silent_publishers_are_looked_for_again() {
    let now = Instant::now();
    let mut g = Gate::default();
    g.claim_started();
    g.claimed(now, 4, 0, true);
    g.arming(1);
    g.armed(now, Armed::Silent, false, false);
    g.claim_started();
    g.claimed(now, 4, 0, true);
    let Step::At(at) = g.step(now, true, true, true) else { panic!("must look again") };
    assert_eq!(g.step(at, true, true, true), Step::Arm);
}

/// Fear (W5): at full load every publish notifies.
#[test]
fn a_full_claim_lets_go_and_lingers() {
    let now = Instant::now();
    let mut g = asleep(now);
    g.woken(now, true);
    g.claim_started();
    assert!(g.claimed(now, 4, 4, true), "let go");
    assert_eq!(g.step(now, true, true, true), Step::Claim);
    g.claim_started();
    g.claimed(now, 4, 0, true);
    assert_eq!(g.step(now, true, true, true), Step::At(now + Duration::from_millis(LINGER_POLL_MS)));
    let later = now + Duration::from_millis(LINGER_MS);
    assert_eq!(g.step(later, true, true, true), Step::Arm);
}

/// Fear (W5): a high message, which takes the one reserved worker, has the next one wait for a look in place of a wake; or, where
/// nobody notifies, for the next poll.
#[test]
fn one_high_message_does_not_linger() {
    let now = Instant::now();
    for (high, polls, lingers) in [(true, false, false), (true, true, true), (false, false, true)] {
        let mut g = Gate { high, ..asleep(now) };
        if polls {
            g.released();
            g.poll(now);
        }
        g.claim_started();
        g.claimed(now, 1, 1, true);
        assert_eq!(g.step(now, true, true, true), Step::Claim);
        g.claim_started();
        g.claimed(now, 1, 0, true);
        let next = if lingers { Step::At(now + Duration::from_millis(LINGER_POLL_MS)) } else { Step::Arm };
        assert_eq!(g.step(now, true, true, true), next, "high {high}, polls {polls}");
    }
}

/// Fear (W5): of a stream, each look costs a claim for a few messages, or every 20 ms some publishes notify.
#[test]
fn a_look_that_finds_many_prolongs_the_lingering() {
    let now = Instant::now();
    for (got, poll_ms, linger_ms) in
        [(STREAM_ROWS - 1, LINGER_POLL_MS, LINGER_MS), (STREAM_ROWS, STREAM_POLL_MS, LINGER_MS + 10)]
    {
        let mut g = asleep(now);
        g.woken(now, true);
        g.claim_started();
        assert!(g.claimed(now, 16, 16, true), "let go");
        g.claim_started();
        let later = now + Duration::from_millis(10);
        g.claimed(later, 16, got, true);
        assert_eq!(g.step(later, true, true, true), Step::At(later + Duration::from_millis(poll_ms)));
        let end = now + Duration::from_millis(linger_ms);
        assert_eq!(g.step(end - Duration::from_micros(1), true, true, true), Step::Claim);
        assert_eq!(g.step(end, true, true, true), Step::Arm);
    }
}

/// Fear (W5): a message that comes 4 ms after another waits for the next look; or a flood notifies with every publish.
#[test]
fn only_wakes_in_quick_succession_let_go() {
    let now = Instant::now();
    for (apart_ms, lets_go) in [(QUICK_WAKES_MS, false), (QUICK_WAKES_MS - 1, true)] {
        let mut g = asleep(now);
        assert!(!g.woken(now, true));
        g.claim_started();
        assert!(!g.claimed(now, 4, 1, true));
        assert_eq!(g.woken(now + Duration::from_millis(apart_ms), true), lets_go, "{apart_ms} ms");
    }
}

/// Fear: a failed claim leaves rows unlooked for, or is repeated without pause.
#[test]
fn a_failed_claim_is_repeated_after_a_pause() {
    let now = Instant::now();
    let mut g = asleep(now);
    g.woken(now, true);
    g.claim_started();
    g.claim_failed(now);
    let Step::At(at) = g.step(now, true, true, true) else { panic!("must wait") };
    assert_eq!(g.step(at, true, true, true), Step::Claim);
}

fn queued(now: Instant, follows: bool) -> Gate {
    let mut g = Gate::default();
    // Silent for so long that the looks have become rare.
    for _ in 0..20 {
        g.claim_started();
        g.claimed(now, 4, 0, true);
        g.arming(1);
        g.armed(now, Armed::Queued, false, follows);
    }
    g.claim_started();
    g.claimed(now, 4, 0, true);
    assert_eq!(g.step(now, true, true, true), Step::At(now + Duration::from_millis(QUEUED_MS_MAX)));
    g
}

/// Fear (W6): behind an open publisher another key's sentinel disarms, and we look a second later.
#[test]
fn a_wake_while_queueing_arms_anew_if_another_key_is_followed() {
    let now = Instant::now();
    for (follows, then) in [(true, Step::Arm), (false, Step::At(now + Duration::from_millis(QUEUED_MS_MAX)))] {
        let mut g = queued(now, follows);
        g.told(now);
        g.claim_started();
        g.claimed(now, 4, 0, true);
        assert_eq!(g.step(now, true, true, true), then, "follows: {follows}");
    }
}

/// Fear (W6): after a turn the looks stay rare, though the next one is not in the queue yet.
#[test]
fn after_a_turn_the_looks_are_frequent_again() {
    let now = Instant::now();
    let mut g = queued(now, false);
    g.turned();
    g.claim_started();
    g.claimed(now, 4, 0, true);
    assert_eq!(g.step(now, true, true, true), Step::Arm);
    g.arming(2);
    g.armed(now, Armed::Silent, false, false);
    g.claim_started();
    g.claimed(now, 4, 0, true);
    assert_eq!(g.step(now, true, true, true), Step::At(now + Duration::from_millis(SILENT_MS)));
}

/// Fear (W12): who was told and is then refused does not hand over what it cannot take, since another is sentinel, who may not
/// serve the lane; or who sleeps behind a sentinel wakes others for nothing.
#[test]
fn a_follower_is_on_duty_until_it_sleeps() {
    let now = Instant::now();
    for full in [false, true] {
        let mut g = Gate::default();
        g.claim_started();
        g.claimed(now, 4, 0, true);
        g.arming(1);
        g.armed(now, Armed::Followed, false, true);
        g.claim_started();
        assert_eq!(g.claimed(now, 4, if full { 4 } else { 3 }, true), full);
        assert_eq!(g.hand_over(), (full, true), "full: {full}");
        assert_eq!(g.hand_over(), (false, false), "once");
    }
}

/// Fear (W12): a claim that failed hid rows from those who sleep, and its runtime stops without a word.
#[test]
fn a_failed_claim_is_handed_over() {
    let now = Instant::now();
    let mut g = asleep(now);
    g.hand_over();
    g.claim_started();
    g.claim_failed(now);
    assert_eq!(g.hand_over(), (true, true));
}
