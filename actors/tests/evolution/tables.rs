//! The tables: made once, whoever comes first; and the law that they state.

use pgflow_actors::store;
use pgflow_actors::submit::{read_line, submit};

use crate::stage::{Stage, calm, proposal};
use crate::support::{TestDb, query_text};

/// Fear: roles that start at once on an empty database get in each other's way.
#[tokio::test(flavor = "multi_thread")]
async fn init_is_harmless_twice_and_at_once() {
    let db = TestDb::empty().await;
    let inits: Vec<_> = (0..4)
        .map(|_| {
            let url = db.url();
            tokio::spawn(async move { store::init(&url, "public").await })
        })
        .collect();
    let mut applied = 0;
    for init in inits {
        applied += init.await.unwrap().unwrap().iter().filter(|line| line.starts_with("evolution")).count();
    }
    assert_eq!(applied, 8, "each migration once");
    assert!(store::init(&db.url(), "public").await.unwrap().is_empty());
    assert_eq!(query_text(&db.client().await, "SELECT count(*) FROM pgflow_queues").await, ["17"]);
}

/// Fear: of statements that are on their way at once, the error reported is that of one that met the aborted transaction, and nobody
/// learns why.
#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_fails_says_the_cause() {
    let stage = Stage::new(1, calm).await;
    let mut client = stage.db.client().await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the cause'; END $$;";
    client.batch_execute(refuse).await.unwrap();
    // More than are on their way at once, so that some come after either.
    let lines =
        || (0..150).map(|n| read_line(&proposal(&format!("{n}.txt"), "x\n").to_string(), "s1").unwrap()).collect();
    for table in ["pgflow_ready", "evolution_proposals"] {
        client
            .batch_execute(&format!(
                "CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"
            ))
            .await
            .unwrap();
        let failed = submit(&stage.transport, &mut client, "s1", lines()).await.unwrap_err();
        assert!(format!("{failed:#}").contains("the cause"), "{table}: {failed:#}");
        client.batch_execute(&format!("DROP TRIGGER refuse ON {table}")).await.unwrap();
    }
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_proposals").await, "0");
    stage.end().await;
}

/// Fear: a file with one bad line is submitted by half, or a proposal twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_submission_is_all_or_nothing() {
    let stage = Stage::new(1, calm).await;
    let mut client = stage.db.client().await;
    let mut bad = proposal("b.txt", "x\n");
    bad["risk_score"] = 11.0.into();
    let lines = || [proposal("a.txt", "x\n"), bad.clone()].map(|l| read_line(&l.to_string(), "s1").unwrap()).to_vec();
    let refused = submit(&stage.transport, &mut client, "s1", lines()).await.unwrap_err();
    assert!(format!("{refused:#}").starts_with("invalid_risk_score"), "{refused:#}");
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_proposals").await, "0");
    let mut named = proposal("a.txt", "x\n");
    named["proposal_id"] = "123e4567-e89b-12d3-a456-426614174000".into();
    let id = stage.submit("s1", &[named.clone()]).await[0];
    stage.until_status(id, "applied").await;
    let again = vec![read_line(&named.to_string(), "s1").unwrap()];
    assert!(submit(&stage.transport, &mut client, "s1", again).await.unwrap_err().to_string().contains("before"));
    stage.end().await;
}

/// Fear: a foreign producer's nonsense is retried for ever, or ends without its documented tag.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_messages_are_dead_at_once_under_their_tag() {
    let stage = Stage::new(0, calm).await;
    for (queue, payload) in [
        ("proposals_for_consensus_queue", r#"{"type": "proposal_for_consensus", "instance_id": "s1"}"#),
        ("consensus_votes_queue", r#"{"type": "consensus_vote", "version": 0}"#),
        (
            "metrics_to_guardian_queue",
            r#"{"type": "execution_metrics", "proposal_id": 1, "instance_id": "x", "metrics_before": {}, "metrics_after": {}, "timestamp": "2025-10-31T12:00:00Z"}"#,
        ),
    ] {
        stage.client.execute("SELECT pgflow_publish($1, $2::text::jsonb)", &[&queue, &payload]).await.unwrap();
    }
    stage.until("SELECT count(*) FROM pgflow_dlq", "3").await;
    let tags = query_text(&stage.client, "SELECT split_part(error, ':', 1) FROM pgflow_dlq ORDER BY 1").await;
    assert_eq!(tags, ["invalid_format", "invalid_message", "unsupported_version"]);
    assert_eq!(stage.ask("SELECT max(retry_count) FROM pgflow_messages").await, "0");
}
