//! The checker is worth what it finds: a good history passes, and each planted fault breaks its own invariant.

use std::collections::HashMap;

use super::{
    check::{Facts, Limits, check},
    dump::{Dump, Effect, Row, Try},
    history::{Event, Line},
    order::PROBE_TASK,
    traffic::{Act, FIFO, LOAD},
};

pub const S: i64 = 1_000_000;

fn row(id: i64, uid: i64, at: i64) -> Row {
    Row {
        id,
        uid: Some(uid),
        status: "done".into(),
        queue: LOAD.into(),
        class: 0,
        key: None,
        attempt: 1,
        token: Some(1_000 + id),
        session: Some(1),
        created_at: at,
        claimed_at: Some(at + 1_000),
        finished_at: Some(at + 9_000),
        error_kind: None,
    }
}

/// Six messages: two in order, one of them with an effect; a retried one; a keyed pair; a high one after the calm.
pub fn good() -> Facts {
    let one = S; // the first task's first uid
    let mut facts = Facts {
        seed: 7,
        lines: vec![],
        dump: Dump { instances: HashMap::from([(1, "a".to_owned())]), ..Dump::default() },
        limits: Limits { high_ms: 500, wake_ms: 500, late_ms: 1_000 },
    };
    let mut send = |uid: i64, queue: &str, act: Act, priority: i16, at: i64, key: Option<&str>, tries: u32| {
        let mut row = row(uid - S, uid, at);
        (row.queue, row.class, row.key) = (queue.into(), priority, key.map(str::to_owned));
        let line = |at, event| Line { at, by: "a".into(), event };
        let (queue, key) = (queue.to_owned(), row.key.clone());
        facts.lines.push(line(at - 10, Event::Invoke { uid, queue, priority, key, act, delay_ms: 0 }));
        facts.lines.push(line(at + 10, Event::Ok { uid, id: row.id }));
        for attempt in 1..=tries {
            let begun = at + 1_000 + i64::from(attempt - 1) * 210_000;
            let run = uid * 10 + i64::from(attempt);
            facts.lines.push(line(begun + 500, Event::Start { uid, id: row.id, attempt, run }));
            let attempt = i32::try_from(attempt).unwrap();
            if u32::try_from(attempt).unwrap() < tries {
                let token = Some(begun);
                let (id, event) = (row.id, "failed".to_owned());
                facts.dump.tries.push(Try {
                    id,
                    at: begun + 1_000,
                    event,
                    attempt,
                    token,
                    session: Some(1),
                    claimed_at: Some(begun),
                });
            } else {
                (row.attempt, row.claimed_at, row.finished_at) = (attempt, Some(begun), Some(begun + 9_000));
                facts.lines.push(line(begun + 8_000, Event::Finish { uid, run }));
                if act != Act::Plain {
                    facts.dump.effects.push(Effect { uid, attempt, run, instance: "a".into() });
                }
            }
        }
        facts.dump.rows.push(row);
    };
    send(one, FIFO, Act::Effect, 0, S, None, 1);
    send(one + 1, FIFO, Act::Plain, 0, 2 * S, None, 1);
    send(one + 2, LOAD, Act::FailOnce, 0, 3 * S, None, 2);
    send(one + 3, LOAD, Act::Plain, 0, 4 * S, Some("k"), 1);
    send(one + 4, LOAD, Act::Plain, 0, 5 * S, Some("k"), 1);
    send(one + 5, LOAD, Act::Plain, 10, 7 * S, None, 1);
    send(PROBE_TASK * S, LOAD, Act::Plain, 0, 8 * S, None, 1);
    let by = || "cell".to_owned();
    facts.lines.push(Line { at: 6 * S, by: by(), event: Event::Calm });
    facts.lines.push(Line { at: 9 * S, by: by(), event: Event::Snapshot { rows: 7, ids: 7 } });
    facts.lines.sort_by_key(|line| line.at);
    facts
}

#[test]
fn a_good_history_passes() {
    assert_eq!(check(&good()), []);
}

/// The planted fault breaks this invariant, and the verdict names the uid or id and the seed.
#[track_caller]
fn breaks(invariant: &str, plant: impl FnOnce(&mut Facts)) {
    let mut facts = good();
    plant(&mut facts);
    facts.lines.sort_by_key(|line| line.at);
    let broken = check(&facts);
    assert!(broken.iter().any(|v| v.invariant == invariant), "{invariant} saw nothing: {broken:?}");
    assert!(broken.iter().all(|v| v.text.contains("(seed 7)")));
}

pub fn row_of(facts: &mut Facts, uid: i64) -> &mut Row {
    facts.dump.rows.iter_mut().find(|r| r.uid == Some(uid)).unwrap()
}

fn swap_starts(facts: &mut Facts, one: i64, two: i64) {
    for line in &mut facts.lines {
        if let Event::Start { uid, .. } = &mut line.event {
            *uid = if *uid == one {
                two
            } else if *uid == two {
                one
            } else {
                *uid
            };
        }
    }
}

