//! Messages that nobody can handle, planted among the others. They must end in the DLQ, each for its own reason.

use tokio_postgres::Client;
use uuid::Uuid;

use crate::chance::Chance;
use crate::script::{INSTANCES, name};

/// One of them.
pub struct Poison {
    queue: &'static str,
    body: String,
    target: Option<String>,
    /// The first word of its dead letter.
    pub tag: &'static str,
}

const NOW: &str = "2025-10-31T12:00:00Z";

/// One of every sort.
pub fn write(chance: &mut Chance) -> Vec<Poison> {
    let central = |queue, body: String, tag| Poison { queue, body, target: None, tag };
    let victim = name(chance.within(0..INSTANCES));
    let to = |queue, body: String, tag| Poison { queue, body, target: Some(victim.clone()), tag };
    let nobody = Uuid::now_v7();
    let mut all = vec![
        central("proposals_for_consensus_queue", "not JSON \u{1F480}".into(), "unreadable"),
        central("proposals_for_consensus_queue", "[1, 2, 3]".into(), "unreadable"),
        central("proposals_for_consensus_queue", r#"{"instance_id": "x"}"#.into(), "missing_type"),
        central("proposals_for_consensus_queue", r#"{"type": "proposal_for_consensus"}"#.into(), "invalid_message"),
        central(
            "proposals_for_consensus_queue",
            format!(
                r#"{{"type": "proposal_for_consensus", "proposal_id": "{nobody}", "instance_id": "x", "agent_type": "A", "code_change": {{}}, "impact_score": 11, "timestamp": "{NOW}"}}"#
            ),
            "invalid_impact_score",
        ),
        central("consensus_votes_queue", r#"{"type": "consensus_vote", "version": 0}"#.into(), "unsupported_version"),
        central(
            "metrics_to_guardian_queue",
            format!(
                r#"{{"type": "execution_metrics", "proposal_id": 1, "instance_id": "x", "metrics_before": {{}}, "metrics_after": {{}}, "timestamp": "{NOW}"}}"#
            ),
            "invalid_format",
        ),
        // Nothing is wrong with these but what they are about: tried again, and then dead.
        central(
            "metrics_to_guardian_queue",
            format!(
                r#"{{"type": "execution_metrics", "proposal_id": "{nobody}", "instance_id": "x", "metrics_before": {{}}, "metrics_after": {{"error_rate": 0.5}}, "timestamp": "{NOW}"}}"#
            ),
            "change_not_registered",
        ),
        to(
            "rollback_triggers_queue",
            format!(
                r#"{{"type": "rollback_trigger", "proposal_id": "{nobody}", "instance_id": "{victim}", "reason": "manual", "timestamp": "{NOW}"}}"#
            ),
            "proposal_not_found",
        ),
        to(
            "consensus_results_queue",
            format!(
                r#"{{"type": "consensus_result", "proposal_id": "{nobody}", "instance_id": "{victim}", "status": "perhaps", "timestamp": "{NOW}"}}"#
            ),
            "unknown_status",
        ),
        to(
            "proposals_for_execution_queue",
            format!(
                r#"{{"type": "execute_proposal", "proposal_id": "{nobody}", "instance_id": "somebody_else", "timestamp": "{NOW}"}}"#
            ),
            "wrong_instance",
        ),
    ];
    chance.shuffle(&mut all);
    all
}

impl Poison {
    /// Past every check at publishing, as a foreign client would: answers the message's number.
    pub async fn plant(&self, client: &Client) -> i64 {
        let kind = match self.queue {
            "proposals_for_consensus_queue" => "proposal_for_consensus",
            "consensus_votes_queue" => "consensus_vote",
            "metrics_to_guardian_queue" => "execution_metrics",
            "rollback_triggers_queue" => "rollback_trigger",
            "consensus_results_queue" => "consensus_result",
            _ => "execute_proposal",
        };
        if serde_json::from_str::<serde_json::Value>(&self.body).is_ok() {
            let sql = "SELECT pgflow_publish($1, $2::text::jsonb, kind => $3, target => $4)";
            return client.query_one(sql, &[&self.queue, &self.body, &kind, &self.target]).await.unwrap().get(0);
        }
        // What is no JSON does not pass the function: bytes, into the lane itself.
        let sql = "INSERT INTO pgflow_ready (lane_id, kind, body) \
                   SELECT lane_id, $2, $3 FROM pgflow_lanes JOIN pgflow_queues USING (queue_id) \
                   WHERE name = $1 AND class = 0 AND target IS NULL RETURNING seq";
        client.query_one(sql, &[&self.queue, &kind, &self.body.as_bytes()]).await.unwrap().get(0)
    }
}
