//! What may be in a start's way.

use super::*;

/// Fear: a start prepares its statements beside its first steps, and a table that somebody has locked keeps every connection from them.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_does_not_refuse_a_start() {
    let db = TestDb::new().await;
    let mut theirs = db.client().await;
    probing(config(&db.url(), "a"), 1, &Seen::new()).await.stop(SOON).await.unwrap();
    for control_connections in [2, 3, 4] {
        let tx = theirs.transaction().await.unwrap();
        tx.batch_execute("LOCK TABLE pgflow_history").await.unwrap();
        let mut c = config(&db.url(), "a");
        c.control_connections = control_connections;
        let seen = Seen::new();
        // Answers an error, and so panics, when it was refused.
        let runtime = probing(c, 1, &seen).await;
        tx.rollback().await.unwrap();
        runtime.publisher().publish(&Probe::new(1)).await.unwrap();
        eventually(SOON, || async { seen.started(1).is_some() }).await;
        runtime.stop(SOON).await.unwrap();
    }
}
