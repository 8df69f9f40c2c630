//! The table of cells: a file that keeps the newest row of each (cell, seed, Postgres), in order.

use std::{collections::BTreeMap, path::Path, sync::Mutex};

use super::{
    check::{Case, Facts, Violation},
    history::Event,
};

const HEAD: &str = "\
# Fault matrix

Written by `make faults`; each row is the newest run of its cell, seed and Postgres version, on two shared cores, a debug build. A cell is
traffic (plain, transactional, keyed, delayed, deduplicated, retried and refused messages of three priorities, from several publishers to
three instances, each instance a process; in F5s, F10s and F11 the publishers have a spool, and what is in it counts as acknowledged), a
fault under it, calm, a drain, and the checker's verdict from every process's history and the database's tables ([check.rs](check.rs),
[order.rs](order.rs), [replay.rs](replay.rs); [mutants.rs](mutants.rs) plants what each invariant must see).

Lost, doubled and reordered count broken invariants (I1; I3, I4; I7), the verdict counts all; unknown are publishes whose answer was lost.
Recovery, median / longest of how many: rescue, from a kill to the message running elsewhere (it waits its turn there); restart, from the server's first
accept to the first message running (in F5s the first that is forwarded: a forwarder whose tries failed waits up to 5 s for the next,
and the server may be stopped again before); listener, from the end of its backend to listening again; failover, from the fault to all instances
listening at the new primary. Lost \"as configured\": confirmed and not yet at the asynchronous standby that was promoted, which no verdict counts.

| cell | fault | seed | Postgres | messages | unknown | faults | lost | doubled | reordered | recovery | drained in | verdict |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

const TAIL: &str = "
## Not built

| cell | why |
|---|---|
| F17 an older release beside this one | there is none yet; the newer schema under running instances is there |
| F16 full notify queue on Postgres 15 | its size is a setting from Postgres 17 on; filled there |

## Found by the matrix

| cell, seed | what | stays found by |
|---|---|---|
| F16, 1 on Postgres 18 | a notify queue that was once full stays full after its cause is gone, until somebody asks for its usage: wakes, publishes to sleeping instances and promotions failed for ever; a heartbeat asks now | `f16_a_hostile_client` |
| F19, 2 | a leader whose connections had become half-open, but for its listener's, tried them one after the other: nothing was promoted for three minutes | `f19_seed_2_a_leader_whose_connections_hang` |
| F16, 1 on Postgres 18 | each heartbeat that found rows due added a chain of retries while promotions failed: 44,000 tries in 30 s | `promotions_that_fail_do_not_multiply` |
| F9b, 1 | an old primary that is frozen and stands first in the URL kept every new connection from the promoted standby, for ever: it accepts and never answers | `f9b_the_old_primary_is_frozen_and_goes_on` |
| F9pc, 1 | not ours: with `etcd3`, Patroni 3.0.2 lets a leader that was frozen at the wrong moment take the lock back from its successor (its issue 2689, mended in 3.0.3); the cell uses the older interface of etcd | `f9pc_leader_frozen_and_goes_on` |
| F7d, 1 | behind a half-open connection whose bytes something else acknowledges (a proxy, a pooler), a claim, a settle or the last statement of a stop waited for ever: the queue stood still on that instance, and a stop never returned | `f7d_half_open_connections` |
";

/// How long things took to come back, in µs.
#[derive(Default)]
pub struct Recovery {
    pub rescued: Vec<i64>,
    pub restarted: Vec<i64>,
    pub listening: Vec<i64>,
    pub failed_over: Vec<i64>,
}

impl Recovery {
    pub fn of(facts: &Facts) -> Self {
        let mut all = Self::default();
        let lines = &facts.lines;
        for (i, line) in lines.iter().enumerate() {
            match &line.event {
                Event::Fault { what, on: Some(name) } if what == "kill" => {
                    all.rescued.extend(rescues(&lines[..i], &lines[i..], name));
                }
                Event::Fault { what, on: Some(name) } if what == "end listener" => {
                    let up = |l: &&super::history::Line| l.by == *name && l.event == Event::Listening { up: true };
                    all.listening.extend(lines[i..].iter().find(up).map(|l| l.at - line.at));
                }
                Event::Moved => {
                    let fault = lines[..i].iter().rfind(|l| matches!(l.event, Event::Fault { .. }));
                    all.failed_over.extend(fault.map(|l| line.at - l.at));
                }
                Event::Accepts => {
                    let start = lines[i..].iter().find(|l| matches!(l.event, Event::Start { .. }));
                    all.restarted.extend(start.map(|l| l.at - line.at));
                }
                _ => {}
            }
        }
        all
    }

