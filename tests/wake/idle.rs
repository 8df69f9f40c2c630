//! What an idle instance costs.

use super::*;

/// Fear: an idle instance costs statements: a hidden poll, a hot loop on rows that it must not take.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_minute_costs_two_statements_a_second_and_instance() {
    const SECONDS: u64 = 60;
    let started = tokio::task::spawn_blocking(|| {
        DevPg::builder().durable(false).setting("autovacuum", "off").setting("max_connections", "100").start()
    });
    let server = started.await.unwrap().unwrap();
    support::migrated(&server.url()).await;
    let client = connect(&server.url()).await;
    let mut runtimes = Vec::new();
    for name in ["a", "b"] {
        let mut c = config(&server.url(), name);
        c.heartbeat_ms = 500;
        let mut builder = Runtime::builder(c);
        for q in 0..50 {
            let seen = Seen::new();
            builder = builder
                .queue(Queue::new(format!("q{q}")).workers(4))
                .any_handler(&format!("q{q}"), move || AnyProber(seen.clone()));
        }
        runtimes.push(builder.start().await.unwrap());
    }
    // Blocked by a key (its head is delayed), addressed to nobody here, delayed, paused.
    client
        .batch_execute(
            r#"SELECT pgflow_publish('q1', '{}', ordering_key => 'k', delay => '1 hour'), pgflow_publish('q1', '{}', ordering_key => 'k'),
                      pgflow_publish('q2', '{}', target => 'elsewhere'), pgflow_publish('q3', '{}', delay => '1 hour');
               UPDATE pgflow_queues SET paused = true WHERE name = 'q4'; SELECT pgflow_publish('q4', '{}');"#,
        )
        .await
        .unwrap();
    let statements = || async {
        let row = client
            .query_one(
                "SELECT (xact_commit + xact_rollback)::bigint FROM pg_stat_database WHERE datname = current_database()",
                &[],
            )
            .await
            .unwrap();
        row.get::<_, i64>(0)
    };
    // A backend that goes idle reports what it has counted within 10 s (PGSTAT_IDLE_INTERVAL): the start's cost is not ours.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let before = statements().await;
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let spent = statements().await - before;
    let allowed = 2 * 2 * i64::try_from(SECONDS).unwrap();
    // A few of the counted ones are this test's own question and the leader's minute duties.
    assert!(spent <= allowed + 8, "{spent} statements in {SECONDS} s, {allowed} allowed");
    assert!(spent >= allowed / 2, "{spent}: the heartbeat does not beat");
    no_wake_lost(&runtimes.iter().collect::<Vec<_>>(), false);
    for r in runtimes {
        r.stop(SOON).await.unwrap();
    }
}

struct AnyProber(Arc<Seen>);
impl pgflow::AnyHandler for AnyProber {
    async fn handle(&mut self, _: &mut pgflow::Context<'_>) -> Result<(), pgflow::Failure> {
        self.0.open();
        Ok(())
    }
}
