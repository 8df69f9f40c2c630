//! A message with an ordering key whose handler writes through its transaction: key and effects share one fate.

use super::*;
use support::query_text;

/// Two of one key; the first has written its effect and waits, the second is parked behind it.
async fn stage(table: &str) -> (TestDb, tokio_postgres::Client, std::sync::Arc<Seen>, Runtime) {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute(table).await.unwrap();
    let seen = Seen::new();
    let queue = Queue::new("probe").workers(4).retry_delay(Duration::from_millis(10), Duration::from_millis(10));
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    for n in 1..=2 {
        runtime.publisher().publish(&Probe { n, act: Act::EffectThenWait, key: Some("k".into()) }).await.unwrap();
    }
    let written = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'pgflow handlers' AND state = 'idle in transaction' AND query LIKE 'INSERT%'";
    eventually(SOON, || async { query_text(&client, written).await == ["1"] }).await;
    assert_eq!(statuses(&client).await, [(1, "processing".to_owned()), (2, "parked".to_owned())]);
    (db, client, seen, runtime)
}

async fn texts(client: &tokio_postgres::Client, sql: &str) -> Vec<String> {
    query_text(client, sql).await
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
    )
    .await;
    seen.open();
    eventually(SOON, || all(&client, "done", 2)).await;
    assert_eq!(texts(&client, "SELECT n || ' after ' || before FROM fx ORDER BY n").await, ["1 after 0", "2 after 1"]);
    assert_eq!(tries(&seen), [(1, 1), (2, 1)]);
    assert!(texts(&client, KEYS).await.is_empty(), "nothing of it is left");
    assert!(texts(&client, EVENTS).await.is_empty());
    runtime.stop(SOON).await.unwrap();
}

/// Fear: a claim that was rescued meanwhile frees the key all the same, and the successor runs beside the rescued one.
#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_settle_in_the_transaction_leaves_the_key_alone() {
    let (_db, client, seen, runtime) = stage("CREATE TABLE fx (n bigint)").await;
    // What a rescue and another's claim do, without waiting for a death.
    client.batch_execute("UPDATE pgflow_active SET token = token + 1000000").await.unwrap();
    seen.open();
    // Its answer is in when the runtime answers for no claim.
    runtime.stop(SOON).await.unwrap();
    assert!(texts(&client, EFFECTS).await.is_empty(), "rolled back");
    assert_eq!(statuses(&client).await, [(1, "processing".to_owned()), (2, "parked".to_owned())]);
    assert_eq!(texts(&client, KEYS).await, ["k"]);
    assert!(texts(&client, EVENTS).await.is_empty(), "nor is it a failure");
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
        let (_db, client, seen, runtime) = stage(&table).await;
        seen.open();
        eventually(SOON, || all(&client, "done", 2)).await;
        assert_eq!(texts(&client, EFFECTS).await, ["1", "2"], "once each");
        assert_eq!(tries(&seen), [(1, 1), (1, 2), (2, 1)], "the head keeps its key");
        let failed = texts(&client, "SELECT event || ' ' || attempt || ' ' || detail FROM pgflow_attempts").await;
        assert_eq!(failed, [format!("failed 1 commit of the handler's transaction: {error} (SQLSTATE P0001)")]);
        assert!(texts(&client, KEYS).await.is_empty());
        runtime.stop(SOON).await.unwrap();
    }
}
