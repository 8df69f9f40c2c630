//! A crash of the server forgets a claim, whose commit had not waited for the disk.

mod support;

use std::{sync::Arc, time::Duration};

use pgflow::{Context, Failure, Handler, Queue, Runtime, devpg::DevPg};
use support::{connect, eventually, own_cluster, probe::*, query_text};
use tokio::sync::watch;
use tokio_postgres::Client;

const SOON: Duration = Duration::from_secs(60);
/// Whether nothing else brings a claim to the disk before the crash is the machine's affair: so many tries.
const ROUNDS_MAX: i64 = 20;

/// Runs that end in the order in which they started, when they may; those of numbers below 0 at once, uncounted.
struct Turns {
    started: watch::Sender<Vec<(i64, u32)>>,
    ended: watch::Sender<usize>,
    /// So many.
    may_end: watch::Sender<usize>,
}

impl Turns {
    fn starts_of(&self, n: i64) -> usize {
        self.started.borrow().iter().filter(|(m, _)| *m == n).count()
    }

    fn started(&self) -> Vec<(i64, u32)> {
        self.started.borrow().clone()
    }

    fn let_end(&self, turns: usize) {
        self.may_end.send_replace(turns);
    }
}

struct Turn(Arc<Turns>);

impl Handler for Turn {
    type Message = Probe;

    async fn handle(&mut self, m: Probe, cx: &mut Context<'_>) -> Result<(), Failure> {
        if m.act == Act::Effect {
            cx.transaction().await?.execute("INSERT INTO fx (n) VALUES ($1)", &[&m.n]).await?;
        }
        if m.act == Act::Done && m.n < 0 {
            return Ok(());
        }
        let mut turn = 0;
        self.0.started.send_modify(|started| {
            started.push((m.n, cx.attempt()));
            turn = started.len();
        });
        let mut may_end = self.0.may_end.subscribe();
        may_end.wait_for(|turns| *turns >= turn).await?;
        self.0.ended.send_modify(|ended| *ended += 1);
        Ok(())
    }
}

/// A server that crashes, and an instance that lives on.
struct Scene {
    server: DevPg,
    client: Client,
    turns: Arc<Turns>,
    runtime: Runtime,
}

impl Scene {
    async fn new() -> Self {
        let server = own_cluster(true).await;
        let client = connect(&server.url()).await;
        client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
        let turns = Arc::new(Turns {
            started: watch::channel(Vec::new()).0,
            ended: watch::channel(0).0,
            may_end: watch::channel(0).0,
        });
        let handler = turns.clone();
        let runtime = Runtime::builder(config(&server.url(), "a"))
            .queue(Queue::new("probe").workers(8))
            .handler(move || Turn(handler.clone()))
            .start()
            .await
            .unwrap();
        Self { server, client, turns, runtime }
    }

    /// From now on, until the crash, only those that wait for the disk bring anything to it.
    async fn hold_the_log(&self) {
        self.signal_walwriter("-STOP").await;
    }

    /// Ends every process of the server but the first. What was in their memory alone is lost.
    async fn crash(&mut self) {
        self.signal_walwriter("-KILL").await;
        eventually(SOON, || async { self.client.is_closed() }).await;
        let url = self.server.url();
        self.client = eventually(SOON, || async { pgflow::connect(&url, "test").await.ok() }).await;
    }

