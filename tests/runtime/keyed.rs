//! A message with an ordering key whose handler writes through its transaction: key and effects share one fate.

use super::*;
use support::query_text;

/// Some of one key; the first has written its effect and waits, the others are parked behind it.
async fn stage(table: &str, keyed: i64) -> (TestDb, tokio_postgres::Client, std::sync::Arc<Seen>, Runtime) {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute(table).await.unwrap();
    let seen = Seen::new();
    let queue = Queue::new("probe").workers(4).retry_delay(Duration::from_millis(10), Duration::from_millis(10));
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    for n in 1..=keyed {
        runtime.publisher().publish(&Probe { n, act: Act::EffectThenWait, key: Some("k".into()) }).await.unwrap();
    }
    let written = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'pgflow handlers' AND state = 'idle in transaction' AND query LIKE 'INSERT%'";
    eventually(SOON, || async { query_text(&client, written).await == ["1"] }).await;
    (db, client, seen, runtime)
}

const KEYS: &str = "SELECT ordering_key FROM pgflow_keys";
const EFFECTS: &str = "SELECT n::text FROM fx ORDER BY n";
const EVENTS: &str = "SELECT id || ' ' || event || ' ' || attempt FROM pgflow_attempts";

fn tries(seen: &Seen) -> Vec<(i64, u32)> {
    seen.starts().iter().map(|s| (s.n, s.attempt)).collect()
}

/// Fear: what is settled in its handler's transaction leaves its key taken, and its successors parked for ever; or frees it before
/// the effects are there.
#[tokio::test(flavor = "multi_thread")]
async fn a_settle_in_the_transaction_frees_the_key() {
    // The successor's start sees what was committed before it.
    let (_db, client, seen, runtime) = stage(
        "CREATE TABLE fx (n bigint, before bigint DEFAULT 0);
         CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN NEW.before := (SELECT count(*) FROM fx JOIN pgflow_history h ON h.ordering_key = 'k'); RETURN NEW; END $$;
         CREATE TRIGGER before BEFORE INSERT ON fx FOR EACH ROW EXECUTE FUNCTION before()",
        2,
    )
    .await;
    assert_eq!(statuses(&client).await, [(1, "processing".to_owned()), (2, "parked".to_owned())]);
    seen.open();
    eventually(SOON, || all(&client, "done", 2)).await;
    assert_eq!(
        query_text(&client, "SELECT n || ' after ' || before FROM fx ORDER BY n").await,
        ["1 after 0", "2 after 1"]
    );
    assert_eq!(tries(&seen), [(1, 1), (2, 1)]);
    assert!(query_text(&client, KEYS).await.is_empty(), "nothing of it is left");
    assert!(query_text(&client, EVENTS).await.is_empty());
    runtime.stop(SOON).await.unwrap();
}

/// Fear: a claim that was rescued meanwhile frees the key all the same, and the successor runs beside the rescued one.
#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_settle_in_the_transaction_leaves_the_key_alone() {
    let (_db, client, seen, runtime) = stage("CREATE TABLE fx (n bigint)", 2).await;
    // What a rescue and another's claim do, without waiting for a death.
    client.batch_execute("UPDATE pgflow_active SET token = token + 1000000").await.unwrap();
    seen.open();
    // Its answer is in when the runtime answers for no claim.
    runtime.stop(SOON).await.unwrap();
    assert!(query_text(&client, EFFECTS).await.is_empty(), "rolled back");
    assert_eq!(statuses(&client).await, [(1, "processing".to_owned()), (2, "parked".to_owned())]);
    assert_eq!(query_text(&client, KEYS).await, ["k"]);
    assert!(query_text(&client, EVENTS).await.is_empty(), "nor is it a failure");
    assert_eq!(tries(&seen), [(1, 1)]);
}

/// Fear: a COMMIT or a settle that the database refuses leaves the message active, counts twice, or lets the successor overtake it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_or_settle_is_one_failed_try_of_the_head() {
    let once = "CREATE SEQUENCE tries;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN IF nextval('tries') = 1 THEN RAISE 'refused'; END IF; RETURN NULL; END $$";
    for (trigger, error) in [
        (
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON fx DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
            "settle: COMMIT: refused",
        ),
        ("CREATE TRIGGER refuse AFTER DELETE ON pgflow_active FOR EACH ROW", "settle (done): refused"),
    ] {
        let table = format!("CREATE TABLE fx (n bigint); {once}; {trigger} EXECUTE FUNCTION refuse()");
        let (_db, client, seen, runtime) = stage(&table, 2).await;
        seen.open();
        eventually(SOON, || all(&client, "done", 2)).await;
        assert_eq!(query_text(&client, EFFECTS).await, ["1", "2"], "once each");
        assert_eq!(tries(&seen), [(1, 1), (1, 2), (2, 1)], "the head keeps its key");
        let failed = query_text(&client, "SELECT event || ' ' || attempt || ' ' || detail FROM pgflow_attempts").await;
        assert_eq!(failed, [format!("failed 1 commit of the handler's transaction: {error} (SQLSTATE P0001)")]);
        assert!(query_text(&client, KEYS).await.is_empty());
        runtime.stop(SOON).await.unwrap();
    }
}

/// Fear: a successor that was published in a transaction still open at the settle is overlooked, and stays parked for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_settle_in_the_transaction_sees_the_successor_of_an_open_publisher() {
    let (db, client, seen, runtime) = stage("CREATE TABLE fx (n bigint)", 1).await;
    let mut theirs = db.client().await;
    let tx = theirs.transaction().await.unwrap();
    runtime.publisher().publish_in(&tx, &Probe { n: 2, act: Act::Effect, key: Some("k".into()) }).await.unwrap();
    seen.open();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'pgflow handlers' AND wait_event_type = 'Lock'";
    eventually(SOON, || async { query_text(&client, waits).await == ["1"] }).await;
    // Others are not held up.
    runtime.publisher().publish(&Probe::act(3, Act::Effect)).await.unwrap();
    eventually(SOON, || async { query_text(&client, EFFECTS).await == ["3"] }).await;
    tx.commit().await.unwrap();
    eventually(SOON, || all(&client, "done", 3)).await;
    assert_eq!(query_text(&client, EFFECTS).await, ["1", "2", "3"]);
    assert_eq!(tries(&seen), [(1, 1), (3, 1), (2, 1)]);
    assert!(query_text(&client, KEYS).await.is_empty());
    runtime.stop(SOON).await.unwrap();
}
