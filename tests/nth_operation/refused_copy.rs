//! A COPY that the server refuses at its start leaves the connection one answer ahead: tokio-postgres has sent a Sync with it, and
//! sends another when it gives the COPY up.

use pgflow::Publisher;

use super::{
    actor::{Act, task},
    fault::{How, Plan},
    life::Life,
    user::count,
};

/// Rounds: who comes next on the connection must come before the answer that is too many.
const ROUNDS: i64 = 50;

/// Fear: the next on that connection takes another statement's answer for its own, and is told of an error though its message is there.
#[tokio::test]
async fn a_refused_copy_spoils_no_other_publish() {
    let life = Life::begin(Plan::new(None)).await;
    life.sql.batch_execute("SELECT pgflow_create_queue('life')").await.expect("a queue");
    let mut config = life.config("producer");
    config.handler_connections = 1;
    let publisher = Publisher::connect(&config).await.expect("good settings");
    publisher.send(task(0, Act::Plain)).await.expect("published");
    for n in 1..ROUNDS {
        life.net.plan.next("copy_ready", How::Refused);
        let (batch, single) = (vec![task(-n, Act::Plain), task(-n, Act::Plain)], task(n, Act::Plain));
        // The second waits for the connection that the first gives back.
        let (refused, sent) = tokio::join!(publisher.send_many(batch.clone()), publisher.send(single.clone()));
        assert!(refused.is_err_and(|e| e.sqlstate().is_some_and(|code| code.code() == "53200")), "round {n}");
        assert_eq!(count(&life.sql, &batch).await, 0, "round {n}");
        assert!(
            sent.is_ok(),
            "round {n}: {}, though {} are there",
            sent.unwrap_err(),
            count(&life.sql, &[single]).await
        );
    }
}
