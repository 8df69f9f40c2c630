//! Ordering keys: one at a time and in order, over instances, retries and deaths.

mod support;

use std::{collections::HashMap, time::Duration};

use support::{TestDb, eventually, probe::*, query_text};

use pgflow::Queue;

const SOON: Duration = Duration::from_secs(60);
const KEYS: i64 = 10;
const EACH: i64 = 30;

/// Starts per key, first tries only, in order.
fn first_starts(starts: &[Start]) -> HashMap<String, Vec<i64>> {
    let mut by_key: HashMap<String, Vec<i64>> = HashMap::new();
    for s in starts.iter().filter(|s| s.attempt == 1) {
        by_key.entry(s.key.clone().unwrap_or_default()).or_default().push(s.n);
    }
    by_key
}

/// Fear: two messages of one key run at once, or out of order, when publishers overlap, tries fail and instances are two.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_at_a_time_and_in_commit_order_with_eight_workers_on_two_instances() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = || Queue::new("probe").workers(8).retry_delay(Duration::from_millis(5), Duration::from_millis(20));
    let a = probing_queue(config(&db.url(), "a"), queue(), &seen).await;
    let b = probing_queue(config(&db.url(), "b"), queue(), &seen).await;
    // Publishers of one key overlap: they wait for one another at the key, so ids follow commit order.
    let publishing: Vec<_> = (0..KEYS * 2)
        .map(|p| {
            let publisher = a.publisher().clone();
            tokio::spawn(async move {
                for i in 0..EACH / 2 {
                    let n = p * 1_000 + i;
                    let act = if n % 7 == 0 {
                        Act::FailUntil(2)
                    } else if n % 11 == 0 {
                        Act::PanicUntil(2)
                    } else {
                        Act::Done
                    };
                    let probe = Probe { n, act, key: Some(format!("key-{}", p % KEYS)) };
                    publisher.publish(&probe).await.unwrap();
                }
            })
        })
        .collect();
    for p in publishing {
        p.await.unwrap();
    }
    let client = db.client().await;
    let finished = || async {
        query_text(&client, "SELECT count(*)::text FROM pgflow_history").await == [(KEYS * EACH).to_string()]
    };
    eventually(SOON, finished).await;
    // In id order per key, which is commit order.
    let expected = client
        .query("SELECT payload ->> 'key', (payload ->> 'n')::bigint FROM pgflow_messages ORDER BY id", &[])
        .await
        .unwrap();
    let mut by_id: HashMap<String, Vec<i64>> = HashMap::new();
    for r in expected {
        by_id.entry(r.get(0)).or_default().push(r.get(1));
    }
    assert_eq!(first_starts(&seen.starts()), by_id);
    // Never two of a key at once: by the server's clock, no claim lies before the end of its predecessor.
    let overlaps = query_text(
        &client,
        "SELECT h.id::text FROM (SELECT id, claimed_at, lag(finished_at) OVER (PARTITION BY ordering_key ORDER BY id) AS before \
         FROM pgflow_history) h WHERE h.claimed_at < h.before",
    );
    assert!(overlaps.await.is_empty());
    assert!(
        query_text(&client, "SELECT ordering_key FROM pgflow_keys").await.is_empty(),
        "keys are forgotten when idle"
    );
    assert_eq!(a.found_by_heartbeat() + b.found_by_heartbeat(), 0);
    a.stop(SOON).await.unwrap();
    b.stop(SOON).await.unwrap();
}

/// Fear: a dead head blocks its key for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_head_frees_its_key() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 4, &seen).await;
    for n in 0..4 {
        let act = if n % 2 == 0 { Act::Dead } else { Act::Done };
        a.publisher().publish(&Probe { n, act, key: Some("k".into()) }).await.unwrap();
    }
    let client = db.client().await;
    let settled = || async {
        query_text(&client, "SELECT status FROM pgflow_messages ORDER BY id").await == ["dead", "done", "dead", "done"]
    };
    eventually(SOON, settled).await;
    assert_eq!(seen.ns(), [0, 1, 2, 3]);
    a.stop(SOON).await.unwrap();
}

/// Fear: a key's head that is handed back at a stop lets the next one overtake it.
#[tokio::test(flavor = "multi_thread")]
async fn a_handed_back_head_keeps_its_key() {
    let db = TestDb::new().await;
    let (first, second) = (Seen::new(), Seen::new());
    let a = probing(config(&db.url(), "a"), 4, &first).await;
    for n in 0..3 {
        a.publisher().publish(&Probe { n, act: Act::Wait, key: Some("k".into()) }).await.unwrap();
    }
    eventually(SOON, || async { first.running() == 1 }).await;
    a.stop(Duration::ZERO).await.unwrap();
    second.open();
    let b = probing(config(&db.url(), "b"), 4, &second).await;
    eventually(SOON, || async { second.count() == 3 }).await;
    assert_eq!(second.ns(), [0, 1, 2]);
    assert_eq!(second.starts()[0].attempt, 1, "a hand-back is no try");
    b.stop(SOON).await.unwrap();
}
