//! The summary: what became of everything, as text and as one JSON object.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::figures::{QueueFigures, ms, per_queue};
use super::invariants::{Facts, Invariant, back_after, judge, trigger};
use super::script::Entry;
use super::windows::Windows;

/// One proposal's fate.
#[derive(Debug, Serialize)]
pub(crate) struct Fate {
    id: String,
    #[serde(skip)]
    shown: String,
    title: String,
    instance: String,
    status: String,
}

/// The whole summary. Its keys are a contract: more may come, none may go.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Did every invariant hold?
    pub(crate) ok: bool,
    seconds: f64,
    profile: Windows,
    proposals: Vec<Fate>,
    queues: Vec<QueueFigures>,
    rollback_ms: Option<f64>,
    rolled_back_after_ms: Option<f64>,
    back_after_kill_ms: Option<f64>,
    retries: i64,
    dead_letters: i64,
    invariants: Vec<Invariant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logs: Option<PathBuf>,
}

impl Summary {
    /// Judges the facts. `logs` is named when something failed.
    pub(crate) fn new(entries: &[Entry], facts: &Facts, windows: Windows, seconds: f64, logs: PathBuf) -> Self {
        let invariants = judge(entries, facts);
        let ok = invariants.iter().all(|i| i.ok);
        let queues = per_queue(&facts.messages);
        let fate = |entry: &Entry| Fate {
            id: entry.id.to_string(),
            shown: entry.short_id(),
            title: entry.title.clone(),
            instance: facts.instances.get(entry.instance).cloned().unwrap_or_default(),
            status: facts.fates.get(&entry.id).map_or("unknown", |state| state.tag()).to_owned(),
        };
        let trigger = trigger(facts);
        let taken_back = trigger.and_then(|t| t.finished?.duration_since(t.created).ok());
        Self {
            ok,
            seconds: (seconds * 10.0).round() / 10.0,
            profile: windows,
            proposals: entries.iter().map(fate).collect(),
            retries: queues.iter().map(|q| q.retries).sum(),
            queues,
            rollback_ms: trigger.and_then(|t| t.latency()).map(ms),
            rolled_back_after_ms: taken_back.map(ms),
            back_after_kill_ms: back_after(facts).map(ms),
            dead_letters: facts.dead_letters,
            invariants,
            logs: (!ok).then_some(logs),
        }
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let Windows { observation_s, report_s, vote_s, .. } = self.profile;
        writeln!(out, "Demo profile: a change is watched {observation_s} s and reported every {report_s} s;")?;
        writeln!(out, "votes are collected for {vote_s} s. (Outside the demo: 300 s, 30 s and 30 s.)")?;
        writeln!(out, "\nProposals")?;
        for fate in &self.proposals {
            let Fate { shown, title, instance, status, .. } = fate;
            writeln!(out, "  {shown:<9} {status:<16} {instance:<14} {title}")?;
        }
        writeln!(out, "\nQueues                             published    done  dead     publish to start, ms")?;
        writeln!(out, "                                                              p50      p95      p99")?;
        for queue in &self.queues {
            let QueueFigures { name, published, done, dead, .. } = queue;
            write!(out, "  {name:<32} {published:>9} {done:>7} {dead:>5}")?;
            for value in [queue.p50_ms, queue.p95_ms, queue.p99_ms] {
                write!(out, " {:>8}", shown_ms(value))?;
            }
            writeln!(out)?;
        }
        writeln!(out, "  Waits that were asked for do not count; the backlog was held until the rollback was done.\n")?;
        if self.rollback_ms.is_some() {
            writeln!(out, "Rollback: started {} ms after its trigger was published,", shown_ms(self.rollback_ms))?;
            writeln!(out, "  files as before, and checked, after {} ms", shown_ms(self.rolled_back_after_ms))?;
        }
        if self.back_after_kill_ms.is_some() {
            writeln!(out, "Killed instance: at its work again after {} ms", shown_ms(self.back_after_kill_ms))?;
        }
        writeln!(out, "Retries: {}, dead letters: {}", self.retries, self.dead_letters)?;
        writeln!(out, "\nInvariants")?;
        for Invariant { name, ok, detail } in &self.invariants {
            let (mark, colon) = (if *ok { "ok    " } else { "FAILED" }, if detail.is_empty() { "" } else { ": " });
            writeln!(out, "  {mark} {name}{colon}{detail}")?;
        }
        if let Some(logs) = &self.logs {
            writeln!(out, "\nThe roles' logs are in {}", logs.display())?;
        }
        let verdict = if self.ok { "All invariants hold" } else { "FAILED" };
        writeln!(out, "\n{verdict}, after {:.1} s.", self.seconds)
    }
}

fn shown_ms(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |ms| if ms < 1_000.0 { format!("{ms:.1}") } else { format!("{ms:.0}") })
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