    async fn signal_walwriter(&self, signal: &str) {
        let pid = query_text(&self.client, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'").await;
        assert!(std::process::Command::new("kill").args([signal, &pid[0]]).status().unwrap().success());
    }

    /// In one transaction, so that no claim of the one is older than the publish of the other.
    async fn publish(&self, probes: &[Probe]) {
        eventually(SOON, || async { self.runtime.publisher().publish_many(probes).await.is_ok() }).await;
    }

    /// Of the claims that the server knows of.
    async fn tokens(&self) -> Vec<String> {
        query_text(&self.client, "SELECT token FROM pgflow_active ORDER BY id").await
    }

    /// Lets all end, and waits until all is done: each once, no try of any charged.
    async fn whole(&self) {
        self.turns.let_end(usize::MAX);
        let left = "SELECT count(*) FROM pgflow_messages WHERE status <> 'done'";
        eventually(SOON, || async { query_text(&self.client, left).await == ["0"] }).await;
        let twice = "SELECT id FROM pgflow_history GROUP BY id HAVING count(*) > 1";
        assert!(query_text(&self.client, twice).await.is_empty());
        assert!(query_text(&self.client, "SELECT event FROM pgflow_attempts").await.is_empty());
        assert!(self.turns.started().iter().all(|(_, attempt)| *attempt == 1), "a forgotten try is none");
    }
}

/// Fear: a crash of the server forgets a claim, and the first run settles though a second one is at the message; or its effects are
/// there beside the second's.
#[tokio::test(flavor = "multi_thread")]
async fn the_run_of_a_forgotten_claim_cannot_settle() {
    for round in 1.. {
        assert!(round <= ROUNDS_MAX, "no claim was ever forgotten");
        let mut scene = Scene::new().await;
        scene.hold_the_log().await;
        scene.publish(&[Probe::new(1), Probe::act(2, Act::Effect)]).await;
        eventually(SOON, || async { scene.turns.started().len() == 2 }).await;
        let first = scene.tokens().await;
        assert_eq!(first.len(), 2);
        scene.crash().await;
        if scene.tokens().await.iter().any(|token| first.contains(token)) {
            continue;
        }
        // Ready again: each is begun a second time, beside the first run.
        eventually(SOON, || async { scene.turns.started().len() == 4 }).await;
        assert_eq!([scene.turns.starts_of(1), scene.turns.starts_of(2)], [2, 2]);
        let second = scene.tokens().await;
        scene.turns.let_end(2);
        eventually(SOON, || async { *scene.turns.ended.borrow() == 2 }).await;
        // Outcomes that come later have been written, so theirs have been, too.
        for n in [-1, -2] {
            scene.publish(&[Probe::new(n)]).await;
            let done = format!("SELECT status FROM pgflow_messages WHERE payload ->> 'n' = '{n}'");
            eventually(SOON, || async { query_text(&scene.client, &done).await == ["done"] }).await;
        }
        assert_eq!(scene.tokens().await, second, "not the first run's to settle");
        scene.whole().await;
        assert_eq!(query_text(&scene.client, "SELECT n FROM fx").await, ["2"]);
        assert_eq!(scene.turns.started().len(), 4);
        scene.runtime.stop(SOON).await.unwrap();
        break;
    }
}

/// Fear: a crash of the server forgets the claim of a message with an ordering key, and two of one key run at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_forgets_no_claim_of_a_key() {
    let mut scene = Scene::new().await;
    scene.hold_the_log().await;
    let keyed = |n: i64| Probe { n, act: Act::Effect, key: Some("k".into()) };
    scene.publish(&[keyed(1), keyed(2)]).await;
    eventually(SOON, || async { scene.turns.starts_of(1) == 1 }).await;
    let first = scene.tokens().await;
    scene.crash().await;
    assert_eq!(scene.tokens().await, first);
    // Claimed after it, were it there to be claimed.
    scene.publish(&[Probe::new(3)]).await;
    eventually(SOON, || async { scene.turns.starts_of(3) >= 1 }).await;
    assert_eq!(scene.turns.starts_of(1), 1, "a second run beside the first");
    assert_eq!(scene.turns.starts_of(2), 0, "overtaken");
    // Its transaction is gone with the server's memory: the run has failed, and is tried again before the next of its key begins.
    scene.turns.let_end(usize::MAX);
    let left = "SELECT count(*) FROM pgflow_messages WHERE status <> 'done'";
    eventually(SOON, || async { query_text(&scene.client, left).await == ["0"] }).await;
    let started = scene.turns.started();
    let keyed: Vec<_> = started.into_iter().filter(|(n, _)| *n < 3).collect();
    assert_eq!(keyed, [(1, 1), (1, 2), (2, 1)]);
    assert_eq!(query_text(&scene.client, "SELECT n FROM fx ORDER BY n").await, ["1", "2"]);
    scene.runtime.stop(SOON).await.unwrap();
}
