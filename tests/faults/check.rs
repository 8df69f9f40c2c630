//! The checker: from histories and the database's tables to what was broken. A pure function; `mutants.rs` tests it.
//!
//! I1 lost, I2 unexpected, I3 effects, I4 conservation, I5 tokens, I6 tries, I7 order, I8 priority, I9 liveness, I10 times,
//! I11 the audit trail, I12 the life of each message, replayed. Times of claims and settles are the server's, so that a wrong clock
//! elsewhere changes no verdict.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use super::{
    dump::{Dump, Row, Try},
    history::{Event, Line},
    order, replay,
    traffic::{Act, RETRIES, RETRY_MS, RETRY_MS_MAX},
};

/// How long things may take in a cell, all in ms.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A high message in quiet times, from its publish to its claim.
    pub high_ms: i64,
    /// A message that is published to an idle system (after the drain).
    pub wake_ms: i64,
    /// A retry that is due in quiet times, from then to its claim.
    pub late_ms: i64,
}

/// All that a cell left behind.
#[derive(Clone, Debug)]
pub struct Facts {
    pub seed: u64,
    pub lines: Vec<Line>,
    pub dump: Dump,
    pub limits: Limits,
}

/// One broken invariant.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub invariant: &'static str,
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.text)
    }
}

/// What was sent under a uid, and what became known of it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub queue: String,
    pub class: i16,
    pub act: Act,
    pub delay_ms: u64,
    /// It was acknowledged.
    pub ok: bool,
    /// When it was acknowledged as spooled: from then on a delay counts.
    pub spooled_at: Option<i64>,
    /// Its record in the spool was destroyed.
    pub spoilt: bool,
    /// Confirmed while an asynchronous standby was behind: its promotion may lose this, as configured.
    pub behind: bool,
    pub info: bool,
    pub failed: bool,
}

/// The facts, sorted for the checks.
pub struct Case<'a> {
    pub facts: &'a Facts,
    pub sent: BTreeMap<i64, Sent>,
    pub by_uid: HashMap<i64, Vec<&'a Row>>,
    pub tries: HashMap<i64, Vec<&'a Try>>,
    pub calm_at: i64,
    found: Vec<Violation>,
}

pub fn check(facts: &Facts) -> Vec<Violation> {
    let mut case = Case::sort(facts);
    for invariant in [
        i1_lost,
        i2_unexpected,
        i3_effects,
        i4_conservation,
        i5_tokens,
        i6_tries,
        order::i7_order,
        order::i8_priority,
        order::i9_liveness,
        order::i10_times,
        i11_audit,
        replay::i12_life,
    ] {
        invariant(&mut case);
    }
    case.found
}

impl<'a> Case<'a> {
    pub fn sort(facts: &'a Facts) -> Self {
        let mut sent: BTreeMap<i64, Sent> = BTreeMap::new();
        let (mut calm_at, mut behind) = (i64::MAX, false);
        for line in &facts.lines {
            match &line.event {
                Event::Invoke { uid, queue, priority, act, delay_ms, .. } => {
                    let (queue, class, act, delay_ms) = (queue.clone(), *priority, *act, *delay_ms);
                    let (ok, behind, spooled_at, spoilt, info, failed) = (false, false, None, false, false, false);
                    sent.insert(
                        *uid,
                        Sent { queue, class, act, delay_ms, ok, spooled_at, spoilt, behind, info, failed },
                    );
                }
                Event::Ok { uid, .. } => drop(sent.get_mut(uid).map(|s| (s.ok, s.behind) = (true, behind))),
                Event::Spooled { uid } => {
                    if let Some(sent) = sent.get_mut(uid) {
                        (sent.ok, sent.spooled_at) = (true, Some(line.at));
                    }
                }
                Event::Spoilt { uid } => drop(sent.get_mut(uid).map(|s| s.spoilt = true)),
                Event::Behind => behind = true,
                Event::Accepts => behind = false,
                Event::Info { uid, .. } => drop(sent.get_mut(uid).map(|s| s.info = true)),
                Event::Fail { uid, .. } => drop(sent.get_mut(uid).map(|s| s.failed = true)),
                Event::Calm => calm_at = line.at,
                _ => {}
            }
        }
        let mut by_uid: HashMap<i64, Vec<&Row>> = HashMap::new();
        for row in &facts.dump.rows {
            if let Some(uid) = row.uid {
                by_uid.entry(uid).or_default().push(row);
            }
        }
        let mut tries: HashMap<i64, Vec<&Try>> = HashMap::new();
        for try_ in &facts.dump.tries {
            tries.entry(try_.id).or_default().push(try_);
        }
        Self { facts, sent, by_uid, tries, calm_at, found: Vec::new() }
    }

