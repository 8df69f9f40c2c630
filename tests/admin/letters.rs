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
        ids.push(s.publisher.publish(probe).await.unwrap().id);
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
    assert!(e.is_input() && e.to_string().contains("no dead letter 1"), "{e}");
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
