//! I12: what was recorded of each message is a life that the model's law allows ([law.rs](../models/life_model/law.rs)).
//!
//! Rows, claims and ends come from the database; publishes, starts and finishes from the processes' histories. In the order of their
//! times they are steps of the law. What nobody records may lie between them: a backoff that is over, a key that is freed, and what
//! a crash of the server forgot, which shows by its run alone.

use std::collections::{BTreeMap, HashMap};

use super::{
    check::Case,
    dump::{Row, Try},
    history::Event,
    law::{Step, Token},
    life::Life,
};

/// What befell message `n` of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen<'a> {
    /// About to be published.
    Invoked,
    Acknowledged,
    Published {
        delayed: bool,
    },
    Claimed {
        token: Token,
        session: i32,
        attempt: i32,
    },
    Start {
        attempt: i32,
        run: i64,
        by: &'a str,
    },
    Finish {
        run: i64,
    },
    Ended(Step),
}

/// When, of which message, what. Of one time, what follows from the other comes later.
pub type Moment<'a> = (i64, usize, Seen<'a>);

/// How many events of how many messages can be replayed.
pub fn extent(case: &Case<'_>) -> (usize, usize) {
    let recorded = Recorded::of(case);
    let families = families(case).into_values().filter(|rows| is_lawful(case, rows));
    families
        .fold((0, 0), |(events, messages), rows| (events + recorded.moments(case, &rows).len(), messages + rows.len()))
}

pub fn i12_life(case: &mut Case<'_>) {
    let recorded = Recorded::of(case);
    let mut bad = Vec::new();
    for rows in families(case).into_values().filter(|rows| is_lawful(case, rows)) {
        let moments = recorded.moments(case, &rows);
        let mut life = Life::new(rows[0].key.is_some(), &recorded.crashes, &moments, &case.facts.dump.instances);
        let refused = moments.iter().find_map(|moment| life.step(*moment).err().map(|why| (moment, why)));
        if let Some(((at, n, seen), why)) = refused {
            bad.push(format!("id {}: {seen:?} at {at}: {why}", rows[*n].id));
            continue;
        }
        for (n, row) in rows.iter().enumerate() {
            let effects = row.uid.and_then(|uid| recorded.effects.get(&uid)).map_or(&[][..], Vec::as_slice);
            bad.extend(life.end(n, &row.status, effects).err().map(|why| format!("id {}: in the end {why}", row.id)));
        }
    }
    for text in bad {
        case.broken("I12", text);
    }
}

/// The rows of each key in the order of their places; each other row alone.
fn families<'a>(case: &Case<'a>) -> BTreeMap<(&'a str, &'a str, i64), Vec<&'a Row>> {
    let mut families: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    for row in &case.facts.dump.rows {
        let (key, id) = row.key.as_deref().map_or(("", row.id), |key| (key, 0));
        families.entry((row.queue.as_str(), key, id)).or_default().push(row);
    }
    families.values_mut().for_each(|rows| rows.sort_by_key(|row| row.id));
    families
}

/// The law is about claims: what was cancelled, or addressed to somebody who can read it, is left out, with its key.
fn is_lawful(case: &Case<'_>, rows: &[&Row]) -> bool {
    rows.iter().all(|row| {
        let tries = case.tries.get(&row.id).into_iter().flatten();
        row.status != "cancelled" && tries.into_iter().all(|t| step_of(t).is_some())
    })
}

fn step_of(t: &Try) -> Option<Step> {
    let token = t.token?;
    match t.event.as_str() {
        "failed" | "panicked" | "timed_out" => Some(Step::Fail(token)),
        "handed_back" => Some(Step::HandBack(token)),
        "process_died" => Some(Step::Rescue(t.session?)),
        _ => None,
    }
}

/// How a message's last claim ended.
fn last_step(row: &Row) -> Option<Step> {
    let token = row.token?;
    match (row.status.as_str(), row.error_kind.as_deref()) {
        ("done", _) => Some(Step::Done(token)),
        ("dead", Some("process_died")) => Some(Step::Rescue(row.session?)),
        ("dead", Some("retries_exhausted")) => Some(Step::Fail(token)),
        ("dead", _) => Some(Step::Reject(token)),
        _ => None,
    }
}

