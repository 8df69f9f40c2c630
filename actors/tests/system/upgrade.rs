//! A rolling upgrade: the system's own program, which knows version 1 of a message type, beside processes of the next
//! program, which knows version 2.

use std::process::Stdio;
use std::time::Duration;

use pgflow::{Config, Context, Failure, Handler, Outgoing, Publisher, Queue, Runtime};
use pgflow_actors::invalid::{Invalid, InvalidKind};
use pgflow_actors::json::Object;
use pgflow_actors::messages::{Envelope, PATTERNS_FOR_AGGREGATOR, PatternDiscovered, Payload};
use pgflow_actors::store;
use pgflow_actors::wire::Wire;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio_postgres::Client;

use crate::ledger;
use crate::processes::Processes;
use crate::support::{TestDb, connect, eventually, query_text};

const LIMIT: Duration = Duration::from_secs(45);
/// Tells a copy of this test program which process of the next program to be.
const NEXT: &str = "EVOLUTION_TEST_NEXT_PROGRAM";

/// Version 2 of `pattern_discovered`: the success rate is in percent, under another name.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
struct PatternTwo {
    #[serde(flatten)]
    envelope: Envelope<Self>,
    instance_id: String,
    success_percent: f64,
    code_pattern: Object,
    #[serde(flatten)]
    rest: Object,
}

impl Payload for PatternTwo {
    const TYPE: &'static str = PatternDiscovered::TYPE;
    const QUEUE: &'static str = PATTERNS_FOR_AGGREGATOR;
    const REQUIRED: &'static [&'static str] = &["instance_id", "success_percent", "code_pattern"];
    const VERSION: u16 = 2;

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }

    fn upgrade(_: u16, mut object: Object) -> Result<Object, Invalid> {
        let rate = object.remove("success_rate").and_then(|rate| rate.as_f64());
        let rate = rate.ok_or_else(|| Invalid::new(InvalidKind::InvalidMessage, "success_rate is missing"))?;
        object.insert("success_percent".to_owned(), (rate * 100.0).into());
        Ok(object)
    }
}

/// Notes what it takes, with its effect and its outcome in one transaction.
struct Next(String);

impl Handler for Next {
    type Message = Wire<PatternTwo>;

    async fn handle(&mut self, message: Self::Message, cx: &mut Context<'_>) -> Result<(), Failure> {
        let pattern = message.into_payload().map_err(Failure::dead)?;
        let word = pattern.code_pattern.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let tx = cx.transaction().await?;
        let sql = "INSERT INTO taken_by_next VALUES ($1, $2, $3)";
        tx.execute(sql, &[&self.0, &word, &pattern.success_percent]).await?;
        Ok(())
    }
}

/// A process of the next program, when this test program is started as one; else nothing.
#[tokio::test(flavor = "multi_thread")]
async fn next_program() {
    let Ok(name) = std::env::var(NEXT) else { return };
    let mut config = Config::new(std::env::var("PGFLOW_DATABASE_URL").unwrap()).instance(&name);
    config.heartbeat_ms = 100;
    let queue = Queue::new(PATTERNS_FOR_AGGREGATOR).workers(2);
    let runtime = Runtime::builder(config).queue(queue).handler(move || Next(name.clone())).start().await.unwrap();
    // Until the process that started it is gone, or kills it.
    let gone = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    gone.await.unwrap().unwrap();
    runtime.stop(LIMIT).await.unwrap();
}

fn start_next(db: &TestDb, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "upgrade::next_program", "--nocapture"])
        .env("PGFLOW_DATABASE_URL", db.url())
        .env(NEXT, name)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A pattern of a sort of its own, so that none is merged with another.
fn pattern(version: u16, n: usize) -> Value {
    let word = format!("v{version}-{n}");
    let mut body = json!({
        "type": "pattern_discovered", "version": version, "instance_id": "somebody", "pattern_type": format!("sort_{n}"),
        "agent_type": "RefactoringAgent", "code_pattern": { "name": word, "description": word },
        "timestamp": "2025-10-31T13:00:00Z",
    });
    match version {
        1 => body["success_rate"] = 0.5.into(),
        _ => body["success_percent"] = 50.0.into(),
    }
    if n.is_multiple_of(2) && version == 1 {
        // As every producer wrote it before there were versions.
        body.as_object_mut().unwrap().remove("version");
    }
    body
}

