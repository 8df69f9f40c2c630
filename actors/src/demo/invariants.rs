//! What must hold after the demo, judged on what the database, the folders and the roles say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use pgflow_actors::messages::{
    CONSENSUS_RESULTS, CONSENSUS_VOTES, PROPOSALS_FOR_CONSENSUS, PROPOSALS_FOR_EXECUTION, ROLLBACK_TRIGGERS,
};
use pgflow_actors::proposal::State;
use serde::Serialize;
use uuid::Uuid;

use super::figures::{MessageRow, ms};
use super::script::{Entry, Scene, short};

/// The queue of low-priority messages.
pub(crate) const BACKLOG: &str = "demo_backlog";
/// A killed instance must have its work in hand again within this.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// A kill in mid-execution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    /// When, on the server's clock.
    pub(crate) at: SystemTime,
    /// What was being executed.
    pub(crate) proposal: Uuid,
}

/// How a role ended.
#[derive(Debug, Clone)]
pub(crate) struct RoleEnd {
    /// Its name.
    pub(crate) name: String,
    /// It stopped when asked, and said so with exit code 0.
    pub(crate) well: bool,
    /// What its heartbeats found that no wake had announced; `None`: it did not say.
    pub(crate) found_by_heartbeat: Option<u64>,
}

/// Everything that is judged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// All messages.
    pub(crate) messages: Vec<MessageRow>,
    /// Where each proposal stands.
    pub(crate) fates: BTreeMap<Uuid, State>,
    /// Proposals in the order of their executions.
    pub(crate) executed: Vec<Uuid>,
    /// Rows among the dead letters.
    pub(crate) dead_letters: i64,
    /// Per instance, what differs from the files that must be there.
    pub(crate) differences: Vec<(String, Vec<String>)>,
    /// Per role, how it ended.
    pub(crate) roles: Vec<RoleEnd>,
    /// The instances.
    pub(crate) instances: Vec<String>,
    /// Instances that hold a learned profile, per agent type.
    pub(crate) learned: BTreeMap<String, BTreeSet<String>>,
    /// Low-priority messages that were published.
    pub(crate) backlog: usize,
    /// The kill, if it came to that.
    pub(crate) kill: Option<Kill>,
    /// Why the demo did not get to its end.
    pub(crate) broke_off: Option<String>,
}

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Invariant {
    /// What.
    pub(crate) name: &'static str,
    /// Does it?
    pub(crate) ok: bool,
    /// The figures behind it, or what is wrong.
    pub(crate) detail: String,
}

/// The message that ordered a rollback, the first if there are several.
pub(crate) fn trigger(facts: &Facts) -> Option<&MessageRow> {
    facts.messages.iter().filter(|m| m.queue == ROLLBACK_TRIGGERS).min_by_key(|m| m.created)
}

/// From the kill to the next start of the same execution.
pub(crate) fn back_after(facts: &Facts) -> Option<Duration> {
    let kill = facts.kill?;
    let id = kill.proposal.to_string();
    let execution = about(facts, PROPOSALS_FOR_EXECUTION, &id).next()?;
    execution.starts.iter().find_map(|start| start.duration_since(kill.at).ok())
}

/// Backlog messages that were published before the trigger and not started when it was.
fn pending_at(facts: &Facts, trigger: &MessageRow) -> usize {
    let Some(started) = trigger.starts.first() else { return 0 };
    let waits = |m: &&MessageRow| {
        m.queue == BACKLOG && m.created < trigger.created && m.starts.first().is_none_or(|start| start > started)
    };
    facts.messages.iter().filter(waits).count()
}

fn about<'a>(facts: &'a Facts, queue: &'a str, proposal: &'a str) -> impl Iterator<Item = &'a MessageRow> {
    facts.messages.iter().filter(move |m| m.queue == queue && m.proposal.as_deref() == Some(proposal))
}

/// How many wrongs are told of one invariant.
const WRONGS_SHOWN: usize = 6;

/// `ok` with the figures, else what is wrong.
fn invariant(name: &'static str, wrong: Vec<String>, figures: impl Into<String>) -> Invariant {
    let ok = wrong.is_empty();
    let shown = wrong[..wrong.len().min(WRONGS_SHOWN)].join("; ");
    let detail = match wrong.len().saturating_sub(WRONGS_SHOWN) {
        _ if ok => figures.into(),
        0 => shown,
        more => format!("{shown}; and {more} more"),
    };
    Invariant { name, ok, detail }
}

fn unless(ok: bool, wrong: impl Into<String>) -> Vec<String> {
    if ok { Vec::new() } else { vec![wrong.into()] }
}

/// Judges everything. Scenes that the file does not ask for are not judged.
pub(crate) fn judge(entries: &[Entry], facts: &Facts) -> Vec<Invariant> {
    let mut list = vec![
        invariant("the demo got to its end", facts.broke_off.iter().cloned().collect(), ""),
        each_message_once(facts),
        nobody_lost(entries, facts),
        invariant(
            "no dead letters",
            unless(facts.dead_letters == 0, format!("{} dead letters", facts.dead_letters)),
            "",
        ),
        each_fate(entries, facts),
        files(facts),
    ];
    if entries.iter().any(|e| e.scene == Some(Scene::Guardian)) {
        list.push(rollback(entries, facts));
    }
    if entries.iter().any(|e| e.scene == Some(Scene::Killed)) {
        list.push(killed(facts));
    }
    // Learning needs three instances that report the same.
    if facts.instances.len() >= 3 && entries.iter().any(|e| e.scene.is_some()) {
        list.push(learned(facts));
    }
    list.push(heartbeats(facts));
    list.push(roles(facts));
    list
}