    fn shown(&self) -> String {
        let mut parts = Vec::new();
        for (what, times) in [
            ("rescue", &self.rescued),
            ("restart", &self.restarted),
            ("listener", &self.listening),
            ("failover", &self.failed_over),
        ] {
            let mut times = times.clone();
            times.sort_unstable();
            if let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) {
                let (median, longest, of) = (*median as f64 / 1e6, *longest as f64 / 1e6, times.len());
                parts.push(format!("{what} {median:.2} / {longest:.2} s of {of}"));
            }
        }
        if parts.is_empty() { "–".into() } else { parts.join("; ") }
    }
}

/// Of what ran in the killed process: when it ran elsewhere.
fn rescues(before: &[super::history::Line], after: &[super::history::Line], name: &str) -> Vec<i64> {
    let mut running = std::collections::HashMap::new();
    for line in before.iter().filter(|l| l.by == name) {
        match line.event {
            Event::Start { uid, run, .. } => drop(running.insert(run, uid)),
            Event::Finish { run, .. } => drop(running.remove(&run)),
            _ => {}
        }
    }
    let killed = after[0].at;
    let again =
        |uid: i64| after.iter().find(|l| l.by != name && matches!(l.event, Event::Start { uid: u, .. } if u == uid));
    running.into_values().filter_map(|uid| again(uid).map(|l| l.at - killed)).collect()
}

fn events(facts: &Facts, is: fn(&Event) -> bool) -> usize {
    facts.lines.iter().filter(|l| is(&l.event)).count()
}

/// How much was confirmed and lost because it had not reached the asynchronous standby.
pub fn lost_as_configured(facts: &Facts) -> usize {
    Case::sort(facts).lost().filter(|(_, sent)| sent.behind).count()
}

/// A cell in one line, for who watches it run.
pub fn summary(facts: &Facts, drained_s: f64) -> String {
    let (messages, effects, tries) = (facts.dump.rows.len(), facts.dump.effects.len(), facts.dump.tries.len());
    let (unknown, refused) =
        (events(facts, |e| matches!(e, Event::Info { .. })), events(facts, |e| matches!(e, Event::Fail { .. })));
    let (faults, recovery) = (events(facts, |e| matches!(e, Event::Fault { .. })), Recovery::of(facts).shown());
    let lost = lost_as_configured(facts);
    format!(
        "{messages} messages ({lost} lost as configured), {effects} effects, {tries} tries that did not finish, {unknown} unknown, {refused} refused or rolled back, \
         {faults} faults, recovery {recovery}, drained in {drained_s:.1} s"
    )
}

/// Puts a cell's row into the file that `PGFLOW_FAULTS_REPORT` names.
pub fn add(path: &Path, cell: &str, fault: &str, major: u16, facts: &Facts, broken: &[Violation], drained_s: f64) {
    let count = |of: &[&str]| broken.iter().filter(|v| of.contains(&v.invariant)).count();
    let (unknown, faults) =
        (events(facts, |e| matches!(e, Event::Info { .. })), events(facts, |e| matches!(e, Event::Fault { .. })));
    let (lost, doubled, reordered) = (count(&["I1"]), count(&["I3", "I4"]), count(&["I7"]));
    let lost = match lost_as_configured(facts) {
        0 => lost.to_string(),
        permitted => format!("{lost} ({permitted} as configured)"),
    };
    let (messages, recovery) = (facts.dump.rows.len(), Recovery::of(facts).shown());
    let verdict = if broken.is_empty() { "passed".into() } else { format!("**{} broken**", broken.len()) };
    let row = format!(
        "| {messages} | {unknown} | {faults} | {lost} | {doubled} | {reordered} | {recovery} | {drained_s:.1} s | {verdict} |"
    );
    put(path, &format!("| {cell} | {fault} | {} | {major} ", facts.seed), &row);
}

/// A cell that did not run here, and why.
pub fn skip(path: &Path, cell: &str, fault: &str, seed: u64, major: u16, why: &str) {
    put(
        path,
        &format!("| {cell} | {fault} | {seed} | {major} "),
        &format!("| – | – | – | – | – | – | – | – | skipped: {why} |"),
    );
}

fn put(path: &Path, key: &str, row: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let sorted = |key: &str| {
        let cells: Vec<&str> = key.split('|').map(str::trim).collect();
        let digits: String = cells[1].chars().filter(char::is_ascii_digit).collect();
        (
            digits.parse::<u32>().unwrap_or(0),
            cells[1].to_owned(),
            cells[4].to_owned(),
            cells[3].parse::<u64>().unwrap_or(0),
        )
    };
    let table = old.split("\n## ").next().unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("| F"));
    let mut all: BTreeMap<_, String> = rows.map(|line| (sorted(line), line.to_owned())).collect();
    all.insert(sorted(key), format!("{key}{row}"));
    let body: String = all.into_values().map(|line| line + "\n").collect();
    std::fs::write(path, format!("{HEAD}{body}{TAIL}")).expect("the report is written");
}
