//! What the replay must refuse, planted in a good history, one by one: each on its own breaks I12, and what is only unusual does not.

use super::{
    check::{Facts, check},
    dump::Try,
    history::{Event, Line},
    mutants::{S, good, row_of},
    traffic::RETRIES,
};

/// Of `good`: a message that was tried twice, and two of one key.
const RETRIED: i64 = S + 2;
const HEAD: i64 = S + 3;
const NEXT: i64 = S + 4;

fn verdict(plant: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = good();
    plant(&mut facts);
    facts.lines.sort_by_key(|line| line.at);
    let broken = check(&facts);
    broken.into_iter().filter(|v| v.invariant == "I12").map(|v| v.text).collect()
}

#[track_caller]
fn refused(why: &str, plant: impl FnOnce(&mut Facts)) {
    let texts = verdict(plant);
    assert!(texts.iter().any(|text| text.contains(why)), "not refused for {why:?}: {texts:?}");
}

#[track_caller]
fn accepted(plant: impl FnOnce(&mut Facts)) {
    assert_eq!(verdict(plant), Vec::<String>::new());
}

fn add(facts: &mut Facts, at: i64, event: Event) {
    facts.lines.push(Line { at, by: "a".into(), event });
}

fn start_of(facts: &mut Facts, uid: i64, nth: usize) -> &mut Line {
    let is = |line: &&mut Line| matches!(line.event, Event::Start { uid: u, .. } if u == uid);
    facts.lines.iter_mut().filter(is).nth(nth).unwrap()
}

/// A run of `uid` beside those that are there.
fn another_run(facts: &mut Facts, uid: i64, at: i64, attempt: u32) {
    let id = row_of(facts, uid).id;
    add(facts, at, Event::Start { uid, id, attempt, run: 77 });
}

/// A claim before the one that is there, with its end.
fn another_claim(facts: &mut Facts, uid: i64, event: &str, attempt: i32) {
    let row = row_of(facts, uid);
    let (id, at) = (row.id, row.claimed_at.unwrap() - 200);
    let (event, token, session) = (event.to_owned(), Some(5), Some(1));
    facts.dump.tries.push(Try { id, at: at + 100, event, attempt, token, session, claimed_at: Some(at) });
}

#[test]
fn an_acknowledgement_of_what_is_not_there() {
    refused("it is not there", |f| row_of(f, S).created_at = S + 20);
    refused("it was there before", |f| row_of(f, S).created_at = S - 20);
}

#[test]
fn a_start_after_the_end() {
    refused("nobody had claimed it so", |f| another_run(f, S, 20 * S, 1));
}

#[test]
fn a_second_run_of_one_claim() {
    refused("nobody had claimed it so", |f| another_run(f, HEAD, 4 * S + 3_000, 1));
}

#[test]
fn a_try_that_goes_back() {
    refused("by the law it is try 2", |f| row_of(f, RETRIED).attempt = 1);
    refused("nobody had claimed it so", |f| {
        let Event::Start { attempt, .. } = &mut start_of(f, RETRIED, 1).event else { unreachable!() };
        *attempt = 1;
    });
}

#[test]
fn two_of_a_key_at_once() {
    refused("Parked", |f| {
        let next = row_of(f, NEXT);
        (next.created_at, next.claimed_at) = (4 * S + 10, Some(4 * S + 5_000));
    });
    refused("nobody had claimed it so", |f| {
        row_of(f, NEXT).created_at = 4 * S + 10;
        start_of(f, NEXT, 0).at = 4 * S + 5_000;
    });
}

#[test]
fn an_end_by_another_claim() {
    refused("its token is that of an earlier claim", |f| {
        let first = f.dump.tries[0].token;
        row_of(f, RETRIED).token = first;
    });
    refused("whose claim was not the last", |f| f.dump.effects[0].run += 1);
}

#[test]
fn a_run_of_what_was_handed_back() {
    refused("nobody had claimed it so", |f| {
        another_claim(f, HEAD, "handed_back", 0);
        another_run(f, HEAD, 4 * S + 950, 1);
    });
}

