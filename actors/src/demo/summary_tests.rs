use std::collections::BTreeSet;

use pgflow_actors::messages::{CONSENSUS_RESULTS, PROPOSALS_FOR_CONSENSUS, PROPOSALS_FOR_EXECUTION, ROLLBACK_TRIGGERS};
use pgflow_actors::proposal::State;
use serde_json::Value;

use super::*;
use crate::demo::figures::MessageRow;
use crate::demo::figures::tests::{at, message};
use crate::demo::invariants::{BACKLOG, Kill, RoleEnd};
use crate::demo::script;
use crate::demo::windows::DEMO;

const SCRIPT: &str = r#"{"proposal_id":"d3300000-0000-4000-8000-000000000001","expect":"rolled_back","scene":"guardian"}
{"proposal_id":"d3300000-0000-4000-8000-000000000002","instance":2,"expect":"applied","scene":"killed"}"#;

fn about(mut row: MessageRow, entry: &Entry) -> MessageRow {
    row.proposal = Some(entry.id.to_string());
    row
}

/// A run in which everything went as it must.
fn good() -> (Vec<Entry>, Facts) {
    let entries = script::read(SCRIPT, 3).unwrap();
    let mut messages = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        let id = 10 * i64::try_from(n).unwrap();
        messages.push(about(message(id, PROPOSALS_FOR_CONSENSUS, 100, &[102]), entry));
        messages.push(about(message(id + 1, CONSENSUS_RESULTS, 110, &[113]), entry));
        messages.push(about(message(id + 2, PROPOSALS_FOR_EXECUTION, 120, &[121, 1_500]), entry));
    }
    messages.push(about(message(50, ROLLBACK_TRIGGERS, 500, &[504]), &entries[0]));
    messages.push(message(60, BACKLOG, 50, &[900]));
    messages.push(message(61, BACKLOG, 50, &[901]));
    let instances: Vec<String> = (1..=3).map(|n| format!("singularity_{n}")).collect();
    let role = RoleEnd { name: "central".into(), well: true, found_by_heartbeat: Some(0) };
    let facts = Facts {
        messages,
        fates: [(entries[0].id, State::RolledBack), (entries[1].id, State::Applied)].into(),
        differences: vec![("singularity_1".into(), Vec::new())],
        roles: vec![role],
        learned: [("RefactoringAgent".to_owned(), instances.iter().cloned().collect::<BTreeSet<_>>())].into(),
        instances,
        backlog: 2,
        kill: Some(Kill { at: at(400).unwrap(), proposal: entries[1].id }),
        ..Facts::default()
    };
    (entries, facts)
}

fn summary(entries: &[Entry], facts: &Facts) -> Summary {
    Summary::new(entries, facts, DEMO, 61.04, PathBuf::from("logs"))
}

/// Names of the invariants that fail after a change to the good run.
fn failing(spoil: impl Fn(&mut Facts)) -> Vec<&'static str> {
    let (entries, mut facts) = good();
    spoil(&mut facts);
    let summary = summary(&entries, &facts);
    let names: Vec<_> = summary.invariants.iter().filter(|i| !i.ok).map(|i| i.name).collect();
    assert_eq!(summary.ok, names.is_empty());
    names
}

#[test]
fn a_good_run_is_ok_and_its_keys_are_the_contract() {
    let (entries, facts) = good();
    let summary = summary(&entries, &facts);
    assert!(summary.ok, "{}", summary.text());
    let json: Value = serde_json::from_str(&summary.json()).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["proposals"][0]["status"], "rolled_back");
    assert_eq!(json["proposals"][1]["id"], entries[1].id.to_string());
    assert_eq!(json["rollback_ms"], 4.0);
    assert_eq!(json["rolled_back_after_ms"], 5.0);
    assert_eq!(json["back_after_kill_ms"], 1_100.0);
    assert_eq!(json["profile"]["observation_s"], 10);
    assert_eq!(json["seconds"], 61.0);
    let queue = json["queues"].as_array().unwrap().iter().find(|q| q["name"] == CONSENSUS_RESULTS).unwrap();
    for (key, value) in [("published", 2.0), ("done", 2.0), ("dead", 0.0), ("p50_ms", 3.0), ("p99_ms", 3.0)] {
        assert_eq!(queue[key].as_f64(), Some(value), "{key}");
    }
    assert!(json["invariants"].as_array().unwrap().iter().all(|i| i["ok"] == true && i["name"].is_string()));
    assert!(json.get("logs").is_none());
}

#[test]
fn each_invariant_fails_for_its_own_reason() {
    let once = "every message in exactly one terminal state";
    let lost = "nobody lost, nobody twice";
    let rolled = "rolled back while the backlog was pending";
    let killed = "killed in mid-execution and back within five seconds";
    assert_eq!(failing(|_| {}), Vec::<&str>::new());
    assert_eq!(failing(|f| f.messages[0].status = "parked".into()), [once]);
    assert_eq!(failing(|f| f.messages[0].id = 1), [once]);
    assert_eq!(failing(|f| drop(f.messages.remove(0))), [lost]);
    assert_eq!(failing(|f| f.messages[7].starts = vec![at(503).unwrap()]), [rolled], "one low message came first");
    assert_eq!(failing(|f| f.messages[5].starts.truncate(1)), [killed]);
    assert_eq!(failing(|f| f.messages[5].starts[1] = at(5_401).unwrap()), [killed]);
    assert_eq!(failing(|f| f.dead_letters = 1), ["no dead letters"]);
    let fate = "every proposal in the state its content demands";
    assert_eq!(failing(|f| f.fates.values_mut().for_each(|s| *s = State::Applied)), [lost, fate]);
    let files = "files as they must be, byte for byte";
    assert_eq!(failing(|f| f.differences[0].1.push("a differs".into())), [files]);
    let learned = "a learned safety profile reached every instance";
    assert_eq!(failing(|f| f.instances.push("singularity_4".into())), [learned]);
    let heartbeat = "no wake-up lost (found_by_heartbeat 0)";
    assert_eq!(failing(|f| f.roles[0].found_by_heartbeat = Some(1)), [heartbeat]);
    assert_eq!(failing(|f| f.roles[0].found_by_heartbeat = None), [heartbeat]);
    assert_eq!(failing(|f| f.roles[0].well = false), ["every role stopped when asked"]);
    assert_eq!(failing(|f| f.broke_off = Some("cut".into())), ["the demo got to its end"]);
}

#[test]
fn the_text_names_what_failed_and_where_the_logs_are() {
    let (entries, mut facts) = good();
    facts.dead_letters = 2;
    let text = summary(&entries, &facts).text();
    for part in ["FAILED no dead letters: 2 dead letters", "logs are in logs", "FAILED, after 61.0 s", "watched 10 s"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
