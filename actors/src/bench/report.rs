//! What the bench says: text for people, JSON with keys that stay.

use std::fmt::Write as _;

use pgflow::bench::Machine;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::figures::{CONSENSUS_BROADCAST, EXECUTION, GUARDIAN, Measured, SCORING, SUBMIT, Spread, Target};
use super::{Samples, Setting};

/// Everything that was measured, and where.
pub(crate) struct Report {
    machine: Machine,
    setting: Setting,
    targets: [(Target, Measured); 5],
    broadcast_claimed: Spread,
    guardian_claimed: Spread,
    floor: Spread,
    whole: Spread,
}

impl Report {
    /// Of these samples.
    pub(crate) fn new(machine: Machine, setting: Setting, samples: Samples) -> Self {
        let measured = |target, samples| (target, Measured::of(target, samples));
        Self {
            machine,
            setting,
            targets: [
                measured(SUBMIT, samples.submit),
                measured(SCORING, samples.scoring),
                measured(CONSENSUS_BROADCAST, samples.broadcast),
                measured(EXECUTION, samples.execution),
                measured(GUARDIAN, samples.guardian),
            ],
            broadcast_claimed: Spread::of(samples.broadcast_claimed),
            guardian_claimed: Spread::of(samples.guardian_claimed),
            floor: Spread::of(samples.floor),
            whole: Spread::of(samples.whole),
        }
    }

    /// How many times the floor a submission takes, by the means.
    fn ratio(&self) -> f64 {
        let submit = self.targets[0].1.spread.mean_ms;
        (submit / self.floor.mean_ms.max(0.001) * 100.0).round() / 100.0
    }

    /// One object.
    pub(crate) fn json(&self) -> Value {
        #[derive(Serialize)]
        struct Floor {
            #[serde(flatten)]
            spread: Spread,
            ratio: f64,
        }
        let targets: Map<String, Value> = self.targets.iter().map(|(t, m)| (t.name.to_owned(), json!(m))).collect();
        json!({
            "targets": targets,
            "parts": {
                "consensus_broadcast_from_claim": self.broadcast_claimed,
                "guardian_from_claim": self.guardian_claimed,
            },
            "submit_floor": Floor { spread: self.floor, ratio: self.ratio() },
            "round": self.whole,
            "machine": self.machine,
            "settings": self.setting,
        })
    }

    /// Lines.
    pub(crate) fn text(&self) -> String {
        let Machine { server, fsync, synchronous_commit, shared_buffers, cores, build, .. } = &self.machine;
        let s = &self.setting;
        let mut out = format!(
            "PostgreSQL {server}, fsync {fsync}, synchronous_commit {synchronous_commit}, shared_buffers {shared_buffers}, \
             {cores} cores, {build} build\n\
             {} proposals at once over {} connections, central and {} instances as processes, {} rounds after a warm-up; central knows \
             {} safe changes\nworkers of central {}, of an instance {}\n\n",
            s.proposals,
            s.connections,
            s.instances,
            s.rounds,
            s.known_safe,
            json!(s.central_workers),
            json!(s.instance_workers),
        );
        row(&mut out, ["ms", "target", "mean", "p50", "p99", "max", ""].map(str::to_owned));
        for (target, m) in &self.targets {
            let name = target.name.replace('_', " ");
            spread(&mut out, &name, &number(m.target_ms), m.spread, if m.met { "met" } else { "MISSED" });
            let part = match target.name {
                "submit" => Some(("  floor", self.floor, format!("ratio {}", self.ratio()))),
                "consensus_broadcast" => Some(("  from its claim", self.broadcast_claimed, String::new())),
                "guardian" => Some(("  from its claim", self.guardian_claimed, String::new())),
                _ => None,
            };
            if let Some((name, of, note)) = part {
                spread(&mut out, name, "", of, &note);
            }
        }
        spread(&mut out, "whole round", "", self.whole, "");
        out.push('\n');
        for (target, _) in &self.targets {
            let _ = writeln!(out, "{}: {}", target.name.replace('_', " "), target.what);
        }
        out.push_str(
            "floor: the same two INSERTs in one transaction by bare tokio-postgres, as many at once over as many connections, before \
             each round, the system idle\na target is met when the mean is below it; the figures are over all rounds\n",
        );
        out
    }
}

fn spread(out: &mut String, name: &str, target: &str, s: Spread, note: &str) {
    let [mean, p50, p99, max] = [s.mean_ms, s.p50_ms, s.p99_ms, s.max_ms].map(number);
    row(out, [name.to_owned(), target.to_owned(), mean, p50, p99, max, note.to_owned()]);
}

fn row(out: &mut String, [name, target, mean, p50, p99, max, note]: [String; 7]) {
    let line = format!("{name:<20} {target:>8} {mean:>9} {p50:>9} {p99:>9} {max:>9}  {note}");
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Three digits that count.
fn number(ms: f64) -> String {
    match ms {
        _ if ms >= 100.0 => format!("{ms:.0}"),
        _ if ms >= 1.0 => format!("{ms:.1}"),
        _ => format!("{ms:.6}"),
    }
}
