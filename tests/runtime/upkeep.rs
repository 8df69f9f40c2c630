//! What a start tells the others, and what the leader removes.

use futures_util::StreamExt;
use support::query_text;
use tokio_postgres::{AsyncMessage, NoTls};

use super::*;

/// Fear: one evening's keys are too many for one statement's time, so that nothing is ever removed again.
#[tokio::test(flavor = "multi_thread")]
async fn many_old_rows_are_removed_a_part_at_a_time() {
    let db = TestDb::new().await;
    let sql = db.client().await;
    sql.batch_execute(
        "SELECT pgflow_create_queue('probe');
         INSERT INTO pgflow_dedup SELECT 1, n, n, gen_random_uuid(), now() - interval '8 days' FROM generate_series(1, 12000) n",
    )
    .await
    .unwrap();
    let mut c = config(&db.url(), "a");
    c.heartbeat_ms = 500;
    let runtime = probing(c, 1, &Seen::new()).await;
    eventually(SOON, || async { query_text(&sql, "SELECT count(*) FROM pgflow_dedup").await == ["0"] }).await;
    runtime.stop(SOON).await.unwrap();
}

/// Fear: an instance goes on by the settings of before, and claims ahead of a queue that has no retries any more: a kill makes dead
/// letters of what never ran.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_changes_a_queue_tells_the_others() {
    let db = TestDb::new().await;
    let (sql, mut connection) = tokio_postgres::connect(&db.url(), NoTls).await.unwrap();
    let (heard, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(n) = message {
                let _ = heard.send(n.payload().to_owned());
            }
        }
    });
    let space = query_text(&sql, "SELECT space FROM pgflow_meta").await.remove(0);
    sql.batch_execute(&format!("LISTEN pgflow_{space}_ctl")).await.unwrap();
    let mut runtimes = Vec::new();
    let queue = || Queue::new("probe").workers(1);
    for (name, queue) in [("a", queue().max_retries(3)), ("b", queue()), ("c", queue().max_retries(0))] {
        runtimes.push(probing_queue(config(&db.url(), name), queue, &Seen::new()).await);
        sql.batch_execute(&format!("NOTIFY pgflow_{space}_ctl, '{name}'")).await.unwrap();
    }
    let mut all = Vec::new();
    while all.last().is_none_or(|last| last != "c") {
        all.push(told.recv().await.unwrap());
    }
    assert_eq!(all, ["", "a", "b", "", "c"], "a made it, b changed nothing, c did");
    for runtime in runtimes {
        runtime.stop(SOON).await.unwrap();
    }
}
