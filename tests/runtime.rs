//! A message's life in one process: done, retried, dead, snoozed, exactly once, stopped, and what is left behind.

mod support;

use std::time::Duration;

use support::{TestDb, eventually, probe::*};

use pgflow::{Failure, Handler, Message, Outgoing, Priority, Queue, Runtime};

const SOON: Duration = Duration::from_secs(20);

async fn statuses(client: &tokio_postgres::Client) -> Vec<(i64, String)> {
    client
        .query("SELECT (payload ->> 'n')::bigint, status FROM pgflow_messages ORDER BY id", &[])
        .await
        .unwrap()
        .iter()
        .map(|r| (r.get::<_, Option<i64>>(0).unwrap_or(-1), r.get(1)))
        .collect()
}

async fn all(client: &tokio_postgres::Client, status: &str, n: usize) -> bool {
    let s = statuses(client).await;
    s.len() == n && s.iter().all(|(_, x)| x == status)
}

/// Fear: the thinnest path breaks somewhere: publish, wake, claim, handle, settle.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_handled_and_kept_as_done() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 2, &seen).await;
    for n in 0..20 {
        runtime.publisher().publish(&Probe::new(n)).await.unwrap();
    }
    let client = db.client().await;
    eventually(SOON, || all(&client, "done", 20)).await;
    assert_eq!(seen.count(), 20);
    assert_eq!(runtime.found_by_heartbeat(), 0);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a failed or panicking try is lost, retried at once, counted wrong, or brings the tree down.
#[tokio::test(flavor = "multi_thread")]
async fn failures_and_panics_are_retried_with_the_queues_backoff() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = Queue::new("probe").workers(2).retry_delay(Duration::from_millis(40), Duration::from_secs(1));
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::FailUntil(3))).await.unwrap();
    runtime.publisher().publish(&Probe::act(2, Act::PanicUntil(2))).await.unwrap();
    let client = db.client().await;
    eventually(SOON, || all(&client, "done", 2)).await;
    let attempts: Vec<(i64, u32)> = {
        let mut a: Vec<_> = seen.starts().iter().map(|s| (s.n, s.attempt)).collect();
        a.sort_unstable();
        a
    };
    assert_eq!(attempts, [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]);
    let events =
        support::query_text(&client, "SELECT event || ': ' || detail FROM pgflow_attempts ORDER BY id, at").await;
    assert_eq!(events, ["failed: asked to fail", "failed: asked to fail", "panicked: panic: asked to panic"]);
    assert_eq!(restarts(&runtime.tree().await), 0, "a panic is the message's, not the tree's");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

fn restarts(node: &pgflow::TreeNode) -> u64 {
    node.restarts + node.children.iter().map(restarts).sum::<u64>()
}

/// Fear: a message that always fails goes round for ever, or is lost at the end; a rejected one is retried.
#[tokio::test(flavor = "multi_thread")]
async fn used_up_and_rejected_messages_are_dead_letters_with_reasons() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = Queue::new("probe").max_retries(2).retry_delay(Duration::from_millis(10), Duration::from_millis(10));
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::FailUntil(99))).await.unwrap();
    runtime.publisher().publish(&Probe::act(2, Act::Dead)).await.unwrap();
    let client = db.client().await;
    eventually(SOON, || all(&client, "dead", 2)).await;
    let dead =
        support::query_text(&client, "SELECT error_kind || ' ' || attempt || ' ' || error FROM pgflow_dlq ORDER BY id")
            .await;
    assert_eq!(dead, ["retries_exhausted 3 asked to fail", "rejected 1 asked to die"]);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: poison messages use up the tree's restart budget, or workers one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_poison_messages_restart_nothing() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = Queue::new("probe").workers(8).max_retries(0);
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    let poison: Vec<Probe> = (0..1_000).map(|n| Probe::act(n, Act::PanicUntil(99))).collect();
    std::panic::set_hook(Box::new(|_| {}));
    runtime.publisher().publish_many(&poison).await.unwrap();
    let client = db.client().await;
    eventually(Duration::from_secs(60), || all(&client, "dead", 1_000)).await;
    let _ = std::panic::take_hook();
    assert_eq!(restarts(&runtime.tree().await), 0);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a snooze counts as a try, or is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_snooze_comes_back_without_counting() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 1, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::Snooze(30))).await.unwrap();
    let client = db.client().await;
    eventually(SOON, || all(&client, "done", 1)).await;
    assert_eq!(seen.starts().iter().map(|s| s.attempt).collect::<Vec<_>>(), [1, 1]);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: an effect written through the transaction happens without its message, or twice.
