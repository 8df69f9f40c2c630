//! The claim statement by itself: what it locks, in which order it takes, what plan it gets; and that every settle asks for its token.

mod support;

use std::time::Duration;

use support::{TestDb, connect, eventually, own_cluster, query_text};

const SOON: Duration = Duration::from_secs(60);

const CONTROL_SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
     SET enable_mergejoin = off";

fn claim_sql() -> String {
    include_str!("../sql/queries/claim.sql").replace("{schema}", "public").replace("{space}", "1")
}

/// Two lanes with ten messages each; answers their ids.
async fn two_lanes(client: &tokio_postgres::Client) -> (i32, Vec<i32>) {
    client
        .batch_execute(
            "SELECT pgflow_create_queue('q'); \
             SELECT pgflow_publish('q', to_jsonb(n), priority => CASE WHEN n > 10 THEN 10 ELSE 0 END) FROM generate_series(1, 20) n",
        )
        .await
        .unwrap();
    let lanes =
        client.query("SELECT lane_id FROM pgflow_lanes WHERE class >= 0 ORDER BY class DESC", &[]).await.unwrap();
    let queue = client.query_one("SELECT queue_id FROM pgflow_queues", &[]).await.unwrap().get(0);
    (queue, lanes.iter().map(|r| r.get(0)).collect())
}

async fn claim(client: &impl tokio_postgres::GenericClient, queue: i32, lanes: &[i32], limit: i32) -> Vec<i64> {
    let (most, lows) = (vec![limit; lanes.len()], vec![0_i64; lanes.len()]);
    let rows = client.query(&claim_sql(), &[&queue, &lanes, &most, &limit, &1i32, &lows, &7i64, &false]).await.unwrap();
    let mut ids: Vec<i64> = rows.iter().map(|r| r.get(0)).collect();
    ids.sort_unstable();
    ids
}

/// Fear: a claim locks rows that it does not take. Another runtime's pre-sleep scan would skip them, find nothing, and
/// sleep on rows that stay: the model's lost wake-up.
#[tokio::test]
async fn a_claim_locks_exactly_what_it_takes() {
    let db = TestDb::new().await;
    let mut one = db.client().await;
    let two = db.client().await;
    for c in [&one, &two] {
        c.batch_execute(CONTROL_SETTINGS).await.unwrap();
    }
    let (queue, lanes) = two_lanes(&one).await;
    let tx = one.transaction().await.unwrap();
    assert_eq!(claim(&tx, queue, &lanes, 3).await, [11, 12, 13], "the first lane first, in publish order");
    assert_eq!(claim(&two, queue, &lanes, 100).await.len(), 17, "everything else is free for others");
    tx.commit().await.unwrap();
}

/// Fear: a claim that takes nothing of a full lane because an earlier lane has enough still locks into it.
#[tokio::test]
async fn a_claim_that_is_full_leaves_the_later_lanes_alone() {
    let db = TestDb::new().await;
    let mut one = db.client().await;
    let two = db.client().await;
    one.batch_execute(CONTROL_SETTINGS).await.unwrap();
    let (queue, lanes) = two_lanes(&one).await;
    let tx = one.transaction().await.unwrap();
    assert_eq!(claim(&tx, queue, &lanes, 10).await.len(), 10);
    assert_eq!(claim(&two, queue, &lanes[1..], 100).await.len(), 10);
    tx.rollback().await.unwrap();
}

/// Fear: a claim waits for the disk, which a crash that forgets it would only turn into a second run; or that of a keyed message does
/// not, and its second run begins beside the first. A standby that never answers stands for the disk.
#[tokio::test]
async fn only_the_claim_of_a_keyed_message_waits_for_the_disk() {
    let server = own_cluster(true).await;
    let (client, other) = (connect(&server.url()).await, connect(&server.url()).await);
    let (queue, lanes) = two_lanes(&client).await;
    client.batch_execute("SELECT pgflow_publish('q', '21', ordering_key => 'k', priority => 10)").await.unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    // In force for all once a commit waits.
    let first = tokio::spawn(async move {
        loop {
            other.batch_execute("CREATE TABLE waits (); DROP TABLE waits").await.unwrap();
        }
    });
    eventually(SOON, || async { query_text(&client, waits).await == ["1"] }).await;
    assert_eq!(claim(&client, queue, &lanes, 10).await.len(), 10, "those of the first lane without a key");
    let keyed = connect(&server.url()).await;
    let keyed = tokio::spawn(async move { claim(&keyed, queue, &lanes, 1).await.len() });
    eventually(SOON, || async { query_text(&client, waits).await == ["2"] }).await;
    client.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    assert_eq!(keyed.await.unwrap(), 1);
    first.abort();
}