#[test]
fn i1_sees_a_lost_message() {
    let lose = |f: &mut Facts| f.dump.rows.retain(|r| r.uid != Some(S + 1));
    breaks("I1", lose);
    // Also one that was spooled.
    breaks("I1", |f| {
        lose(f);
        for line in &mut f.lines {
            if matches!(line.event, Event::Ok { uid, .. } if uid == S + 1) {
                line.event = Event::Spooled { uid: S + 1 };
            }
        }
    });
}

/// Fear: what an asynchronous standby may lose excuses all that is lost.
#[test]
fn i1_excuses_what_was_confirmed_while_the_standby_was_behind() {
    let lost = |uid: i64| {
        let mut facts = good();
        facts.dump.rows.retain(|r| r.uid != Some(uid));
        facts.dump.effects.retain(|e| e.uid != uid);
        let line = |at, event| Line { at, by: "cell".into(), event };
        facts.lines.extend([line(2 * S - 20, Event::Behind), line(2 * S + 20, Event::Accepts)]);
        facts.lines.sort_by_key(|line| line.at);
        check(&facts).iter().map(|v| v.invariant).collect::<Vec<_>>()
    };
    assert_eq!([lost(S), lost(S + 1), lost(S + 2)], [vec!["I1"], vec![], vec!["I1"]]);
}

#[test]
fn i2_sees_a_message_that_nobody_sent() {
    breaks("I2", |f| f.dump.rows.push(row(99, 77, S)));
    breaks("I2", |f| {
        let event = Event::Start { uid: 77, id: 1, attempt: 1, run: 1 };
        f.lines.push(Line { at: S, by: "a".into(), event });
    });
}

#[test]
fn i2_sees_a_message_that_was_rolled_back() {
    breaks("I2", |f| {
        let event = Event::Fail { uid: S, why: String::new() };
        f.lines.push(Line { at: 9 * S, by: "a".into(), event });
    });
}

#[test]
fn i3_sees_a_doubled_and_a_missing_effect() {
    breaks("I3", |f| f.dump.effects.push(f.dump.effects[0].clone()));
    breaks("I3", |f| drop(f.dump.effects.remove(0)));
    breaks("I3", |f| row_of(f, S).status = "dead".into());
}

#[test]
fn i4_sees_a_doubled_message() {
    breaks("I4", |f| f.dump.rows.push(row(1, S + 1, 2 * S)));
    breaks("I4", |f| f.dump.rows.push(row(55, S + 1, 2 * S)));
    breaks("I4", |f| f.lines.push(Line { at: 9 * S, by: "cell".into(), event: Event::Snapshot { rows: 8, ids: 7 } }));
}

#[test]
fn i5_sees_a_token_that_came_twice_and_a_stale_effect() {
    breaks("I5", |f| {
        let token = f.dump.tries[0].token;
        row_of(f, S + 2).token = token;
    });
    breaks("I5", |f| f.dump.effects[0].instance = "zombie".into());
    breaks("I5", |f| f.dump.effects[1].attempt = 1);
}

#[test]
fn i6_sees_a_try_too_many() {
    breaks("I6", |f| row_of(f, S).attempt = 5);
}

#[test]
fn i7_sees_a_reordered_start() {
    breaks("I7", |f| swap_starts(f, S, S + 1));
}

#[test]
fn i7_sees_two_of_one_key_at_once_and_out_of_order() {
    breaks("I7", |f| row_of(f, S + 4).claimed_at = Some(4 * S + 5_000));
    breaks("I7", |f| {
        row_of(f, S + 3).uid = Some(S + 44);
        row_of(f, S + 4).uid = Some(S + 3);
        row_of(f, S + 44).uid = Some(S + 4);
    });
}

#[test]
fn i8_sees_a_high_message_that_waits() {
    breaks("I8", |f| row_of(f, S + 5).claimed_at = Some(7 * S + 600_000));
}

#[test]
fn i9_sees_what_never_ends_what_sleeps_and_who_gives_up() {
    breaks("I9", |f| row_of(f, S).status = "processing".into());
    breaks("I9", |f| row_of(f, PROBE_TASK * S).claimed_at = Some(8 * S + 600_000));
    breaks("I9", |f| f.lines.push(Line { at: S, by: "a".into(), event: Event::GaveUp }));
}

#[test]
fn i10_sees_an_early_and_a_late_try() {
    breaks("I10", |f| row_of(f, S + 2).claimed_at = Some(3 * S + 50_000));
    breaks("I10", |f| {
        // The failure is in the calm; what follows comes seconds later.
        f.lines.iter_mut().filter(|l| l.event == Event::Calm).for_each(|l| l.at = 2 * S);
        row_of(f, S + 2).claimed_at = Some(6 * S);
    });
}

#[test]
fn i10_sees_a_delay_that_was_not_kept() {
    breaks("I10", |f| {
        for line in &mut f.lines {
            if let Event::Invoke { uid, delay_ms, .. } = &mut line.event
                && *uid == S + 1
            {
                *delay_ms = 400;
            }
        }
    });
}

#[test]
fn i11_sees_a_gap_in_the_audit_trail() {
    breaks("I11", |f| f.dump.tries.clear());
    breaks("I11", |f| row_of(f, S).token = None);
}