#[tokio::test(flavor = "multi_thread")]
async fn effects_of_the_transaction_happen_with_the_settle() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 4, &seen).await;
    let many: Vec<Probe> = (0..50).map(|n| Probe::act(n, Act::Effect)).collect();
    runtime.publisher().publish_many(&many).await.unwrap();
    eventually(SOON, || all(&client, "done", 50)).await;
    let fx = support::query_text(&client, "SELECT count(*) || ' ' || count(DISTINCT n) FROM fx").await;
    assert_eq!(fx, ["50 50"]);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a claim that was rescued meanwhile commits its effects all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_claim_rolls_its_effects_back() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 1, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::EffectThenWait)).await.unwrap();
    eventually(SOON, || async { seen.running() == 1 }).await;
    // What a rescue does, without waiting for a death.
    client.batch_execute("UPDATE pgflow_active SET token = token + 1000000").await.unwrap();
    seen.open();
    eventually(SOON, || async { seen.running() == 0 }).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!(support::query_text(&client, "SELECT count(*)::text FROM fx").await, ["0"]);
    assert_eq!(statuses(&client).await, [(1, "processing".to_owned())], "not ours to settle");
}

/// Fear: a claim whose answer was lost stays with us for ever; or what still runs is taken for one, and runs twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_not_answered_is_handed_back_and_one_that_runs_is_not() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 2, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::Wait)).await.unwrap();
    eventually(SOON, || async { seen.running() == 1 }).await;
    let client = db.client().await;
    // Both look old. One is in our name though nobody here was told of it.
    client
        .batch_execute(
            r#"UPDATE pgflow_active SET claimed_at = now() - interval '1 minute';
               INSERT INTO pgflow_active (id, token, session_id, claimed_at, lane_id, seq, attempt, version, codec, message_id, created_at, kind, body)
               SELECT nextval('pgflow_seq'), nextval('pgflow_token'), session_id, claimed_at, lane_id, currval('pgflow_seq'), 1, 1, 1,
                      gen_random_uuid(), claimed_at, 'probe', '{"n":2,"act":"Done","key":null}' FROM pgflow_active"#,
        )
        .await
        .unwrap();
    eventually(SOON, || async { seen.started(2).is_some() }).await;
    let first = "SELECT status FROM pgflow_messages WHERE payload ->> 'n' = '1'";
    assert_eq!(support::query_text(&client, first).await, ["processing"]);
    seen.open();
    eventually(SOON, || all(&client, "done", 2)).await;
    assert_eq!(seen.ns(), [1, 2]);
    assert_eq!(seen.starts()[1].attempt, 1, "a hand-back is no try");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: an answer that is lost while a look for such claims is due already, too early for it, is never asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_lost_answer_is_looked_for_too() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 2, &seen).await;
    let client = db.client().await;
    // The start asked for the first look, 2.5 s later. At that time this claim, of a second from now, is too young for it.
    client
        .batch_execute(
            r#"INSERT INTO pgflow_active (id, token, session_id, claimed_at, lane_id, seq, attempt, version, codec, message_id, created_at, kind, body)
               SELECT nextval('pgflow_seq'), nextval('pgflow_token'), session_id, clock_timestamp() + interval '1 second', lane_id,
                      currval('pgflow_seq'), 1, 1, 1, gen_random_uuid(), now(), 'probe', '{"n":1,"act":"Done","key":null}'
               FROM pgflow_instances, pgflow_lanes WHERE class = 0 AND target IS NULL;
               SELECT pg_terminate_backend(listener_pid) FROM pgflow_instances"#,
        )
        .await
        .unwrap();
    eventually(SOON, || all(&client, "done", 1)).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: an outcome whose settle was not answered is dropped: its message stays active though its handler has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_settle_that_was_not_answered_is_repeated() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 2, &seen).await;
    let (client, mut theirs) = (db.client().await, db.client().await);
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE pgflow_history IN EXCLUSIVE MODE").await.unwrap();
    runtime.publisher().publish(&Probe::new(1)).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
               AND wait_event_type = 'Lock' AND query LIKE '-- Finishes the messages %'";
    eventually(SOON, || async { !support::query_text(&client, end).await.is_empty() }).await;
    tx.rollback().await.unwrap();
    eventually(SOON, || all(&client, "done", 1)).await;
    assert_eq!(seen.count(), 1, "its handler had ended well");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a stop loses what was claimed, counts it as a try, or waits for ever for a handler.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_hands_everything_back() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 8, &seen).await;
    let many: Vec<Probe> = (0..100).map(|n| Probe::act(n, Act::Wait)).collect();
    runtime.publisher().publish_many(&many).await.unwrap();
    eventually(SOON, || async { seen.running() == 8 }).await;
    runtime.stop(Duration::from_millis(50)).await.unwrap();
    let client = db.client().await;
    assert!(all(&client, "pending", 100).await, "{:?}", statuses(&client).await);
    let retries = support::query_text(&client, "SELECT DISTINCT retry_count::text FROM pgflow_messages").await;
    assert_eq!(retries, ["0"], "a hand-back is no try");
    assert_eq!(
        support::query_text(&client, "SELECT count(*)::text FROM pgflow_instances WHERE ended_at IS NULL").await,
        ["0"]
    );
    // And another instance finishes them.
    seen.open();
    let second = probing(config(&db.url(), "b"), 8, &seen).await;
    eventually(SOON, || all(&client, "done", 100)).await;
    second.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: with one worker, messages overtake one another.
