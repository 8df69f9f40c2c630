//! A rolling upgrade: programs of two versions of one message type side by side, and a version that nobody reads yet.

use std::sync::{Arc, Mutex};

use pgflow::{Config, Context, Failure, Handler, Queue, Runtime};
use pgflow_actors::invalid::Invalid;
use pgflow_actors::json::Object;
use pgflow_actors::messages::{Envelope, Payload};
use pgflow_actors::wire::Wire;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::stage::{LIMIT, Stage, calm};
use crate::support::{TestDb, eventually, query_text};

/// Version 1 of a message type.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
struct Old {
    #[serde(flatten)]
    envelope: Envelope<Self>,
    n: u32,
}

/// Version 2: `n` is called `number`.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
struct New {
    #[serde(flatten)]
    envelope: Envelope<Self>,
    number: u32,
}

macro_rules! payload {
    ($name:ty, $version:literal, $($upgrade:tt)*) => {
        impl Payload for $name {
            const TYPE: &'static str = "counted";
            const QUEUE: &'static str = "counting";
            const REQUIRED: &'static [&'static str] = &[];
            const VERSION: u16 = $version;
            $($upgrade)*
            fn envelope(&self) -> &Envelope<Self> {
                &self.envelope
            }
            fn check(&self) -> Result<(), Invalid> {
                Ok(())
            }
        }
    };
}
payload!(Old, 1,);
payload!(
    New,
    2,
    fn upgrade(_: u16, mut object: Object) -> Result<Object, Invalid> {
        let n = object.remove("n").unwrap_or_default();
        object.insert("number".to_owned(), n);
        Ok(object)
    }
);

type Seen = Arc<Mutex<Vec<(&'static str, u32)>>>;

struct Taker<P> {
    seen: Seen,
    note: fn(&P) -> (&'static str, u32),
}

impl<P: Payload> Handler for Taker<P> {
    type Message = Wire<P>;

    async fn handle(&mut self, message: Wire<P>, _: &mut Context<'_>) -> Result<(), Failure> {
        let payload = message.into_payload().map_err(Failure::dead)?;
        self.seen.lock().unwrap().push((self.note)(&payload));
        Ok(())
    }
}

async fn start<P: Payload>(db: &TestDb, name: &str, seen: &Seen, note: fn(&P) -> (&'static str, u32)) -> Runtime {
    let mut config = Config::new(db.url()).instance(name);
    config.heartbeat_ms = 100;
    let seen = Arc::clone(seen);
    let queue = Queue::new("counting").workers(2);
    Runtime::builder(config)
        .queue(queue)
        .handler(move || Taker { seen: Arc::clone(&seen), note })
        .start()
        .await
        .unwrap()
}

/// Fear: during a rolling upgrade the old programs throw away what the new ones write, or the new cannot read the old.
#[tokio::test(flavor = "multi_thread")]
async fn two_versions_of_a_message_type_run_side_by_side() {
    let db = TestDb::new().await;
    let seen = Seen::default();
    let old = start::<Old>(&db, "old", &seen, |m| ("old", m.n)).await;
    let publish_new = async |runtime: &Runtime, number| {
        runtime.publisher().publish(&Wire::of(New { envelope: Envelope::new(), number })).await.unwrap();
    };
    // Before anyone reads it, a new message waits, though old ones go on.
    publish_new(&old, 100).await;
    for n in 0..20 {
        old.publisher().publish(&Wire::of(Old { envelope: Envelope::new(), n })).await.unwrap();
    }
    eventually(LIMIT, async || seen.lock().unwrap().len() == 20).await;
    let new = start::<New>(&db, "new", &seen, |m| ("new", m.number)).await;
    for n in 20..40 {
        new.publisher().publish(&Wire::of(Old { envelope: Envelope::new(), n })).await.unwrap();
        publish_new(&old, 100 + n).await;
    }
    // Without a version, as every old producer writes it; and a new body in a row that says 1, as SQL clients write it.
    let client = db.client().await;
    for body in [json!({"type": "counted", "n": 40}), json!({"type": "counted", "version": 2, "number": 200})] {
        let text = body.to_string();
        client.execute("SELECT pgflow_publish('counting', $1::text::jsonb)", &[&text]).await.unwrap();
    }
    eventually(LIMIT, async || seen.lock().unwrap().len() == 63).await;
    let mut taken = seen.lock().unwrap().clone();
    assert!(taken.iter().all(|(by, n)| *n < 100 || *by == "new"), "{taken:?}");
    taken.sort_by_key(|(_, n)| *n);
    let numbers: Vec<u32> = taken.iter().map(|(_, n)| *n).collect();
    let expected: Vec<u32> = (0..41).chain([100]).chain(120..140).chain([200]).collect();
    assert_eq!(numbers, expected, "each once");
    let left = "SELECT count(*) FROM pgflow_messages WHERE status <> 'done'";
    eventually(LIMIT, async || query_text(&client, left).await == ["0"]).await;
    old.stop(LIMIT).await.unwrap();
    new.stop(LIMIT).await.unwrap();
}

/// Fear: a payload from the future is dead at once, or waits for ever and nobody hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_future_version_waits_and_then_is_dead_under_its_tag() {
    let stage = Stage::new(1, calm).await;
    let future = json!({"type": "execution_metrics", "version": 99, "whatever": true}).to_string();
    let publish = "SELECT pgflow_publish('metrics_to_guardian_queue', $1::text::jsonb)";
    stage.client.execute(publish, &[&future]).await.unwrap();
    stage.until("SELECT status FROM pgflow_messages WHERE kind = 'execution_metrics'", "parked").await;
    stage
        .until(
            "SELECT error_kind || ' ' || split_part(error, ':', 1) FROM pgflow_dlq",
            "unsupported_version unsupported_version",
        )
        .await;
    assert_eq!(stage.ask("SELECT max(retry_count) FROM pgflow_messages WHERE status = 'dead'").await, "0");
}
