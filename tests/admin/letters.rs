//! Dead letters: listed, retried, purged.

use std::time::Duration;

use crate::{
    SOON, Scene,
    support::{
        eventually,
        probe::{Act, Probe, Seen, probing},
    },
};

fn keyed(n: i64, act: Act) -> Probe {
    Probe { n, act, key: Some("k".into()) }
}

/// Kills these messages one after the other, then stops the runtime.
async fn kill(s: &Scene, probes: &[Probe]) -> Vec<i64> {
    let seen = Seen::new();
    let runtime = probing(s.config("killer"), 1, &seen).await;
    let mut ids = Vec::new();
    for probe in probes {
        ids.push(s.publisher.publish(probe).await.unwrap().id().unwrap());
        eventually(SOON, || async { s.admin.list_dlq_messages(None, 1_000).await.unwrap().len() == ids.len() }).await;
    }
    runtime.stop(Duration::from_secs(5)).await.unwrap();
    ids
}

/// Fear: a dead letter is listed without what is needed to judge it, or with keys other than the documented ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_newest_first_with_their_reason() {
    let s = Scene::new().await;
    let ids = kill(&s, &[Probe::act(1, Act::Dead), Probe::act(2, Act::Dead), Probe::act(3, Act::Dead)]).await;
    let letters = s.admin.list_dlq_messages(Some("probe"), 2).await.unwrap();
    assert_eq!(letters.iter().map(|d| d.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    let letter = &letters[0];
    assert_eq!(
        (letter.error.as_str(), letter.error_kind.as_str(), letter.retry_count),
        ("asked to die", "rejected", 0)
    );
    let json = serde_json::to_value(letter).unwrap();
    assert_eq!(
        (&json["queue_name"], &json["payload"]["n"], &json["status"]),
        (&"probe".into(), &3.into(), &"dead".into())
    );
    let documented = s.text("SELECT concat_ws(' ', id, queue_name, error) FROM pgflow_dlq ORDER BY id LIMIT 1").await;
    assert_eq!(documented, [format!("{} probe asked to die", ids[0])]);
}

/// Fear: a retried letter keeps its used-up tries and dies at once, or its first death is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retried_letter_has_all_its_tries_again_and_keeps_its_past() {
    let s = Scene::new().await;
    s.sql
        .batch_execute("UPDATE pgflow_queues SET max_retries = 1, retry_delay_ms = 5, retry_delay_ms_max = 5")
        .await
        .unwrap();
    let id = kill(&s, &[Probe::act(1, Act::FailUntil(3))]).await[0];
    s.admin.retry_dlq_message(id).await.unwrap();
    assert_eq!(s.statuses().await, ["1:pending"]);
    assert_eq!(s.text("SELECT retry_count FROM pgflow_messages").await, ["0"]);
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    s.until(&["1:dead"]).await;
    assert_eq!(seen.starts().iter().map(|t| (t.id, t.attempt)).collect::<Vec<_>>(), [(id, 1), (id, 2)]);
    let events: Vec<String> = s.admin.trace(id).await.unwrap().into_iter().map(|e| e.event).collect();
    let round = ["started", "failed", "started", "dead"];
    assert_eq!(events, [&["published"][..], &round, &["retried"], &round].concat());
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a retried letter overtakes the unfinished message of its key, or waits behind it for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retried_keyed_letter_comes_next_after_its_keys_head() {
    let s = Scene::new().await;
    let id = kill(&s, &[keyed(1, Act::Dead)]).await[0];
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 4, &seen).await;
    s.publisher.publish(&keyed(2, Act::Wait)).await.unwrap();
    s.publisher.publish(&keyed(3, Act::Done)).await.unwrap();
    s.until(&["1:dead", "2:processing", "3:parked"]).await;
    s.admin.retry_dlq_message(id).await.unwrap();
    assert_eq!(s.statuses().await, ["1:parked", "2:processing", "3:parked"]);
    seen.open();
    s.until(&["1:dead", "2:done", "3:done"]).await;
    assert_eq!(seen.ns(), [2, 1, 3]);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
    // Without an unfinished message of its key it is ready at once, and head.
    s.admin.retry_dlq_message(id).await.unwrap();
    s.publisher.publish(&keyed(4, Act::Done)).await.unwrap();
    assert_eq!(s.statuses().await, ["1:pending", "2:done", "3:done", "4:parked"]);
}

