//! The checker's invariants of order and time.

use std::collections::HashMap;

use super::{
    check::{Case, backoff_ms},
    dump::Row,
    history::Event,
    traffic::{FIFO, LOAD},
};

/// Publishers' uids hold their task above this and their number below.
const TASK: i64 = 1_000_000;

/// I7: the queue with one worker starts in the order of publishing; one key's messages follow one another.
pub fn i7_order(case: &mut Case<'_>) {
    let mut bad = first_starts(case);
    bad.extend(keys(case));
    for text in bad {
        case.broken("I7", text);
    }
}

fn first_starts(case: &Case<'_>) -> Vec<String> {
    let mut bad = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut last: HashMap<(i64, i16), i64> = HashMap::new();
    for (uid, attempt, ..) in case.starts() {
        let Some(sent) = case.sent.get(&uid).filter(|s| s.queue == FIFO && s.ok && !s.info) else { continue };
        if !seen.insert(uid) {
            continue;
        }
        // A claim that was taken back unstarted let others go first: its process was killed, or its answer was lost.
        let given_back = case.by_uid.get(&uid).into_iter().flatten().any(|row| {
            let tries = case.tries.get(&row.id).into_iter().flatten();
            tries.into_iter().any(|t| matches!(t.event.as_str(), "process_died" | "handed_back"))
        });
        if given_back || attempt > 1 {
            continue;
        }
        let place = last.entry((uid / TASK, sent.class)).or_insert(uid);
        if uid < *place {
            bad.push(format!("uid {uid} of queue {FIFO} started after {place}, which was published later"));
        }
        *place = uid.max(*place);
    }
    bad
}

/// By the server's clock: claimed only after the one before it was finished; and in the order of publishing.
fn keys(case: &Case<'_>) -> Vec<String> {
    let mut of_key: HashMap<(&str, &str), Vec<&Row>> = HashMap::new();
    for row in &case.facts.dump.rows {
        if let Some(key) = &row.key {
            of_key.entry((&row.queue, key)).or_default().push(row);
        }
    }
    let mut bad = Vec::new();
    for ((_, key), mut rows) in of_key {
        rows.sort_by_key(|r| r.id);
        for pair in rows.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            let first_claim = case.claims(after).into_values().min();
            if let (Some(ended), Some(claimed)) = (before.finished_at, first_claim)
                && claimed < ended
            {
                bad.push(format!("key {key}: id {} was claimed before id {} had ended", after.id, before.id));
            }
            let known = |r: &Row| r.uid.filter(|uid| case.sent.get(uid).is_some_and(|s| s.ok && !s.info));
            if let (Some(one), Some(two)) = (known(before), known(after))
                && one / TASK == two / TASK
                && two < one
            {
                bad.push(format!("key {key}: uid {two} stands behind {one}, which was published later"));
            }
        }
    }
    bad
}

/// I8: after the faults a high message waits for nobody.
pub fn i8_priority(case: &mut Case<'_>) {
    let limit = case.facts.limits.high_ms;
    let quiet =
        |r: &&Row| r.class == 10 && r.queue == LOAD && r.attempt == 1 && r.key.is_none() && r.created_at > case.calm_at;
    let waits: Vec<(i64, i64)> = case
        .facts
        .dump
        .rows
        .iter()
        .filter(quiet)
        .filter(|r| r.uid.and_then(|uid| case.sent.get(&uid)).is_some_and(|s| s.delay_ms == 0))
        .filter_map(|r| Some((r.id, (r.claimed_at? - r.created_at) / 1_000)))
        .collect();
    for (id, ms) in waits {
        if ms > limit {
            case.broken("I8", format!("high id {id} waited {ms} ms, allowed are {limit}"));
        }
    }
}

/// I9: all that is there ends; nobody sleeps past a message of an idle system; no tree gives up.
pub fn i9_liveness(case: &mut Case<'_>) {
    let limit = case.facts.limits.wake_ms;
    let mut bad = Vec::new();
    for row in &case.facts.dump.rows {
        if !matches!(row.status.as_str(), "done" | "dead" | "cancelled") {
            bad.push(format!("id {} is still {}", row.id, row.status));
        }
        let probe = row.uid.is_some_and(|uid| uid / TASK == PROBE_TASK) && row.class == 0;
        if let Some(claimed) = row.claimed_at.filter(|_| probe) {
            let ms = (claimed - row.created_at) / 1_000;
            if ms > limit {
                bad.push(format!("id {} waited {ms} ms for an idle worker, allowed are {limit}", row.id));
            }
        }
    }
    for line in &case.facts.lines {
        if line.event == Event::GaveUp {
            bad.push(format!("{}'s tree gave up", line.by));
        }
    }
    for text in bad {
        case.broken("I9", text);
    }
}

/// Whose messages are sent one by one when all is idle.
pub const PROBE_TASK: i64 = 999;
/// Statements take their time: how far apart two times of one statement may lie, in µs.
const SLACK_US: i64 = 50_000;

/// I10: a retry comes after its backoff and a delayed message after its delay, and soon after, once all is quiet.
pub fn i10_times(case: &mut Case<'_>) {
    let mut bad = Vec::new();
    for row in &case.facts.dump.rows {
        let claims = case.claims(row);
        let mut due = Vec::new();
        for t in case.tries.get(&row.id).into_iter().flatten().filter(|t| t.event == "failed") {
            // From its own claim on, which came before: one statement's two readings of the clock may lie apart.
            due.push((
                t.attempt + 1,
                t.claimed_at.unwrap_or(t.at),
                t.at,
                i64::try_from(backoff_ms(t.attempt)).expect("short") * 1_000,
            ));
        }
        let sent = row.uid.and_then(|uid| case.sent.get(&uid));
        let delay_ms = sent.map_or(0, |s| s.delay_ms);
        if delay_ms > 0 {
            // In a spool it has waited for a part of its delay, or for all of it.
            let from = sent.and_then(|s| s.spooled_at).unwrap_or(row.created_at);
            // Without jitter: a tenth more than what is asked for stands in for it below.
            due.push((1, from - SLACK_US, row.created_at, i64::try_from(delay_ms).expect("short") * 1_112));
        }
        for (attempt, from, at, wait_us) in due {
            let Some(claimed) = claims.get(&attempt) else { continue };
            let (early, late) = (from + wait_us * 9 / 10, at + wait_us * 11 / 10);
            if *claimed < early {
                bad.push(format!("id {}: try {attempt} came {} ms early", row.id, (early - claimed) / 1_000));
            }
            let late_ms = (claimed - late) / 1_000;
            if late > case.calm_at && late_ms > case.facts.limits.late_ms {
                bad.push(format!("id {}: try {attempt} came {late_ms} ms late", row.id));
            }
        }
    }
    for text in bad {
        case.broken("I10", text);
    }
}