#[tokio::test(flavor = "multi_thread")]
async fn one_worker_starts_in_publish_order() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = Queue::new("probe").workers(1).high_reserve(false);
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    for n in 0..300 {
        runtime.publisher().publish(&Probe::new(n)).await.unwrap();
    }
    let client = db.client().await;
    eventually(SOON, || all(&client, "done", 300)).await;
    assert_eq!(seen.ns(), (0..300).collect::<Vec<_>>());
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a handler past its deadline holds its worker, or its message, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_past_its_deadline_is_cut_and_retried() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = Queue::new("probe").workers(2).max_retries(0).deadline(Duration::from_millis(100));
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::Wait)).await.unwrap();
    runtime.publisher().publish(&Probe::act(2, Act::Block)).await.unwrap();
    let client = db.client().await;
    eventually(SOON, || all(&client, "dead", 2)).await;
    let errors = support::query_text(&client, "SELECT DISTINCT error FROM pgflow_dlq").await;
    assert_eq!(errors, ["ran past its deadline of 100 ms"]);
    runtime.publisher().publish(&Probe::new(3)).await.unwrap();
    runtime.publisher().publish(&Probe::new(4)).await.unwrap();
    eventually(SOON, || async { seen.started(3).is_some() && seen.started(4).is_some() }).await;
    seen.open();
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: two live instances of one name take each other's addressed messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_live_holder_of_a_name_is_refused() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let first = probing(config(&db.url(), "a"), 1, &seen).await;
    let again =
        Runtime::builder(config(&db.url(), "a")).queue(Queue::new("probe")).handler(move || Prober(Seen::new()));
    let refused = again.start().await.err().expect("refused").to_string();
    assert!(refused.contains("a live instance has this name"), "{refused}");
    first.stop(Duration::from_secs(5)).await.unwrap();
    probing(config(&db.url(), "a"), 1, &seen).await.stop(Duration::from_secs(5)).await.unwrap();
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Newer {
    n: i64,
}
impl Message for Newer {
    const KIND: &'static str = "newer";
    const QUEUE: &'static str = "probe";
    const VERSION: u16 = 2;
}
struct NewerHandler(std::sync::Arc<Seen>);
impl Handler for NewerHandler {
    type Message = Newer;
    async fn handle(&mut self, m: Newer, cx: &mut pgflow::Context<'_>) -> Result<(), Failure> {
        let start = Start {
            n: m.n,
            id: cx.id(),
            attempt: cx.attempt(),
            key: None,
            at: std::time::Instant::now(),
            instance: cx.instance().into(),
        };
        self.0.starts.lock().unwrap().push(start);
        Ok(())
    }
}

