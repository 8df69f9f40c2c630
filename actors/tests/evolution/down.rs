//! The database goes down while proposals are under way.

use pgflow::devpg::StopMode;
use pgflow::{Admin, Config};

use crate::stage::{Database, LIMIT, ORIGINAL, Stage, brisk, hopeless, proposal};
use crate::support::{eventually, own_cluster, query_text};

/// Fear: what was decided or executed while the database was away is lost or done twice; a vote, a state or a report with it.
#[tokio::test(flavor = "multi_thread")]
async fn every_proposal_ends_as_it_must_though_the_database_goes_down_twice() {
    let server = Database::Own(own_cluster(true).await);
    let mut stage = Stage::on(server, 3, |role| {
        let mut settings = brisk(role);
        settings.consensus.min_votes = 3;
        settings
    })
    .await;
    let admin = Admin::connect(&Config::new(stage.db.url())).await.unwrap();
    let hold = ["s1", "s2", "s3"].map(|id| stage.folder(id).join(".hold"));
    for file in &hold {
        std::fs::write(file, "").unwrap();
    }
    admin.pause_queue("consensus_votes_queue").await.unwrap();
    let ids = stage.submit("s1", &[proposal("a.txt", "better\n"), hopeless("c.txt")]).await;
    let (good, bad_idea) = (ids[0], ids[1]);
    let bad = stage.submit("s2", &[proposal("a.txt", "bad\n")]).await[0];
    let broken = stage.submit("s3", &[proposal("a.txt", "broken\n")]).await[0];

    // First, while all votes are cast and none is counted; as in a crash.
    stage.until("SELECT count(*) FROM pgflow_messages WHERE kind = 'consensus_vote' AND status <> 'done'", "12").await;
    stage.database_down(StopMode::Immediate).await;
    stage.database_up().await;
    admin.resume_queue("consensus_votes_queue").await.unwrap();

    // Then, while three executions run, which end before it comes back.
    for id in ["s1", "s2", "s3"] {
        eventually(LIMIT, async || stage.bytes(id, ".checking").is_some()).await;
    }
    stage.until("SELECT count(*) FROM evolution_proposals WHERE status = 'executing'", "3").await;
    stage.database_down(StopMode::Fast).await;
    for file in &hold {
        std::fs::remove_file(file).unwrap();
    }
    for id in ["s1", "s2", "s3"] {
        let ended =
            async || stage.bytes(id, ".runs").is_some_and(|runs| runs.iter().filter(|b| **b == b'\n').count() >= 2);
        eventually(LIMIT, ended).await;
    }
    stage.database_up().await;

    for (id, end) in [(good, "applied"), (bad_idea, "consensus_failed"), (bad, "rolled_back"), (broken, "failed")] {
        stage.until_status(id, end).await;
    }
    let closed = "SELECT string_agg(status, ' ' ORDER BY status) FROM evolution_approved_changes";
    stage.until(closed, "expired failed rolled_back succeeded").await;
    stage.until("SELECT string_agg(usage_count::text, ' ') FROM evolution_patterns", "1").await;
    stage.until("SELECT count(*) FROM pgflow_messages WHERE status NOT IN ('done', 'scheduled')", "0").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), b"better\n");
    assert_eq!(stage.bytes("s1", "c.txt"), None);
    assert_eq!(stage.bytes("s2", "a.txt").unwrap(), ORIGINAL);
    assert_eq!(stage.bytes("s3", "a.txt").unwrap(), ORIGINAL);
    assert_eq!(stage.bytes("s2", ".steps").unwrap(), b"restart_agent agent_process\n", "one rollback");

    let sent = "SELECT kind || ' ' || count(*) FROM pgflow_messages WHERE kind IN ('proposal_for_consensus', 'voting_request', \
                'consensus_vote', 'consensus_result', 'execute_proposal', 'rollback_trigger', 'pattern_discovered') GROUP BY kind ORDER BY kind";
    let once = [
        "consensus_result 4",
        "consensus_vote 12",
        "execute_proposal 3",
        "pattern_discovered 1",
        "proposal_for_consensus 4",
        "rollback_trigger 1",
        "voting_request 12",
    ];
    assert_eq!(query_text(&stage.client, sent).await, once);
    let told = "SELECT string_agg(status, ' ' ORDER BY status) FROM evolution_change_metrics WHERE status <> 'applied'";
    assert_eq!(stage.ask(told).await, "failed rolled_back");
    let votes = "SELECT string_agg(DISTINCT rationale, '; ' ORDER BY rationale) FROM evolution_consensus WHERE status = 'approved'";
    assert_eq!(stage.ask(votes).await, "approved 3/3, mean 0.93");
    stage.end().await;
}