/// Fear: the planner sorts or scans a whole lane for a claim: its cost grows with the backlog, and it locks eagerly.
#[tokio::test]
async fn a_claim_walks_the_index_whatever_the_statistics_say() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute(CONTROL_SETTINGS).await.unwrap();
    two_lanes(&client).await;
    let explain = || async {
        client.batch_execute(&format!("PREPARE c AS {}", claim_sql())).await.unwrap();
        let plan =
            query_text(&client, "EXPLAIN EXECUTE c(1, '{1,2}', '{3,3}', 3, 1, '{0,0}', 7, false)").await.join("\n");
        client.batch_execute("DEALLOCATE c").await.unwrap();
        plan
    };
    // Analysed empty, as after a vacuum of an idle queue; then with a backlog nobody has analysed.
    client.batch_execute("DELETE FROM pgflow_ready; ANALYZE pgflow_ready").await.unwrap();
    let empty = explain().await;
    client.batch_execute("INSERT INTO pgflow_ready (lane_id, kind, body) SELECT 1 + n % 2, 'k', 'x' FROM generate_series(1, 20000) n").await.unwrap();
    let stale = explain().await;
    client.batch_execute("ANALYZE pgflow_ready").await.unwrap();
    for plan in [empty, stale, explain().await] {
        assert!(
            plan.contains("Tid Scan on pgflow_ready") && plan.contains("Index Scan using pgflow_ready_pkey"),
            "{plan}"
        );
        assert!(
            !plan.contains("Sort") && !plan.contains("Seq Scan on pgflow_ready") && !plan.contains("Materialize"),
            "{plan}"
        );
    }
}

/// Each settle, what it is told besides ids and tokens, and what becomes of the message.
const SETTLES: [(&str, &str, &str); 5] = [
    (include_str!("../sql/queries/settle_done.sql"), "", "done"),
    (include_str!("../sql/queries/settle_failed.sql"), ", '{failed}', '{why}', '{1000}'", "scheduled"),
    (include_str!("../sql/queries/settle_dead.sql"), ", '{why}', '{rejected}'", "dead"),
    (include_str!("../sql/queries/hand_back.sql"), "", "pending"),
    (include_str!("../sql/queries/park_undecodable.sql"), ", '{why}'", "parked"),
];

/// Fear: planned while the table was small, a settle walks over all of it for good: every row that is claimed, and every one that is gone
/// and that an old transaction keeps (0.2 s for each batch behind two million).
#[tokio::test]
async fn a_settle_looks_each_message_up() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute(CONTROL_SETTINGS).await.unwrap();
    for analyse in ["ANALYZE pgflow_active", "INSERT INTO pgflow_active (id, token, session_id, seq, attempt, lane_id, version, codec, message_id, created_at, kind, body)
        SELECT n, n, 1, n, 1, 1, 1, 0, gen_random_uuid(), now(), 'k', 'x' FROM generate_series(1, 5000) n; ANALYZE pgflow_active"] {
        client.batch_execute(analyse).await.unwrap();
        for (settle, more, _) in SETTLES {
            client.batch_execute(&format!("PREPARE s AS {}", settle.replace("{schema}", "public"))).await.unwrap();
            let plan = query_text(&client, &format!("EXPLAIN EXECUTE s('{{1}}', '{{1}}'{more})")).await.join("\n");
            client.batch_execute("DEALLOCATE s").await.unwrap();
            assert!(plan.contains("Tid Scan on pgflow_active") && plan.contains("Index Cond: (id = t.id)"), "{plan}");
        }
    }
}

