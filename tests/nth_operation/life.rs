//! One life: a database, and all that pgflow does with messages, from the making of a queue to the last stop. One of its operations
//! may fail. Three runtimes come one after the other: `a` stops with a message in hand, `b` is killed with one, `c` takes it over.

use std::{path::PathBuf, sync::Arc, time::Duration};

use pgflow::{Admin, Config, Publisher, Queue, Runtime, admin::Mode};
use tokio_postgres::Client;

use super::{
    actor::{Act, Actor, QUEUE, Seen, task},
    fault::Plan,
    legal,
    statements::Statements,
    user::{Producer, SOON, until_done},
    wire::Net,
};
use crate::support::{TestDb, cluster, eventually, query_text};

/// A fresh message is handled within this, whatever has failed before.
const FRESH: Duration = Duration::from_secs(10);
/// What a handler gets to end at a stop: a hanging one never does.
const GRACE: Duration = Duration::from_millis(100);
/// What a stop may take after its grace.
const STOP: Duration = Duration::from_secs(25);

/// What an error of a start names.
const STARTING: [&str; 8] =
    ["start", "schema \"public\"", "partitions", "create queue", "read the queues", "register", "listener", "probe"];

pub(crate) struct Life {
    pub(crate) db: TestDb,
    pub(crate) net: Net,
    /// Past the network that fails.
    pub(crate) sql: Client,
    pub(crate) seen: Arc<Seen>,
    pub(crate) spool: PathBuf,
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.spool);
    }
}

impl Life {
    pub(crate) async fn begin(plan: Plan) -> Self {
        let db = TestDb::new().await;
        let sql = db.client().await;
        sql.batch_execute("CREATE TABLE fx (n bigint)").await.expect("a table of effects");
        // A first place so high that the low-water mark is worth a move.
        query_text(&sql, "SELECT max(nextval('pgflow_seq')) FROM generate_series(1, 2000)").await;
        let space = query_text(&sql, "SELECT space FROM pgflow_meta").await[0].parse().expect("a number");
        let url: tokio_postgres::Config = cluster().url().parse().expect("a URL");
        let tokio_postgres::config::Host::Unix(folder) = &url.get_hosts()[0] else { panic!("tests use a socket") };
        let socket = folder.join(format!(".s.PGSQL.{}", url.get_ports().first().copied().unwrap_or(5432)));
        let net = Net::to(socket, Arc::new(Statements::of_public(space)), plan).await;
        let spool = std::env::temp_dir().join(format!("pgflow-nth-{}-{}", std::process::id(), db.name()));
        Self { db, net, sql, seen: Arc::default(), spool }
    }

    pub(super) fn config(&self, instance: &str) -> Config {
        let url = format!("postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable", self.net.port, self.db.name());
        let mut config = Config::new(url).instance(instance);
        (config.heartbeat_ms, config.rescue_grace_ms, config.lease_ms) = (200, 0, 10_000);
        (config.unknown_grace_ms, config.handler_connections, config.control_connections) = (300, 2, 3);
        config
    }

    async fn start(&self, config: Config) -> Runtime {
        until_done(&STARTING, async || {
            let seen = self.seen.clone();
            let queue = Queue::new(QUEUE)
                .workers(2)
                .max_retries(3)
                .retry_delay(Duration::from_millis(20), Duration::from_millis(80));
            Runtime::builder(config.clone()).queue(queue).handler(move || Actor(seen.clone())).start().await
        })
        .await
    }

    /// Until a row says so.
    pub(crate) async fn fact(&self, sql: &str) {
        let told = tokio::time::timeout(SOON, async {
            while query_text(&self.sql, sql).await != ["t"] {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(told.await.is_ok(), "never true: {sql}\n{}", legal::dump(&self.sql).await);
    }

    /// Until the message has this status.
    pub(super) async fn becomes(&self, n: i64, status: &str) {
        self.fact(&format!(
            "SELECT coalesce(bool_and(status = '{status}'), false) FROM pgflow_messages WHERE (payload->>'n')::int = {n}"
        ))
        .await;
    }

    /// Until the statements were sent; once the fault has come, others may stand in their place.
    pub(super) async fn sent(&self, operations: &[&str]) {
        let limit = tokio::time::Instant::now() + SOON;
        for operation in operations {
            while self.net.plan.count(operation) == 0 && !self.net.plan.met() {
                assert!(tokio::time::Instant::now() < limit, "{operation} was never sent");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    pub(super) async fn id(&self, n: i64) -> i64 {
        let sql = format!("SELECT id FROM pgflow_messages WHERE (payload->>'n')::int = {n}");
        query_text(&self.sql, &sql).await[0].parse().expect("a number")
    }

    /// The life, to its legal end.
    pub(crate) async fn live(&self) {
        let admin = Admin::connect(&self.config("operator")).await.expect("good settings");
        let publisher = Publisher::connect(&self.config("producer")).await.expect("good settings");
        let producer = Producer { admin: &admin, sql: &self.sql };
        until_done(&["set mode"], async || admin.set_mode(Mode::Eventcount).await).await;
        for queue in [QUEUE, "side"] {
            until_done(&["create queue", "notify the runtimes"], async || admin.create_queue(Queue::new(queue)).await)
                .await;
        }
        let mut own = self.db.client().await;
        let open = own.transaction().await.expect("a transaction");
        publisher.send_in(&open, task(43, Act::Plain)).await.expect("past the network that fails");

        let a = self.start(self.config("a").spool_dir(&self.spool)).await;
        self.held_open(open, &publisher, &producer).await;
        self.every_way_in(&publisher, &producer).await;
        self.every_way_out(&admin).await;
        self.lost_answers(&admin, &publisher, &producer).await;
        self.spooled(a.publisher(), &producer).await;
        // An orphan, found because its claim failed: a new connection of the listener's would have it looked for, too.
        self.becomes(34, "done").await;
        self.deaf_listener(&publisher, &producer).await;
        self.looks(&admin).await;
        let upkeep = ["orphans", "save_tree", "measure", "sample", "set_alerts", "retention", "drop_partitions"];
        self.sent(&upkeep).await;
        self.sent(&["first_places", "hand_over"]).await;
        producer.publish(&publisher, task(60, Act::HangOnce)).await;
        eventually(SOON, || async { self.seen.has_started(60) }).await;
        self.stop(a).await;

        let b = self.start(self.config("b")).await;
        self.becomes(60, "done").await;
        producer.publish(&publisher, task(61, Act::HangOnce)).await;
        eventually(SOON, || async { self.seen.has_started(61) }).await;
        drop(b);

        let c = self.start(self.config("c")).await;
        self.becomes(61, "done").await;
        self.sent(&["rescue", "end_instance", "stranded", "take_back_readdressed"]).await;
        legal::at_rest(self).await;
        producer.publish(&publisher, task(99, Act::Effect)).await;
        let fresh = tokio::time::timeout(FRESH, self.becomes(99, "done"));
        assert!(fresh.await.is_ok(), "a fresh message is not handled:\n{}", legal::dump(&self.sql).await);
        self.stop(c).await;
        drop((admin, publisher));
        legal::in_the_end(self).await;
    }

    /// In time, whatever it has to say.
    async fn stop(&self, runtime: Runtime) {
        let stopped = tokio::time::timeout(GRACE + STOP, runtime.stop(GRACE)).await.expect("a stop has a limit");
        if let Err(e) = stopped {
            assert!(self.net.plan.met(), "a stop failed without a fault: {e}");
        }
    }
}