async fn publish(publisher: &Publisher, client: &Client, version: u16, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let body = pattern(version, n);
        if n.is_multiple_of(3) {
            // By SQL, where only the body says the version.
            let sql = "SELECT pgflow_publish($1, $2::text::jsonb)";
            client.execute(sql, &[&PATTERNS_FOR_AGGREGATOR, &body.to_string()]).await.unwrap();
        } else if version == 1 {
            let old: PatternDiscovered = pgflow_actors::messages::decode_value(body).unwrap();
            publisher.send(Outgoing::new(&Wire::of(old)).unwrap()).await.unwrap();
        } else {
            let new: PatternTwo = serde_json::from_value(body).unwrap();
            publisher.send(Outgoing::new(&Wire::of(new)).unwrap()).await.unwrap();
        }
    }
}

/// Says what is left, if it takes too long.
async fn all_taken(client: &Client, count: usize) {
    let sql =
        "SELECT (SELECT coalesce(sum(usage_count), 0) FROM evolution_patterns) + (SELECT count(*) FROM taken_by_next)";
    let taken = async { eventually(2 * LIMIT, async || ledger::number(client, sql).await == count).await };
    if tokio::time::timeout(LIMIT, taken).await.is_err() {
        panic!("{} of {count}; {:?}", ledger::number(client, sql).await, ledger::unfinished(client).await);
    }
}

/// Fear: during a rolling upgrade the old program throws away or misreads what the new one writes, the new one cannot read
/// the old, or a message falls between them.
#[tokio::test(flavor = "multi_thread")]
async fn old_and_next_program_share_a_queue() {
    let db = TestDb::new().await;
    store::init(&db.url(), "public").await.unwrap();
    let client = connect(&db.url()).await;
    ledger::open(&client).await;
    client.batch_execute("CREATE TABLE taken_by_next (by text, word text, percent float8)").await.unwrap();
    let publisher = Publisher::connect(&Config::new(db.url()).instance("test")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut old = Processes::new(&db.url(), folder.path());
    old.start("central", &["central"]);

    // Only the old program is there: its own are done, newer ones wait, and stand in nobody's way.
    publish(&publisher, &client, 2, 0..10).await;
    publish(&publisher, &client, 1, 0..10).await;
    let counted = "SELECT coalesce(sum(usage_count), 0) FROM evolution_patterns";
    eventually(LIMIT, async || ledger::number(&client, counted).await == 10).await;
    let parked = "SELECT count(*) FROM pgflow_messages WHERE kind = 'pattern_discovered' AND status = 'parked'";
    eventually(LIMIT, async || ledger::number(&client, parked).await == 10).await;

    // Side by side, and one of the next program is killed in the middle of it.
    let _one = start_next(&db, "next-1");
    let taken = "SELECT count(*) FROM taken_by_next";
    eventually(LIMIT, async || ledger::number(&client, taken).await >= 10).await;
    let mut two = start_next(&db, "next-2");
    publish(&publisher, &client, 1, 10..60).await;
    publish(&publisher, &client, 2, 10..60).await;
    eventually(LIMIT, async || ledger::number(&client, taken).await >= 20).await;
    two.kill().await.unwrap();
    // Under its name: what was handed to it because it can read it waits for it.
    let _two = start_next(&db, "next-2");
    old.kill("central").await;
    old.start_again("central");
    publish(&publisher, &client, 2, 60..80).await;
    publish(&publisher, &client, 1, 60..80).await;
    all_taken(&client, 160).await;

    // The old program is gone: the new one reads what was written for it.
    old.stop("central").await;
    publish(&publisher, &client, 1, 80..100).await;
    all_taken(&client, 180).await;

    let words = "SELECT word FROM (SELECT word FROM taken_by_next UNION ALL \
                   SELECT code_pattern ->> 'name' FROM evolution_patterns) w(word) ORDER BY word";
    let mut expected: Vec<String> =
        (0..100).map(|n| format!("v1-{n}")).chain((0..80).map(|n| format!("v2-{n}"))).collect();
    expected.sort();
    let mut found = query_text(&client, words).await;
    found.sort();
    assert_eq!(found, expected, "each once");
    let misread =
        "SELECT count(*) FROM evolution_patterns WHERE code_pattern ->> 'name' LIKE 'v2-%' OR success_rate <> 0.5";
    assert_eq!(ledger::number(&client, misread).await, 0, "version 2 is not for the old program");
    assert_eq!(ledger::number(&client, "SELECT count(*) FROM taken_by_next WHERE percent <> 50").await, 0);
    eventually(LIMIT, async || ledger::unfinished(&client).await.is_empty()).await;
    assert_eq!(ledger::lost_or_doubled(&client).await, [""; 0]);
    assert_eq!(query_text(&client, "SELECT error FROM pgflow_dlq").await, [""; 0]);
}
