//! What must hold in the end, by what was proposed alone.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::ledger;
use crate::poison::Poison;
use crate::script::{Group, Nature, Planned};
use crate::support::query_text;

/// Everything that is wrong with proposals and messages; nothing, if all is well.
pub async fn wrongs(client: &Client, groups: &[Group], planted: &[(i64, Poison)]) -> Vec<String> {
    let all: Vec<&Planned> = groups.iter().flatten().collect();
    let mut wrong = ways(client, &all).await;
    wrong.extend(follow_ups(client, &all).await);
    wrong.extend(effects(client, &all).await);
    wrong.extend(dead_letters(client, planted).await);
    for lost in ledger::lost_or_doubled(client).await {
        wrong.push(format!("message {lost}"));
    }
    for two in ledger::held_twice(client).await {
        wrong.push(format!("two at a time: {two}"));
    }
    wrong
}

/// Each went through the states that it must, and no others: an execution that was cut short begins anew, and counts once.
async fn ways(client: &Client, all: &[&Planned]) -> Vec<String> {
    let mut ways: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in client.query("SELECT proposal_id::text, state FROM kept_states ORDER BY n", &[]).await.unwrap() {
        ways.entry(row.get(0)).or_default().push(row.get(1));
    }
    let mut wrong = Vec::new();
    if ways.len() != all.len() {
        wrong.push(format!("{} proposals, {} were submitted", ways.len(), all.len()));
    }
    for planned in all {
        let mut way = ways.remove(&planned.id.to_string()).unwrap_or_default();
        way.dedup();
        if way != planned.nature.way() {
            let why = format!(
                "SELECT concat_ws(' ', consensus_result, consensus_rationale, execution_error, rollback_reason) \
                               FROM evolution_proposals WHERE proposal_id = '{}'",
                planned.id
            );
            let why = query_text(client, &why).await;
            wrong.push(format!("{} went {way:?}: {why:?}", shown(planned)));
        }
    }
    wrong
}

/// From each follows what must, once.
async fn follow_ups(client: &Client, all: &[&Planned]) -> Vec<String> {
    let sql = "SELECT payload ->> 'proposal_id', kind || CASE WHEN payload ->> 'status' IN ('failed', 'rolled_back') \
                 THEN ' ' || (payload ->> 'status') ELSE '' END, count(*) \
               FROM pgflow_messages WHERE payload ->> 'proposal_id' IS NOT NULL GROUP BY 1, 2";
    let mut found: BTreeMap<(String, String), i64> = BTreeMap::new();
    for row in client.query(sql, &[]).await.unwrap() {
        found.insert((row.get(0), row.get(1)), row.get(2));
    }
    let mut wrong = Vec::new();
    for planned in all {
        let nature = planned.nature;
        let expected = [
            ("proposal_for_consensus", true),
            ("consensus_result", true),
            ("execute_proposal", nature != Nature::Hopeless),
            ("execution_metrics failed", nature == Nature::Broken),
            ("execution_metrics rolled_back", nature == Nature::Bad),
            ("rollback_trigger", nature == Nature::Bad),
        ];
        for (kind, is_due) in expected {
            let count = found.get(&(planned.id.to_string(), kind.to_owned())).copied().unwrap_or_default();
            if count != i64::from(is_due) {
                wrong.push(format!("{}: {count} {kind}", shown(planned)));
            }
        }
    }
    let votes = "SELECT concat_ws(' ', count(*), 'votes of', payload ->> 'instance_id', 'on', payload ->> 'proposal_id') \
                 FROM pgflow_messages WHERE kind = 'consensus_vote' AND status = 'done' \
                 GROUP BY payload ->> 'proposal_id', payload ->> 'instance_id' HAVING count(*) > 1";
    wrong.extend(query_text(client, votes).await);
    wrong
}

/// What they left behind in the tables, counted.
async fn effects(client: &Client, all: &[&Planned]) -> Vec<String> {
    let of = |nature| all.iter().filter(|p| p.nature == nature).count();
    let mut wrong = Vec::new();
    for (what, sql, expected) in [
        ("changes kept", "SELECT count(*) FROM evolution_proposals WHERE kept_at IS NOT NULL", of(Nature::Good)),
        (
            "patterns reported",
            "SELECT count(*) FROM pgflow_messages WHERE kind = 'pattern_discovered'",
            of(Nature::Good),
        ),
        ("patterns counted", "SELECT coalesce(sum(usage_count), 0) FROM evolution_patterns", of(Nature::Good)),
        ("succeeded", "SELECT count(*) FROM evolution_approved_changes WHERE status = 'succeeded'", of(Nature::Good)),
        (
            "rolled back",
            "SELECT count(*) FROM evolution_approved_changes WHERE status = 'rolled_back'",
            of(Nature::Bad),
        ),
        ("failed", "SELECT count(*) FROM evolution_approved_changes WHERE status = 'failed'", of(Nature::Broken)),
        ("rollbacks", "SELECT count(*) FROM evolution_rollbacks WHERE completed_at IS NOT NULL", of(Nature::Bad)),
        ("rollbacks ordered", "SELECT count(*) FROM evolution_rollbacks", of(Nature::Bad)),
        ("failed rollbacks", "SELECT count(*) FROM evolution_rollbacks WHERE failed_at IS NOT NULL", 0),
    ] {
        let found = ledger::number(client, sql).await;
        if found != expected {
            wrong.push(format!("{what}: {found}, expected {expected}"));
        }
    }
    wrong
}

/// The poison is dead, each under its tag, and nothing else is.
async fn dead_letters(client: &Client, planted: &[(i64, Poison)]) -> Vec<String> {
    let mut dead: BTreeMap<i64, String> = BTreeMap::new();
    for row in client.query("SELECT id, coalesce(error, '') FROM pgflow_dlq", &[]).await.unwrap() {
        dead.insert(row.get(0), row.get(1));
    }
    let mut wrong = Vec::new();
    for (id, poison) in planted {
        match dead.remove(id) {
            Some(error) if error.starts_with(poison.tag) => {}
            Some(error) => wrong.push(format!("the poison {} is dead of: {error}", poison.tag)),
            None => wrong.push(format!("the poison {} is not dead", poison.tag)),
        }
    }
    wrong.extend(dead.into_values().map(|error| format!("dead, and no poison: {error}")));
    wrong
}

fn shown(planned: &Planned) -> String {
    format!("{:?} {} of {} for {}", planned.nature, planned.id, crate::script::name(planned.instance), planned.target)
}