    pub fn broken(&mut self, invariant: &'static str, text: impl fmt::Display) {
        let seed = self.facts.seed;
        self.found.push(Violation { invariant, text: format!("{text} (seed {seed})") });
    }

    /// Handlers' starts: uid, attempt, run, when, by whom.
    pub fn starts(&self) -> impl Iterator<Item = (i64, u32, i64, i64, &'a str)> {
        self.facts.lines.iter().filter_map(|line| match &line.event {
            Event::Start { uid, attempt, run, .. } => Some((*uid, *attempt, *run, line.at, line.by.as_str())),
            _ => None,
        })
    }

    /// What was acknowledged, and is nowhere.
    pub fn lost(&self) -> impl Iterator<Item = (i64, &Sent)> {
        let nowhere = |(uid, s): &(&i64, &Sent)| s.ok && !self.by_uid.contains_key(uid);
        self.sent.iter().filter(nowhere).map(|(uid, s)| (*uid, s))
    }

    /// The try that a claim belongs to: the final one from the message's row, the others from the audit trail.
    pub fn claims(&self, row: &Row) -> BTreeMap<i32, i64> {
        let earlier = self.tries.get(&row.id).into_iter().flatten();
        let counted = earlier.filter(|t| !matches!(t.event.as_str(), "handed_back" | "snoozed"));
        let mut claims: BTreeMap<i32, i64> = counted.filter_map(|t| Some((t.attempt, t.claimed_at?))).collect();
        if let Some(at) = row.claimed_at {
            claims.insert(row.attempt, at);
        }
        claims
    }
}

/// I1: what was acknowledged is there, but for what the cell itself has destroyed, and what an asynchronous standby may lose.
fn i1_lost(case: &mut Case<'_>) {
    let lost: Vec<i64> = case.lost().filter(|(_, s)| !s.spoilt && !s.behind).map(|(uid, _)| uid).collect();
    for uid in lost {
        case.broken("I1", format!("uid {uid} was acknowledged, and is nowhere"));
    }
}

/// I2: what is there, and what runs, was sent, and did not fail.
fn i2_unexpected(case: &mut Case<'_>) {
    let seen: HashSet<i64> = case.by_uid.keys().copied().chain(case.starts().map(|start| start.0)).collect();
    let bad: Vec<i64> = seen.into_iter().filter(|uid| case.sent.get(uid).is_none_or(|s| s.failed)).collect();
    for uid in bad {
        case.broken("I2", format!("uid {uid} exists, and was never sent, or its publish failed"));
    }
}

/// I3: an effect happened once if the message is done, and not at all if it is dead.
fn i3_effects(case: &mut Case<'_>) {
    let mut count: HashMap<i64, usize> = HashMap::new();
    for effect in &case.facts.dump.effects {
        *count.entry(effect.uid).or_default() += 1;
    }
    let mut bad = Vec::new();
    for (uid, rows) in &case.by_uid {
        let writes = case.sent.get(uid).is_some_and(|s| matches!(s.act, Act::Effect | Act::FailOnce));
        let expected = usize::from(writes && rows.iter().any(|r| r.status == "done"));
        let got = count.remove(uid).unwrap_or(0);
        if got != expected {
            bad.push(format!("uid {uid}: {got} effects committed, {expected} expected"));
        }
    }
    bad.extend(count.into_keys().map(|uid| format!("uid {uid}: an effect without a message")));
    for text in bad {
        case.broken("I3", text);
    }
}

