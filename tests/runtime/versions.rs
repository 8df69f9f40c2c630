//! Kinds, versions and bodies that not every instance knows.

use super::*;

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
    let start = |name| reading(&db, name);
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

/// Fear: once handed to one who turned out not to be able to read it, a message is kept from all others.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_two_could_not_read_goes_to_a_third() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let (told, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let old = async |name: &str| {
        let told = told.clone();
        reading(&db, name).handler(move || Reader::<1>(told.clone())).start().await.unwrap()
    };
    let (a, c) = (old("a").await, old("c").await);
    a.publisher().send(Outgoing::new(&Stated::<1> { version: 2 }).unwrap()).await.unwrap();
    let tried = "SELECT count(*) FROM pgflow_attempts WHERE event = 'undecodable'";
    eventually(SOON, || async { support::query_text(&client, tried).await == ["2"] }).await;
    let to = told.clone();
    let b = reading(&db, "b").handler(move || Reader::<2>(to.clone())).start().await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, taken.recv()).await.expect("in time").as_deref(), Some("b"));
    for runtime in [a, b, c] {
        runtime.stop(SOON).await.unwrap();
    }
}

/// Fear: a message is handed to one who dies before he takes it, and stays addressed to him while others could read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_handed_to_one_who_dies_is_handed_on() {
    let db = TestDb::new().await;
    let (client, ghost) = (db.client().await, db.client().await);
    let (told, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let to = told.clone();
    let a = reading(&db, "a").handler(move || Reader::<1>(to.clone())).start().await.unwrap();
    // Live by its lock, and says that it reads what it never takes.
    let lives = r#"INSERT INTO pgflow_instances (name, listener_pid, decodes) VALUES ('ghost', pg_backend_pid(), '{"probe": {"stated": 1}}');
                   SELECT pg_advisory_lock(space, 65536 + session_id) FROM pgflow_meta, pgflow_instances WHERE name = 'ghost'"#;
    ghost.batch_execute(lives).await.unwrap();
    a.publisher().send(Outgoing::new(&Stated::<1> { version: 2 }).unwrap()).await.unwrap();
    let handed = "SELECT target FROM pgflow_messages WHERE status = 'pending'";
    eventually(SOON, || async { support::query_text(&client, handed).await == ["ghost"] }).await;
    let b = reading(&db, "b").handler(move || Reader::<2>(told.clone())).start().await.unwrap();
    drop(ghost);
    assert_eq!(tokio::time::timeout(SOON, taken.recv()).await.expect("in time").as_deref(), Some("b"));
    a.stop(SOON).await.unwrap();
    b.stop(SOON).await.unwrap();
}

/// A runtime that notices within moments who lives, and who does not.
fn reading(db: &TestDb, name: &str) -> pgflow::Builder {
    let mut config = config(&db.url(), name);
    (config.heartbeat_ms, config.rescue_grace_ms) = (100, 0);
    Runtime::builder(config).queue(Queue::new("probe"))
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
