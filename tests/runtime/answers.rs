//! Claims and settles whose answer is lost, and effects under a lost claim.

use super::*;

/// Fear: an effect written through the transaction happens without its message, or twice.
#[tokio::test(flavor = "multi_thread")]
async fn effects_of_the_transaction_happen_with_the_settle() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 4, &seen).await;
    let many: Vec<Probe> = (0..50).map(|n| Probe::act(n, Act::Effect)).collect();
    runtime.publisher().publish_many(&many).await.unwrap();
    eventually(SOON, || all(&client, "done", 50)).await;
    let fx = support::query_text(&client, "SELECT count(*) || ' ' || count(DISTINCT n) FROM fx").await;
    assert_eq!(fx, ["50 50"]);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a claim that was rescued meanwhile commits its effects all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_claim_rolls_its_effects_back() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 1, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::EffectThenWait)).await.unwrap();
    eventually(SOON, || async { seen.running() == 1 }).await;
    // What a rescue does, without waiting for a death.
    client.batch_execute("UPDATE pgflow_active SET token = token + 1000000").await.unwrap();
    seen.open();
    eventually(SOON, || async { seen.running() == 0 }).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!(support::query_text(&client, "SELECT count(*)::text FROM fx").await, ["0"]);
    assert_eq!(statuses(&client).await, [(1, "processing".to_owned())], "not ours to settle");
}

/// Fear: a claim whose answer was lost stays with us for ever; or what still runs is taken for one, and runs twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_not_answered_is_handed_back_and_one_that_runs_is_not() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 2, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::Wait)).await.unwrap();
    eventually(SOON, || async { seen.running() == 1 }).await;
    let client = db.client().await;
    // Both look old. One is in our name though nobody here was told of it.
    client
        .batch_execute(
            r#"UPDATE pgflow_active SET claimed_at = now() - interval '1 minute';
               INSERT INTO pgflow_active (id, token, session_id, claimed_at, lane_id, seq, attempt, version, codec, message_id, created_at, kind, body)
               SELECT nextval('pgflow_seq'), currval('pgflow_seq'), session_id, claimed_at, lane_id, currval('pgflow_seq'), 1, 1, 1,
                      gen_random_uuid(), claimed_at, 'probe', '{"n":2,"act":"Done","key":null}' FROM pgflow_active"#,
        )
        .await
        .unwrap();
    eventually(SOON, || async { seen.started(2).is_some() }).await;
    let first = "SELECT status FROM pgflow_messages WHERE payload ->> 'n' = '1'";
    assert_eq!(support::query_text(&client, first).await, ["processing"]);
    seen.open();
    eventually(SOON, || all(&client, "done", 2)).await;
    assert_eq!(seen.ns(), [1, 2]);
    assert_eq!(seen.starts()[1].attempt, 1, "a hand-back is no try");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: an answer that is lost while a look for such claims is due already, too early for it, is never asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_lost_answer_is_looked_for_too() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 2, &seen).await;
    let client = db.client().await;
    // The start asked for the first look, 2.5 s later. At that time this claim, of a second from now, is too young for it.
    client
        .batch_execute(
            r#"INSERT INTO pgflow_active (id, token, session_id, claimed_at, lane_id, seq, attempt, version, codec, message_id, created_at, kind, body)
               SELECT nextval('pgflow_seq'), currval('pgflow_seq'), session_id, clock_timestamp() + interval '1 second', lane_id,
                      currval('pgflow_seq'), 1, 1, 1, gen_random_uuid(), now(), 'probe', '{"n":1,"act":"Done","key":null}'
               FROM pgflow_instances, pgflow_lanes WHERE class = 0 AND target IS NULL;
               SELECT pg_terminate_backend(listener_pid) FROM pgflow_instances"#,
        )
        .await
        .unwrap();
    eventually(SOON, || all(&client, "done", 1)).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: an outcome whose settle was not answered is dropped: its message stays active though its handler has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_settle_that_was_not_answered_is_repeated() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 2, &seen).await;
    let (client, mut theirs) = (db.client().await, db.client().await);
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE pgflow_history IN EXCLUSIVE MODE").await.unwrap();
    runtime.publisher().publish(&Probe::new(1)).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
               AND wait_event_type = 'Lock' AND query LIKE '-- Finishes the messages %'";
    eventually(SOON, || async { !support::query_text(&client, end).await.is_empty() }).await;
    tx.rollback().await.unwrap();
    eventually(SOON, || all(&client, "done", 1)).await;
    assert_eq!(seen.count(), 1, "its handler had ended well");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}