/// Fear: purged letters are lost to the audit trail, or more is purged than was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purged_letters_stay_in_the_history() {
    let s = Scene::new().await;
    s.admin.create_queue(pgflow::Queue::new("other")).await.unwrap();
    let ids = kill(&s, &[Probe::act(1, Act::Dead), Probe::act(2, Act::Dead)]).await;
    s.sql
        .batch_execute("UPDATE pgflow_dlq SET created_at = now() - interval '20 days' WHERE body LIKE '%\"n\":2%'")
        .await
        .unwrap();
    assert_eq!(s.admin.purge_dlq(Some("other")).await.unwrap(), 0);
    assert_eq!(s.admin.purge_dlq(Some("probe")).await.unwrap(), 2);
    assert_eq!(s.admin.purge_dlq(None).await.unwrap(), 0);
    assert_eq!(s.admin.list_dlq_messages(None, 10).await.unwrap(), []);
    assert_eq!(s.statuses().await, ["1:dead", "2:dead"]);
    let error = "SELECT DISTINCT error FROM pgflow_messages WHERE status = 'dead'";
    assert_eq!(s.text(error).await, ["asked to die"]);
    for id in ids {
        let mut events: Vec<String> = s.admin.trace(id).await.unwrap().into_iter().map(|e| e.event).collect();
        events.sort();
        assert_eq!(events, ["dead", "published", "purged", "started"]);
    }
    let e = s.admin.retry_dlq_message(1).await.unwrap_err();
    assert!(e.is_input() && e.to_string().contains("retry dead letter 1: there is none with this id"), "{e}");
}

/// Fear: a retry that races with a purge or another retry makes two of one message, or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_retries_and_purges_leave_each_letter_once() {
    let s = Scene::new().await;
    let probes: Vec<Probe> =
        (0..40).map(|n| Probe { n, act: Act::Dead, key: (n % 2 == 0).then(|| format!("k{}", n % 4)) }).collect();
    let ids = kill(&s, &probes).await;
    let retries: Vec<_> = ids
        .iter()
        .flat_map(|id| [*id, *id])
        .map(|id| {
            let admin = s.admin.clone();
            tokio::spawn(async move { admin.retry_dlq_message(id).await.is_ok() })
        })
        .collect();
    let purged = s.admin.purge_dlq(None).await.unwrap();
    let mut retried = 0;
    for retry in retries {
        retried += u64::from(retry.await.unwrap());
    }
    assert_eq!(purged + retried, 40);
    assert_eq!(s.statuses().await.len(), 40);
    let heads = "SELECT ordering_key FROM pgflow_messages WHERE status = 'pending' AND ordering_key IS NOT NULL GROUP BY 1 HAVING count(*) <> 1";
    assert_eq!(s.text(heads).await, Vec::<String>::new());
    let kept = "SELECT count(*) FROM pgflow_keys WHERE ordering_key NOT IN (SELECT ordering_key FROM pgflow_messages WHERE status = 'pending' AND ordering_key IS NOT NULL)";
    assert_eq!(s.text(kept).await, ["0"]);
}

/// Dead letters as settles would have left them, more than one batch of them: `n` from 1, every fifth with a key of its tenth.
async fn buried(s: &Scene, count: i32) {
    let sql = format!(
        "INSERT INTO pgflow_dlq (id, queue_name, error, error_kind, lane_id, attempt, published_at, version, codec, message_id, kind, body, ordering_key) \
         SELECT nextval('pgflow_seq'), 'probe', 'asked to', 'rejected', lane_id, 1, now() - interval '1 h', 1, 1, gen_random_uuid(), 'probe', \
                convert_to(format('{{\"n\":%s,\"act\":\"Done\",\"key\":null}}', n), 'UTF8'), CASE WHEN n % 5 = 0 THEN 'k' || n % 10 END \
         FROM pgflow_lanes, generate_series(1, {count}) n WHERE class = 0 AND target IS NULL ORDER BY n"
    );
    s.sql.batch_execute(&sql).await.unwrap();
}