/// Fear: one of the settles goes by the id alone, and a stale worker settles what another is at work on.
#[tokio::test]
async fn every_settle_asks_for_the_token() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let (queue, lanes) = two_lanes(&client).await;
    let sql = |text: &str| text.replace("{schema}", "public");
    for (settle, more, becomes) in SETTLES {
        let id = claim(&client, queue, &lanes, 1).await[0];
        let token: i64 =
            query_text(&client, &format!("SELECT token FROM pgflow_active WHERE id = {id}")).await[0].parse().unwrap();
        client.batch_execute(&format!("PREPARE s AS {}", sql(settle))).await.unwrap();
        let status = format!("SELECT status FROM pgflow_messages WHERE id = {id}");
        for (token, rows, expected) in [(token - 1, 0, "processing"), (token + 1, 0, "processing"), (token, 1, becomes)]
        {
            let answer = query_text(&client, &format!("EXECUTE s('{{{id}}}', '{{{token}}}'{more})")).await;
            assert_eq!(answer.len(), rows, "{settle}");
            assert_eq!(query_text(&client, &status).await, [expected], "{settle}");
        }
        client.batch_execute("DEALLOCATE s").await.unwrap();
        // Not to be claimed again by the next round.
        client.batch_execute(&format!("DELETE FROM pgflow_ready WHERE id = {id}")).await.unwrap();
    }
}

/// Fear: a handler's effects are committed though its claim was lost: the COMMIT was sent before the settle was answered.
#[tokio::test]
async fn a_settle_without_its_claim_aborts_the_transaction() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let (queue, lanes) = two_lanes(&client).await;
    client.batch_execute("CREATE TABLE fx (n int)").await.unwrap();
    let settle =
        client.prepare(&include_str!("../sql/queries/settle_one.sql").replace("{schema}", "public")).await.unwrap();
    let id = claim(&client, queue, &lanes, 1).await[0];
    let token: i64 = client.query_one("SELECT token FROM pgflow_active", &[]).await.unwrap().get(0);
    for (token, code, effects) in [(token + 1, Some("PGF01"), "0"), (token, None, "1"), (token, Some("PGF01"), "1")] {
        client.batch_execute("BEGIN; INSERT INTO fx VALUES (1)").await.unwrap();
        let (settled, ended) = futures_util::future::join(
            client.query(&settle, &[&id, &token, &None::<i32>, &None::<&str>]),
            client.batch_execute("COMMIT"),
        )
        .await;
        ended.unwrap();
        assert_eq!(settled.err().and_then(|e| e.code().map(|c| c.code().to_owned())).as_deref(), code);
        assert_eq!(query_text(&client, "SELECT count(*) FROM fx").await, [effects]);
    }
}

/// Fear: a message that was handed back or rescued goes to the end of its lane: those published after it overtake it.
#[tokio::test]
async fn what_comes_back_keeps_its_place() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let (queue, lanes) = two_lanes(&client).await;
    let sql = |text: &str| text.replace("{schema}", "public").replace("{space}", "1");
    for (back, tries) in [
        (include_str!("../sql/queries/hand_back.sql"), "0"),
        // Nobody holds the session's liveness lock.
        (include_str!("../sql/queries/rescue.sql"), "1"),
    ] {
        assert_eq!(claim(&client, queue, &lanes, 1).await, [11]);
        client.batch_execute(&format!("PREPARE b AS {}", sql(back))).await.unwrap();
        let token = query_text(&client, "SELECT token FROM pgflow_active").await.remove(0);
        let execute =
            if tries == "0" { format!("EXECUTE b('{{11}}', '{{{token}}}')") } else { "EXECUTE b(1, 60000, 10)".into() };
        assert_eq!(query_text(&client, &execute).await, ["11"]);
        client.batch_execute("DEALLOCATE b").await.unwrap();
        assert_eq!(query_text(&client, "SELECT attempt FROM pgflow_ready WHERE id = 11").await, [tries]);
    }
    assert_eq!(claim(&client, queue, &lanes, 2).await, [11, 12]);
}