/// The processes' histories, by message.
struct Recorded<'a> {
    acts: HashMap<i64, Vec<(i64, Seen<'a>)>>,
    crashes: Vec<Crash>,
    /// By which runs.
    effects: HashMap<i64, Vec<i64>>,
}

/// A crash of the server, or what may be one, or its standby in its place: claims are forgotten whose commit had not reached the disk, or
/// the standby.
pub struct Crash {
    pub from: i64,
    /// It accepts again, or the standby does.
    pub to: i64,
    /// The standby was behind since then: it lacks all that the primary did meanwhile.
    pub behind_since: Option<i64>,
}

/// Faults that end all of a server's processes at once, or make another its successor.
const CRASHES: [&str; 6] =
    ["immediate stop", "primary killed", "primary stopped", "leader killed", "leader stopped", "disk full"];

impl<'a> Recorded<'a> {
    fn of(case: &Case<'a>) -> Self {
        let mut acts: HashMap<i64, Vec<_>> = HashMap::new();
        let mut crashes: Vec<Crash> = Vec::new();
        let mut behind_since = None;
        for line in &case.facts.lines {
            match &line.event {
                Event::Invoke { uid, .. } => acts.entry(*uid).or_default().push((line.at, Seen::Invoked)),
                Event::Ok { uid, .. } => acts.entry(*uid).or_default().push((line.at, Seen::Acknowledged)),
                Event::Start { uid, attempt, run, .. } => {
                    let attempt = i32::try_from(*attempt).expect("few tries");
                    acts.entry(*uid).or_default().push((line.at, Seen::Start { attempt, run: *run, by: &line.by }));
                }
                Event::Finish { uid, run } => {
                    acts.entry(*uid).or_default().push((line.at, Seen::Finish { run: *run }));
                }
                Event::Fault { what, .. } if CRASHES.contains(&what.as_str()) => {
                    crashes.push(Crash { from: line.at, to: i64::MAX, behind_since });
                }
                Event::Behind => behind_since = Some(line.at),
                Event::Accepts => {
                    behind_since = None;
                    if let Some(crash) = crashes.last_mut() {
                        crash.to = crash.to.min(line.at);
                    }
                }
                _ => {}
            }
        }
        let mut effects: HashMap<i64, Vec<i64>> = HashMap::new();
        case.facts.dump.effects.iter().for_each(|effect| effects.entry(effect.uid).or_default().push(effect.run));
        Self { acts, crashes, effects }
    }

    fn moments(&self, case: &Case<'a>, rows: &[&'a Row]) -> Vec<Moment<'a>> {
        let mut moments = Vec::new();
        for (n, row) in rows.iter().enumerate() {
            let sent = row.uid.and_then(|uid| case.sent.get(&uid));
            moments.push((row.created_at, n, Seen::Published { delayed: sent.is_some_and(|s| s.delay_ms > 0) }));
            let tries = case.tries.get(&row.id).into_iter().flatten();
            let earlier = tries.filter_map(|t| {
                // A try that was given back is not counted in its row.
                let attempt = t.attempt + i32::from(t.event == "handed_back");
                Some((t.claimed_at?, t.token?, t.session?, attempt, Some(t.at), step_of(t)))
            });
            let last = row.claimed_at.zip(row.token).zip(row.session);
            let last =
                last.map(|((at, token), session)| (at, token, session, row.attempt, row.finished_at, last_step(row)));
            for (claimed_at, token, session, attempt, ended_at, step) in earlier.chain(last) {
                moments.push((claimed_at, n, Seen::Claimed { token, session, attempt }));
                moments.extend(ended_at.zip(step).map(|(at, step)| (at, n, Seen::Ended(step))));
            }
            let acts = row.uid.and_then(|uid| self.acts.get(&uid)).into_iter().flatten();
            moments.extend(acts.map(|(at, seen)| (*at, n, *seen)));
        }
        let rank = |seen: &Seen<'_>| match seen {
            Seen::Invoked => 0,
            Seen::Ended(_) | Seen::Acknowledged => 2,
            _ => 1,
        };
        moments.sort_by_key(|(at, n, seen)| (*at, rank(seen), *n));
        moments
    }
}