/// Fear: of many letters some are left out, sent twice, or out of order; or two of one key run at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_letters_of_a_queue_are_retried_in_their_order() {
    let s = Scene::new().await;
    let count = 5_003;
    buried(&s, count).await;
    s.admin.create_queue(pgflow::Queue::new("other")).await.unwrap();
    assert_eq!(s.admin.retry_dlq(Some("other")).await.unwrap(), 0);
    assert_eq!(s.admin.retry_dlq(Some("probe")).await.unwrap(), u64::try_from(count).unwrap());
    let order = "SELECT bool_and(id > before) FROM (SELECT id, lag(id, 1, 0) OVER (ORDER BY seq) AS before FROM pgflow_ready) r";
    assert_eq!(s.text(order).await, ["t"]);
    assert_eq!(s.text("SELECT count(*) FROM pgflow_ready WHERE ordering_key IS NULL").await, ["4003"]);
    let heads = "SELECT ordering_key || ' ' || (payload->>'n') FROM pgflow_messages WHERE status = 'pending' AND ordering_key IS NOT NULL ORDER BY 1";
    assert_eq!(s.text(heads).await, ["k0 10", "k5 5"]);
    assert_eq!(s.text("SELECT count(*) FROM pgflow_parked").await, ["998"]);
    assert_eq!(s.text("SELECT string_agg(DISTINCT event, ' ') FROM pgflow_attempts").await, ["dead retried"]);
    assert_eq!(s.admin.retry_dlq(None).await.unwrap(), 0);
    let e = s.admin.retry_dlq(Some("nobody")).await.unwrap_err();
    assert!(e.is_input() && e.to_string().contains("unknown queue \"nobody\""), "{e}");
}

/// Fear: letters that die again at once are sent round for ever by one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_dies_again_is_not_retried_by_the_same_call() {
    let s = Scene::new().await;
    buried(&s, 6_000).await;
    // Every retried letter dies in the same moment.
    let dies = "CREATE FUNCTION dies() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        INSERT INTO pgflow_dlq (id, queue_name, error, error_kind, lane_id, attempt, published_at, version, codec, message_id, kind, body) \
        VALUES (NEW.id, 'probe', 'again', 'rejected', NEW.lane_id, 1, NEW.created_at, 1, 1, NEW.message_id, NEW.kind, NEW.body); RETURN NULL; END $$; \
        CREATE TRIGGER dies BEFORE INSERT ON pgflow_ready FOR EACH ROW EXECUTE FUNCTION dies()";
    s.sql.batch_execute(dies).await.unwrap();
    s.sql.batch_execute("UPDATE pgflow_dlq SET ordering_key = NULL").await.unwrap();
    assert_eq!(s.admin.retry_dlq(None).await.unwrap(), 6_000);
    assert_eq!(s.text("SELECT count(*) || ' ' || min(error) FROM pgflow_dlq").await, ["6000 again"]);
}

/// Fear: a letter of a deleted queue stops all others, or is sent where nobody looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_of_a_deleted_queue_stay() {
    let s = Scene::new().await;
    buried(&s, 3).await;
    s.admin.create_queue(pgflow::Queue::new("other")).await.unwrap();
    s.sql.batch_execute("UPDATE pgflow_dlq SET queue_name = 'other', lane_id = (SELECT min(lane_id) FROM pgflow_lanes JOIN pgflow_queues USING (queue_id) WHERE name = 'other') WHERE body LIKE '%:2,%'").await.unwrap();
    s.admin.delete_queue("other").await.unwrap();
    assert_eq!(s.admin.retry_dlq(None).await.unwrap(), 2);
    assert_eq!(s.statuses().await, ["1:pending", "2:dead", "3:pending"]);
    assert_eq!(s.admin.count_dlq_of_deleted_queues().await.unwrap(), 1);
    let e = s.admin.retry_dlq(Some("other")).await.unwrap_err();
    assert!(!e.is_input() && e.to_string().contains("queue \"other\" is deleted: make it again first"), "{e}");
}