fn each_message_once(facts: &Facts) -> Invariant {
    let ids: BTreeSet<i64> = facts.messages.iter().map(|m| m.id).collect();
    let mut wrong =
        unless(ids.len() == facts.messages.len(), format!("{} rows for {} messages", facts.messages.len(), ids.len()));
    let mut left: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for message in facts.messages.iter().filter(|m| !m.is_terminal()) {
        *left.entry((&message.queue, &message.status)).or_default() += 1;
    }
    wrong.extend(left.into_iter().map(|((queue, status), count)| format!("{count} {status} on {queue}")));
    invariant("every message in exactly one terminal state", wrong, format!("{} messages", ids.len()))
}

/// What was published by the demo, and what must follow from it, is all there, and not twice.
fn nobody_lost(entries: &[Entry], facts: &Facts) -> Invariant {
    let mut wrong = Vec::new();
    let done = facts.messages.iter().filter(|m| m.queue == BACKLOG && m.status == "done").count();
    if done != facts.backlog {
        wrong.push(format!("{done} of {} low-priority messages done", facts.backlog));
    }
    for entry in entries {
        let id = entry.id.to_string();
        let rejected = facts.fates.get(&entry.id) == Some(&State::ConsensusFailed);
        let expected = [
            (PROPOSALS_FOR_CONSENSUS, 1),
            (CONSENSUS_RESULTS, 1),
            (PROPOSALS_FOR_EXECUTION, usize::from(!rejected)),
            (ROLLBACK_TRIGGERS, usize::from(facts.fates.get(&entry.id) == Some(&State::RolledBack))),
        ];
        for (queue, count) in expected {
            let found = about(facts, queue, &id).count();
            if found != count {
                wrong.push(format!("{}: {found} on {queue}, expected {count}", entry.short_id()));
            }
        }
    }
    let votes = facts.messages.iter().filter(|m| m.queue == CONSENSUS_VOTES).count();
    invariant("nobody lost, nobody twice", wrong, format!("{} proposals, {votes} votes, {done} low", entries.len()))
}

fn each_fate(entries: &[Entry], facts: &Facts) -> Invariant {
    let mut wrong = Vec::new();
    for entry in entries {
        let fate = facts.fates.get(&entry.id).copied();
        let ok = match entry.expect {
            Some(expected) => fate == Some(expected),
            None => fate.is_some_and(State::is_settled),
        };
        if !ok {
            let shown = |state: Option<State>| state.map_or("unknown", State::tag);
            let expected = entry.expect.map_or("settled", State::tag);
            wrong.push(format!("{} is {}, expected {expected}", entry.short_id(), shown(fate)));
        }
    }
    invariant("every proposal in the state its content demands", wrong, format!("{} proposals", entries.len()))
}

fn files(facts: &Facts) -> Invariant {
    let wrong = facts
        .differences
        .iter()
        .flat_map(|(instance, list)| list.iter().map(move |difference| format!("{instance}: {difference}")))
        .collect();
    invariant("files as they must be, byte for byte", wrong, format!("{} workspaces", facts.differences.len()))
}

fn rollback(entries: &[Entry], facts: &Facts) -> Invariant {
    let name = "rolled back while the backlog was pending";
    let Some(trigger) = trigger(facts) else { return invariant(name, vec!["no trigger was sent".into()], "") };
    let pending = pending_at(facts, trigger);
    let mut wrong = unless(pending == facts.backlog, format!("{pending} of {} were pending", facts.backlog));
    let about = trigger.proposal.as_deref().and_then(|id| Uuid::parse_str(id).ok());
    if !entries.iter().any(|e| e.scene == Some(Scene::Guardian) && Some(e.id) == about) {
        wrong.push(format!("the trigger is about {}", about.map_or("nothing".into(), short)));
    }
    let took = trigger.latency().map_or(f64::NAN, ms);
    invariant(name, wrong, format!("started {took} ms after the trigger was published, {pending} pending"))
}

fn killed(facts: &Facts) -> Invariant {
    let name = "killed in mid-execution and back within five seconds";
    let Some(back) = back_after(facts) else {
        return invariant(name, vec!["its execution was not started again".into()], "");
    };
    invariant(name, unless(back <= BACK_WITHIN, format!("after {} ms", ms(back))), format!("after {} ms", ms(back)))
}

fn learned(facts: &Facts) -> Invariant {
    let name = "a learned safety profile reached every instance";
    let everywhere = |holders: &BTreeSet<String>| facts.instances.iter().all(|i| holders.contains(i));
    let agents: Vec<&str> =
        facts.learned.iter().filter(|(_, holders)| everywhere(holders)).map(|(agent, _)| agent.as_str()).collect();
    invariant(name, unless(!agents.is_empty(), format!("held by {:?}", facts.learned)), agents.join(", "))
}

fn heartbeats(facts: &Facts) -> Invariant {
    let wrong = facts.roles.iter().filter_map(|role| match role.found_by_heartbeat {
        Some(0) => None,
        Some(found) => Some(format!("{}: {found}", role.name)),
        None => Some(format!("{} did not say", role.name)),
    });
    invariant("no wake-up lost (found_by_heartbeat 0)", wrong.collect(), "")
}

fn roles(facts: &Facts) -> Invariant {
    let bad = facts.roles.iter().filter(|r| !r.well).map(|r| format!("{} did not stop well", r.name));
    invariant("every role stopped when asked", bad.collect(), format!("{} roles", facts.roles.len()))
}
