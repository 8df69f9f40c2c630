//! Handlers called without a queue, on a real Postgres.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::{Duration, SystemTime};

use pgflow::testing::Caller;
use pgflow::{Config, Context, Failure, Handler, Outgoing};
use support::{TestDb, eventually, probe::*, query_text};

const SOON: Duration = Duration::from_secs(20);

/// A database with a table for effects, and a caller with one connection for handlers.
async fn stage() -> (TestDb, tokio_postgres::Client, Caller) {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let mut config = Config::new(db.url()).instance("caller");
    config.handler_connections = 1;
    let caller = Caller::connect(&config).await.unwrap();
    (db, client, caller)
}

/// Writes an effect and ends as its message says, after it.
struct Writer;
impl Handler for Writer {
    type Message = Probe;
    async fn handle(&mut self, m: Probe, cx: &mut Context<'_>) -> Result<(), Failure> {
        cx.transaction().await?.execute("INSERT INTO fx (n) VALUES ($1)", &[&m.n]).await?;
        match m.act {
            Act::Dead => Err(Failure::dead("asked to die")),
            Act::Snooze(ms) => Err(Failure::snooze(Duration::from_millis(ms))),
            Act::PanicUntil(_) => panic!("asked to panic"),
            Act::FailUntil(n) if cx.attempt() < n => {
                // An error that is caught, in a transaction that Postgres has aborted.
                let _ = cx.transaction().await?.execute("SELECT 1/0", &[]).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Fear: an effect of a failed call stays, that of a good one does not, or a failed call keeps the only connection.
#[tokio::test(flavor = "multi_thread")]
async fn effects_are_committed_on_ok_and_rolled_back_otherwise() {
    let (_db, client, caller) = stage().await;
    let call = async |n, act| caller.call(&mut Writer, &Probe::act(n, act).out(), 1).await;
    assert!(call(1, Act::Done).await.is_ok());
    let dead = call(2, Act::Dead).await.unwrap_err();
    assert!(dead.is_dead() && dead.error() == "asked to die" && dead.delay().is_none());
    // On the same connection: what was not rolled back would be committed with it.
    assert!(call(7, Act::Done).await.is_ok());
    let snoozed = call(3, Act::Snooze(70)).await.unwrap_err();
    assert!(snoozed.is_snooze() && !snoozed.is_dead() && snoozed.delay() == Some(Duration::from_millis(70)));
    let panicked = call(4, Act::PanicUntil(2)).await.unwrap_err();
    assert_eq!((panicked.error(), panicked.is_dead(), panicked.delay()), ("panic: asked to panic", false, None));
    let aborted = call(5, Act::FailUntil(2)).await.unwrap_err();
    assert!(aborted.error().starts_with("commit of the handler's transaction"), "{}", aborted.error());
    assert!(call(6, Act::Done).await.is_ok());
    assert_eq!(query_text(&client, "SELECT string_agg(n::text, ' ' ORDER BY n) FROM fx").await, ["1 6 7"]);
    assert_eq!(query_text(&client, "SELECT count(*) FROM pgflow_messages").await, ["0"], "nothing took a queue");
}

/// Fear: a body that a worker would bury reaches the handler, or a foreign kind is forced into it.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_decode_never_reaches_the_handler() {
    let (_db, client, caller) = stage().await;
    for (kind, why) in [("probe", "invalid_format"), ("other", "no handler for kind \"other\"")] {
        let out = Outgoing::json("probe", kind, "{}").unwrap();
        let refused = caller.call(&mut Writer, &out, 1).await.unwrap_err();
        assert!(refused.is_dead() && refused.error().starts_with(why), "{}", refused.error());
    }
    assert_eq!(query_text(&client, "SELECT count(*) FROM fx").await, ["0"]);
}

/// Fear: a handler sees another try, name or number than a worker would show it; or keeps no state between calls.
#[tokio::test(flavor = "multi_thread")]
async fn the_handler_sees_what_a_worker_shows_it() {
    let (_db, _client, caller) = stage().await;
    let seen = Seen::new();
    let mut handler = Prober(seen.clone());
    let out = Probe::act(7, Act::FailUntil(2)).out().ordering_key("k");
    assert_eq!(caller.call(&mut handler, &out, 1).await.unwrap_err().error(), "asked to fail");
    assert!(caller.call(&mut handler, &out, 2).await.is_ok());
    let starts = seen.starts();
    assert_eq!(
        starts.iter().map(|s| (s.attempt, s.instance.as_str())).collect::<Vec<_>>(),
        [(1, "caller"), (2, "caller")]
    );
    assert!(starts[0].id < 0 && starts[0].id == starts[1].id, "the same in all tries, and none of the database's");
    assert!(caller.call(&mut handler, &Probe::new(8).out(), 1).await.is_ok());
    assert_ne!(seen.starts()[2].id, starts[0].id);
}

/// Notes when its messages were published.
struct Clock(Vec<SystemTime>);
impl Handler for Clock {
    type Message = Probe;
    async fn handle(&mut self, _: Probe, cx: &mut Context<'_>) -> Result<(), Failure> {
        self.0.push(cx.incoming().created_at);
        Ok(())
    }
}

/// Fear: a message that waited for its call, or for another try, counts as published only then.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_as_old_as_when_it_was_made() {
    let (_db, _client, caller) = stage().await;
    let (mut clock, before) = (Clock(Vec::new()), SystemTime::now());
    let out = Probe::new(1).out();
    // Longer than the clock's step, so that then and now differ.
    while before.elapsed().unwrap() < Duration::from_millis(50) {
        tokio::task::yield_now().await;
    }
    for attempt in 1..=2 {
        assert!(caller.call(&mut clock, &out, attempt).await.is_ok());
    }
    assert_eq!(clock.0[0], clock.0[1]);
    // The id holds milliseconds.
    assert!(clock.0[0] < before + Duration::from_millis(40), "made at once");
}

/// Fear: a call that is dropped leaves its transaction open, or committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_is_rolled_back() {
    let (_db, client, caller) = stage().await;
    let seen = Seen::new();
    let call = tokio::spawn({
        let (seen, caller) = (seen.clone(), caller.clone());
        async move { caller.call(&mut Prober(seen), &Probe::act(1, Act::EffectThenWait).out(), 1).await.is_ok() }
    });
    let inserted =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
    eventually(SOON, async || query_text(&client, inserted).await == ["1"]).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    eventually(SOON, async || query_text(&client, inserted).await == ["0"]).await;
    assert_eq!(query_text(&client, "SELECT count(*) FROM fx").await, ["0"]);
    assert!(
        caller.call(&mut Prober(seen), &Probe::act(2, Act::Effect).out(), 1).await.is_ok(),
        "the connection is free"
    );
    assert_eq!(query_text(&client, "SELECT n FROM fx").await, ["2"]);
}