struct Anything;
impl pgflow::AnyHandler for Anything {
    async fn handle(&mut self, _: &mut pgflow::Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Fear: an instance that does not know a kind or version throws its messages away, or hot-loops on them.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_kind_waits_for_an_instance_that_knows_it() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let mut old = config(&db.url(), "old");
    old.heartbeat_ms = 100;
    let runtime = probing(old, 2, &seen).await;
    // Live, and of no use: it has another queue.
    let mut other = config(&db.url(), "elsewhere");
    other.heartbeat_ms = 100;
    let elsewhere = Runtime::builder(other).any_handler("elsewhere", || Anything).start().await.unwrap();
    runtime.publisher().send(Outgoing::new(&Newer { n: 7 }).unwrap()).await.unwrap();
    let client = db.client().await;
    eventually(SOON, || all(&client, "parked", 1)).await;
    let beat = support::query_text(&client, "SELECT heartbeat_at FROM pgflow_instances WHERE name = 'old'").await;
    let beaten = format!("SELECT 'x' FROM pgflow_instances WHERE name = 'old' AND heartbeat_at > '{}'", beat[0]);
    eventually(SOON, || async { !support::query_text(&client, &beaten).await.is_empty() }).await;
    assert!(all(&client, "parked", 1).await, "nobody knows it yet");
    let mut new = config(&db.url(), "new");
    new.heartbeat_ms = 100;
    let handler = seen.clone();
    let second = Runtime::builder(new)
        .queue(Queue::new("probe"))
        .handler(move || NewerHandler(handler.clone()))
        .start()
        .await
        .unwrap();
    eventually(SOON, || all(&client, "done", 1)).await;
    let start = seen.started(7).unwrap();
    assert_eq!((start.attempt, start.instance.as_str()), (1, "new"));
    runtime.stop(Duration::from_secs(5)).await.unwrap();
    second.stop(Duration::from_secs(5)).await.unwrap();
    elsewhere.stop(Duration::from_secs(5)).await.unwrap();
}

/// States its version in its body, as what a plain SQL client publishes does; read up to version `READS`.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stated<const READS: u16> {
    version: u16,
}
impl<const READS: u16> Message for Stated<READS> {
    const KIND: &'static str = "stated";
    const QUEUE: &'static str = "probe";

    fn decode(body: pgflow::Encoded<'_>) -> Result<Self, pgflow::DecodeError> {
        let stated: Self = body.decode()?;
        if stated.version > READS {
            return Err(pgflow::DecodeError::unsupported(format!("version {}", stated.version)));
        }
        Ok(stated)
    }
}
struct Reader<const READS: u16>(tokio::sync::mpsc::UnboundedSender<String>);
impl<const READS: u16> Handler for Reader<READS> {
    type Message = Stated<READS>;
    async fn handle(&mut self, _: Stated<READS>, cx: &mut pgflow::Context<'_>) -> Result<(), Failure> {
        self.0.send(cx.instance().to_owned()).map_err(Failure::dead)
    }
}