/// I4: one message is one row, in every snapshot and in the end.
fn i4_conservation(case: &mut Case<'_>) {
    let mut bad = Vec::new();
    for line in &case.facts.lines {
        if let Event::Snapshot { rows, ids } = line.event
            && rows != ids
        {
            bad.push(format!("{rows} rows of {ids} messages in one snapshot"));
        }
    }
    let mut places: HashMap<i64, usize> = HashMap::new();
    for row in &case.facts.dump.rows {
        *places.entry(row.id).or_default() += 1;
    }
    bad.extend(places.iter().filter(|(_, n)| **n > 1).map(|(id, n)| format!("id {id} is in {n} places")));
    bad.extend(
        case.by_uid.iter().filter(|(_, r)| r.len() > 1).map(|(uid, r)| format!("uid {uid} is {} messages", r.len())),
    );
    for text in bad {
        case.broken("I4", text);
    }
}

/// I5: no two claims have one token; an effect was committed by the try that the message ended with.
fn i5_tokens(case: &mut Case<'_>) {
    let mut bad = Vec::new();
    for row in &case.facts.dump.rows {
        let earlier = case.tries.get(&row.id).into_iter().flatten().filter_map(|t| t.token);
        let mut seen = HashSet::new();
        if earlier.chain(row.token).any(|token| !seen.insert(token)) {
            bad.push(format!("id {}: one token, two claims", row.id));
        }
    }
    let dump = &case.facts.dump;
    for effect in &dump.effects {
        let Some(row) = case.by_uid.get(&effect.uid).and_then(|rows| rows.iter().find(|r| r.status == "done")) else {
            continue;
        };
        let by = row.session.and_then(|s| dump.instances.get(&s));
        if effect.attempt != row.attempt || by != Some(&effect.instance) {
            let (attempt, instance) = (effect.attempt, &effect.instance);
            bad.push(format!(
                "uid {}: effect of try {attempt} by {instance}, done by try {} of {by:?}",
                effect.uid, row.attempt
            ));
        }
    }
    for text in bad {
        case.broken("I5", text);
    }
}

/// I6: never more tries than allowed.
fn i6_tries(case: &mut Case<'_>) {
    let max = i32::from(RETRIES) + 1;
    let over = |attempt: i32| !(0..=max).contains(&attempt);
    let mut bad: Vec<i64> = case.facts.dump.rows.iter().filter(|r| over(r.attempt)).map(|r| r.id).collect();
    bad.extend(case.facts.dump.tries.iter().filter(|t| over(t.attempt)).map(|t| t.id));
    for id in bad {
        case.broken("I6", format!("id {id} was tried more than {max} times"));
    }
}

/// I11: the audit trail is whole: each try but the last has its one end, and the last one a claim.
fn i11_audit(case: &mut Case<'_>) {
    let mut bad = Vec::new();
    for row in case.facts.dump.rows.iter().filter(|r| matches!(r.status.as_str(), "done" | "dead")) {
        let ends = ["failed", "panicked", "timed_out", "process_died"];
        let tries = case.tries.get(&row.id).into_iter().flatten();
        let mut ended: Vec<i32> = tries.filter(|t| ends.contains(&t.event.as_str())).map(|t| t.attempt).collect();
        ended.sort_unstable();
        if ended != (1..row.attempt).collect::<Vec<_>>() || row.claimed_at.is_none() || row.token.is_none() {
            bad.push(format!("id {} {} at try {}, but ended tries {ended:?}", row.id, row.status, row.attempt));
        }
    }
    for text in bad {
        case.broken("I11", text);
    }
}

/// The backoff before try `attempt` + 1, in ms, without its jitter.
pub fn backoff_ms(attempt: i32) -> u64 {
    let doubled = RETRY_MS << u32::try_from(attempt - 1).unwrap_or(0).min(10);
    doubled.min(RETRY_MS_MAX)
}