#[test]
fn an_end_without_a_run() {
    refused("no run of it had begun", |f| {
        f.lines.retain(|line| !matches!(line.event, Event::Start { uid, .. } | Event::Finish { uid, .. } if uid == S));
    });
}

#[test]
fn done_before_its_handler_was() {
    refused("settled as done before", |f| row_of(f, S).finished_at = Some(S + 5_000));
}

#[test]
fn a_death_before_the_last_try() {
    refused("by the law Waiting", |f| {
        let row = row_of(f, S);
        (row.status, row.error_kind) = ("dead".into(), Some("retries_exhausted".into()));
    });
}

/// A second run of a first try, seconds apart: `at` is the crash between them.
fn crash(facts: &mut Facts, uid: i64, at: i64) {
    let row = row_of(facts, uid);
    (row.claimed_at, row.finished_at) = (Some(at + S / 10), Some(at + S / 2));
    let moved = at + S / 10 + 500;
    for line in facts.lines.iter_mut().filter(|line| matches!(line.event, Event::Finish { uid: u, .. } if u == uid)) {
        line.at = moved + 500;
    }
    start_of(facts, uid, 0).at = moved;
    another_run(facts, uid, at - 1_000, 1);
    add(facts, at, Event::Fault { what: "immediate stop".into(), on: None });
    add(facts, at + 5_000, Event::Accepts);
}

/// Without a key a crash may forget the first run's claim, and that is all that it may; with one a standby that was behind.
#[test]
fn a_forgotten_claim() {
    accepted(|f| crash(f, S, S + 100_000));
    refused("nobody had claimed it so", |f| {
        crash(f, S, S + 100_000);
        f.lines.retain(|line| !matches!(line.event, Event::Fault { .. }));
    });
    refused("nobody had claimed it so", |f| crash(f, NEXT, 5 * S + 100_000));
    accepted(|f| {
        crash(f, NEXT, 5 * S + 100_000);
        add(f, 5 * S + 99_000, Event::Behind);
    });
}

/// Fear: what a standby that was behind lacks is taken for an offence: two tries of a message, or its head's end before a key's next; or
/// it excuses a try that nobody can have got to.
#[test]
fn what_a_primary_went_on_to_alone() {
    let lost = |attempt: u32, from: i64| {
        move |f: &mut Facts| {
            crash(f, S, S + 100_000);
            let id = row_of(f, S).id;
            add(f, S + 99_500, Event::Start { uid: S, id, attempt, run: 78 });
            add(f, from, Event::Behind);
        }
    };
    accepted(lost(2, S + 50_000));
    refused("nobody had claimed it so", lost(u32::from(RETRIES) + 2, S + 50_000));
    refused("nobody had claimed it so", lost(2, S + 99_800));
    let behind_its_head = |from: i64| {
        move |f: &mut Facts| {
            crash(f, NEXT, 5 * S + 100_000);
            let later = 5 * S + 110_000;
            let row = row_of(f, HEAD);
            (row.claimed_at, row.finished_at) = (Some(later), Some(later + 9_000));
            start_of(f, HEAD, 0).at = later + 500;
            let ends = |line: &&mut Line| matches!(line.event, Event::Finish { uid: HEAD, .. });
            f.lines.iter_mut().find(ends).unwrap().at = later + 8_000;
            add(f, from, Event::Behind);
        }
    };
    accepted(behind_its_head(5 * S + 50_000));
    refused("nobody had claimed it so", behind_its_head(5 * S + 99_500));
}

/// What a kill, a stop and a hand-back leave behind is no offence.
#[test]
fn unusual_lives() {
    accepted(|f| another_claim(f, HEAD, "handed_back", 0));
    accepted(|f| {
        another_claim(f, HEAD, "process_died", 1);
        row_of(f, HEAD).attempt = 2;
        let Event::Start { attempt, .. } = &mut start_of(f, HEAD, 0).event else { unreachable!() };
        *attempt = 2;
        // Stopped before it began, and woken when all was over.
        another_run(f, HEAD, 20 * S, 1);
    });
    // Cut at its deadline, and it ended all the same when the next try was done.
    accepted(|f| add(f, 20 * S, Event::Finish { uid: RETRIED, run: RETRIED * 10 + 1 }));
}