/// Fear: a newer body in a row that says 1 (a SQL client's) is dead, or goes round, though an instance that reads it lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_state_its_version_and_waits_for_who_can_read_it() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let (told, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let start = |name| {
        let mut config = config(&db.url(), name);
        config.heartbeat_ms = 100;
        Runtime::builder(config).queue(Queue::new("probe"))
    };
    let to = told.clone();
    let old = start("old").handler(move || Reader::<1>(to.clone())).start().await.unwrap();
    let publish = r#"SELECT pgflow_publish('probe', '{"version": 2}', kind => 'stated')"#;
    client.execute(publish, &[]).await.unwrap();
    eventually(SOON, || all(&client, "parked", 1)).await;
    let new = start("new").handler(move || Reader::<2>(told.clone())).start().await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, taken.recv()).await.unwrap().unwrap(), "new");
    old.stop(Duration::from_secs(5)).await.unwrap();
    new.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a message that another system named gets a second name here.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_keeps_the_id_it_is_given() {
    let db = TestDb::new().await;
    let runtime = probing(config(&db.url(), "a"), 1, &Seen::new()).await;
    let id = uuid::Uuid::now_v7();
    let receipt = runtime.publisher().send(Probe::new(1).out().with_message_id(id)).await.unwrap();
    assert_eq!(receipt.message_id, id);
    let stored = support::query_text(&db.client().await, "SELECT message_id::text FROM pgflow_messages").await;
    assert_eq!(stored, [id.to_string()]);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a message that nobody will ever decode stays for ever without anybody noticing.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_kind_is_dead_after_its_grace() {
    let db = TestDb::new().await;
    let mut config = config(&db.url(), "a");
    (config.heartbeat_ms, config.unknown_grace_ms) = (100, 300);
    let runtime = probing(config, 2, &Seen::new()).await;
    runtime.publisher().send(Outgoing::json("probe", "martian", "{}").unwrap()).await.unwrap();
    let client = db.client().await;
    let dead =
        || async { support::query_text(&client, "SELECT error_kind FROM pgflow_dlq").await == ["unsupported_version"] };
    eventually(SOON, dead).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a malformed body is retried though it can never succeed.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_body_is_dead_at_once() {
    let db = TestDb::new().await;
    let runtime = probing(config(&db.url(), "a"), 2, &Seen::new()).await;
    runtime.publisher().send(Outgoing::json("probe", "probe", r#"{"n":"x"}"#).unwrap()).await.unwrap();
    let client = db.client().await;
    let dead = || async {
        support::query_text(&client, "SELECT error_kind || attempt FROM pgflow_dlq").await == ["invalid_format1"]
    };
    eventually(SOON, dead).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a rollback waits behind a backlog whose handlers block every thread of the user's runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn high_starts_though_every_worker_blocks_its_thread_and_thousands_wait() {
    let db = TestDb::new().await;
    let url = db.url();
    let client = db.client().await;
    let seen = Seen::new();
    // A two-thread runtime of its own, whose threads the handlers will block; the test keeps its own.
    let blocked = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let runtime = {
        let seen = seen.clone();
        let mut c = config(&url, "a");
        c.heartbeat_ms = 500;
        blocked.spawn(async move { probing(c, 4, &seen).await }).await.unwrap()
    };
    let backlog: Vec<Probe> = (0..20_000).map(|n| Probe::act(n, Act::Block)).collect();
    runtime.publisher().publish_many(&backlog).await.unwrap();
    eventually(SOON, || async { seen.running() >= 2 }).await;
    let before = seen.ended();
    let sent = runtime.publisher().send(Probe::new(-1).out().priority(Priority::High));
    tokio::time::timeout(SOON, sent).await.expect("not on the blocked threads").unwrap();
    eventually(SOON, || async { seen.started(-1).is_some() }).await;
    assert_eq!(
        seen.ended.lock().unwrap().iter().filter(|(n, _)| *n >= 0).count(),
        before,
        "no blocked handler ended first"
    );
    // Neither did the control plane stop: the high one is settled while all others block.
    let done = || async {
        support::query_text(&client, "SELECT status FROM pgflow_messages WHERE priority = 10").await == ["done"]
    };
    eventually(SOON, done).await;
    let now = support::query_text(&client, "SELECT clock_timestamp()").await.remove(0);
    let beat = format!("SELECT 'x' FROM pgflow_instances WHERE heartbeat_at > '{now}'");
    eventually(SOON, || async { !support::query_text(&client, &beat).await.is_empty() }).await;
    assert_eq!(runtime.found_by_heartbeat(), 0, "the high one was woken for");
    seen.open();
    drop(runtime);
    blocked.shutdown_background();
}

/// Fear: a rollback waits for a connection, because settles that cannot go on hold all of them.
#[tokio::test(flavor = "multi_thread")]
async fn high_is_claimed_though_every_common_connection_is_busy() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let mut c = config(&db.url(), "a");
    c.control_connections = 2;
    let runtime = probing(c, 2, &seen).await;
    let (client, mut theirs) = (db.client().await, db.client().await);
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE pgflow_history IN EXCLUSIVE MODE").await.unwrap();
    runtime.publisher().publish(&Probe::new(1)).await.unwrap();
    let busy = "SELECT 'x' FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgflow control' \
                AND wait_event_type = 'Lock'";
    eventually(SOON, || async { support::query_text(&client, busy).await.len() == 1 }).await;
    runtime.publisher().send(Probe::new(2).out().priority(Priority::High)).await.unwrap();
    eventually(Duration::from_secs(8), || async { seen.started(2).is_some() }).await;
    tx.rollback().await.unwrap();
    eventually(SOON, || all(&client, "done", 2)).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a high message takes a worker away from the rest though the one kept for it is idle.
#[tokio::test(flavor = "multi_thread")]
async fn high_leaves_the_other_workers_to_the_rest() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 1, &seen).await;
    runtime.publisher().send(Probe::act(1, Act::Wait).out().priority(Priority::High)).await.unwrap();
    eventually(SOON, || async { seen.running() == 1 }).await;
    runtime.publisher().publish(&Probe::new(2)).await.unwrap();
    eventually(SOON, || async { seen.started(2).is_some() }).await;
    seen.open();
    let client = db.client().await;
    eventually(SOON, || all(&client, "done", 2)).await;
    let events = support::query_text(&client, "SELECT event FROM pgflow_attempts").await;
    assert!(events.is_empty(), "nothing was claimed for a worker that was not there: {events:?}");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a flood of normal messages starves low ones for ever.
#[tokio::test(flavor = "multi_thread")]
async fn low_gets_its_share_under_a_flood_of_normal() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    db.client().await.batch_execute("SELECT pgflow_create_queue('probe')").await.unwrap();
    let normal: Vec<_> = (0..2_000).map(|n| Probe::new(n).out()).collect();
    let low: Vec<_> = (10_000..10_010).map(|n| Probe::new(n).out().priority(Priority::Low)).collect();
    publisher.send_many(low).await.unwrap();
    publisher.send_many(normal).await.unwrap();
    let runtime = probing_queue(config(&db.url(), "a"), Queue::new("probe").workers(2), &seen).await;
    let client = db.client().await;
    eventually(Duration::from_secs(60), || all(&client, "done", 2_010)).await;
    let ns = seen.ns();
    let last_low = ns.iter().rposition(|n| *n >= 10_000).unwrap();
    assert!(last_low < 1_500, "the last low message started as number {last_low} of 2,010");
    assert!(ns[0] < 10_000, "normal comes first");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}
