//! A cell of the matrix: a server, instances and publishers under traffic; then calm, the drain, the verdict.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use pgflow::{Config, Outgoing, Priority, Publisher, devpg::DevPg};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio_postgres::Client;

use super::{
    check::Limits,
    dump::EFFECTS,
    history::{Event, Journal},
    process::{Process, Role, Spec},
    proxy::Proxy,
    report,
    traffic::{Act, FIFO, LOAD, Load, outcome},
};
use crate::support::{TestDb, cluster, connect, eventually, query_text};

const START: Duration = Duration::from_secs(60);

/// A task of its own for the uids of what is sent to one instance.
const TO_ONE: i64 = 700_000_000;

/// What the environment asks for.
pub struct Asked {
    pub seed: u64,
    pub seconds: f64,
    pub report: Option<PathBuf>,
}

/// None if another cell alone is asked for.
pub fn asked(cell: &str) -> Option<Asked> {
    let var = |name: &str| std::env::var(format!("PGFLOW_FAULTS_{name}")).ok().filter(|v| !v.is_empty());
    if let Some(only) = var("ONLY") {
        // F1 is not F10, and F7 is F7a as well.
        let rest = cell.strip_prefix(only.as_str())?;
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
    }
    let number = |name: &str| var(name).map(|v| v.parse().unwrap_or_else(|e| panic!("PGFLOW_FAULTS_{name}={v}: {e}")));
    // A name such as "F19 seed 2" is a seed that once found something: it stays.
    let kept = cell.split_once(" seed ").map(|(_, seed)| seed.to_owned());
    let seed = kept.or_else(|| var("SEED")).unwrap_or_else(|| "1".into());
    let seed: u64 = seed.parse().unwrap_or_else(|e| panic!("PGFLOW_FAULTS_SEED={seed}: {e}"));
    Some(Asked {
        seed: seed + ROUNDS.load(Ordering::Relaxed),
        seconds: number("SECONDS").unwrap_or(4.0),
        report: var("REPORT").map(PathBuf::from),
    })
}

/// The cell cannot run here: the table says why.
pub fn skip(asked: &Asked, cell: &str, fault: &str, why: &str) {
    println!("{cell} skipped: {why}");
    if let Some(path) = &asked.report {
        report::skip(path, cell, fault, asked.seed, cluster().major(), why);
    }
}

/// How many rounds of the swizzle there were: each has a seed of its own.
static ROUNDS: AtomicU64 = AtomicU64::new(0);

pub fn next_seed() {
    ROUNDS.fetch_add(1, Ordering::Relaxed);
}

/// A folder of the test's own.
pub fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("pgflow-faults-{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    dir
}

/// Where the cell's tables are.
pub enum Server {
    /// A database in the run's server, for faults that stay inside it.
    Shared(TestDb),
    /// A server of its own, which may be stopped.
    Own(Option<DevPg>),
    /// Several, which the cell's URL names.
    Named(String),
}

pub struct Cell {
    pub name: &'static str,
    pub fault: &'static str,
    pub asked: Asked,
    pub rng: StdRng,
    pub server: Server,
    pub limits: Limits,
    /// How the cell's processes reach the server: one proxy each, if the cell asked for them.
    pub proxies: Option<HashMap<String, Proxy>>,
    pub connections: usize,
    pub lease_ms: u64,
    pub workers: usize,
    /// Another way to the server than its own URL.
    pub url: Option<String>,
    pub dir: PathBuf,
    /// Where the publishers spool, if they do.
    pub spool: Option<PathBuf>,
    /// How many lines the spool has to tell of what the cell did to it.
    pub told: usize,
    pub journal: Journal,
    pub instances: Vec<Process>,
    publishers: Option<Process>,
    /// Who serves the queue in order.
    pub fifo: String,
    started: usize,
}

impl Cell {
    /// On a database of the run's server. None: not asked for.
    pub async fn shared(name: &'static str, fault: &'static str) -> Option<Self> {
        let asked = asked(name)?;
        Some(Self::on(name, fault, asked, Server::Shared(TestDb::new().await)).await)
    }

    /// On a server of its own.
    pub async fn own(
        name: &'static str,
        fault: &'static str,
        durable: bool,
        settings: &[(&str, &str)],
    ) -> Option<Self> {
        let asked = asked(name)?;
        let mut builder = DevPg::builder().durable(durable).setting("max_connections", "200");
        for (name, value) in settings {
            builder = builder.setting(*name, *value);
        }
        let started = tokio::task::spawn_blocking(move || builder.start()).await.expect("no panic");
        let server = started.unwrap_or_else(|e| panic!("{e}"));
        crate::support::migrated(&server.url()).await;
        Some(Self::on(name, fault, asked, Server::Own(Some(server))).await)
    }

    pub async fn on(name: &'static str, fault: &'static str, asked: Asked, server: Server) -> Self {
        let dir = folder(name);
        let plan = name.split(' ').next().unwrap_or(name);
        let mixed = plan.bytes().fold(asked.seed, |seed, byte| seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
        println!("{name} {fault}: seed {}, {} s, histories in {}", asked.seed, asked.seconds, dir.display());
        let cell = Self {
            name,
            fault,
            rng: StdRng::seed_from_u64(mixed),
            server,
            limits: Limits { high_ms: 1_500, wake_ms: 1_500, late_ms: 5_000 },
            proxies: None,
            connections: 6,
            lease_ms: 60_000,
            workers: 4,
            url: None,
            journal: Journal::open(&dir, "cell", 0),
            dir,
            spool: None,
            told: 0,
            asked,
            instances: Vec::new(),
            publishers: None,
            fifo: String::new(),
            started: 0,
        };
        cell.client().await.batch_execute(EFFECTS).await.expect("a table of effects");
        cell
    }

    /// The server's own URL, past every proxy.
    pub fn direct_url(&self) -> String {
        match (&self.url, &self.server) {
            (Some(url), _) => url.clone(),
            (None, Server::Shared(db)) => db.url(),
            (None, Server::Own(server)) => server.as_ref().expect("it is not being restarted").url(),
            (None, Server::Named(url)) => url.clone(),
        }
    }

    pub fn major(&self) -> u16 {
        match &self.server {
            Server::Own(Some(server)) => server.major(),
            _ => cluster().major(),
        }
    }

    pub async fn client(&self) -> Client {
        connect(&self.direct_url()).await
    }

    /// One more instance; the first of a cell also serves the queue in order.
    pub async fn start_instance(&mut self, fifo: bool, ahead_us: i64, preload: Option<(&Path, &str)>) {
        let name = format!("i{}", self.started);
        self.started += 1;
        if fifo {
            self.fifo.clone_from(&name);
        }
        let (workers, lease_ms, connections) = (self.workers, self.lease_ms, self.connections);
        let role = Role::Instance { workers, fifo, lease_ms, ahead_us, connections };
        let spec = Spec { url: self.url_of(&name).await, name, dir: self.dir.clone(), role };
        self.instances.push(Process::start(&spec, preload));
    }

    /// The way of the process of this name to the server.
    async fn url_of(&mut self, name: &str) -> String {
        let Some(proxies) = &mut self.proxies else { return self.direct_url() };
        let (socket, database) = match &self.server {
            Server::Shared(db) => (cluster().root().to_owned(), db.name().to_owned()),
            Server::Own(server) => (server.as_ref().expect("it runs").root().to_owned(), "postgres".into()),
            Server::Named(_) => unreachable!("a proxy leads to one server"),
        };
        if !proxies.contains_key(name) {
            proxies.insert(name.into(), Proxy::to(socket.join(".s.PGSQL.5432")).await);
        }
        format!("postgresql://postgres@{}/{database}?sslmode=disable", proxies[name].address)
    }

    /// Instances first, so that the queues exist; then the publishers.
    pub async fn start(&mut self, instances: usize) {
        for i in 0..instances {
            self.start_instance(i == 0, 0, None).await;
        }
        self.live(instances).await;
        self.publish().await;
    }

    pub async fn publish(&mut self) {
        self.publish_from(0).await;
    }

    /// With tasks from this number on: those of an earlier process were others.
    pub async fn publish_from(&mut self, first: u32) {
        let seed = self.rng.random();
        let spool = self.spool.clone();
        let role = Role::Publishers { seed, first, tasks: 6, seconds: self.asked.seconds, think_ms: 25, spool };
        let url = self.url_of("publishers").await;
        let spec = Spec { name: "publishers".into(), url, dir: self.dir.clone(), role };
        self.publishers = Some(Process::start(&spec, None));
    }

    /// kill -9 of all publishers.
    pub fn kill_publishers(&mut self) {
        self.note("kill", Some("publishers"));
        self.publishers.as_mut().expect("they were started").kill();
    }

    /// Until so many instances are live.
    pub async fn live(&self, n: usize) {
        let client = self.client().await;
        let sql = format!("SELECT count(*) >= {n} FROM pgflow_instances WHERE ended_at IS NULL");
        eventually(START, || async { query_text(&client, &sql).await == ["t"] }).await;
        let queues = format!("SELECT count(*)::text FROM pgflow_queues WHERE name IN ('{LOAD}', '{FIFO}')");
        eventually(START, || async { query_text(&client, &queues).await == ["2"] }).await;
    }

    /// Whether the publishers are still at it.
    pub fn loading(&mut self) -> bool {
        self.publishers.as_mut().is_some_and(|p| !p.has_ended())
    }

    /// Paces the faults: the load goes on meanwhile.
    pub async fn pause(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    pub fn note(&self, what: &str, on: Option<&str>) {
        self.journal.note(Event::Fault { what: what.into(), on: on.map(str::to_owned) });
    }

    /// kill -9 of one instance, and a new one in its place.
    pub async fn kill_one(&mut self) {
        let at = self.rng.random_range(0..self.instances.len());
        let mut victim = self.instances.remove(at);
        self.note("kill", Some(&victim.name));
        victim.kill();
        self.start_instance(self.fifo == victim.name, 0, None).await;
    }

    /// New instances for those that ended by themselves.
    pub async fn replace_dead(&mut self) {
        while let Some(at) = self.instances.iter_mut().position(Process::has_ended) {
            let gone = self.instances.remove(at);
            self.note("abort", Some(&gone.name));
            self.start_instance(self.fifo == gone.name, 0, None).await;
        }
    }

    /// A message beside the traffic.
    pub async fn send_load(&self, load: Load, priority: Priority) {
        let out = Outgoing::new(&load).expect("it encodes").priority(priority);
        self.send(load.uid, load.act, priority, out).await;
    }

    /// A message for one instance alone.
    pub async fn send_to(&self, instance: &str, n: i64) {
        let load = Load::new(TO_ONE + n, Act::Effect, 5);
        let out = Outgoing::new(&load).expect("it encodes").target(instance);
        self.send(load.uid, load.act, Priority::Normal, out).await;
    }

    async fn send(&self, uid: i64, act: Act, priority: Priority, out: Outgoing) {
        let invoke = Event::Invoke { uid, queue: LOAD.into(), priority: priority.class(), key: None, act, delay_ms: 0 };
        self.journal.durable(invoke).await;
        // A publisher of the moment: whatever befell the one before it.
        let config = Config::new(self.direct_url()).instance("cell");
        let publisher = Publisher::connect(&config).await.unwrap_or_else(|e| panic!("{e}"));
        self.journal.note(outcome(uid, publisher.send(out).await));
    }

    /// All messages in one statement.
    pub async fn snapshot(&self) {
        let Ok(client) = pgflow::connect(&self.direct_url(), "faults snapshot").await else { return };
        if let Ok(row) = client.query_one("SELECT count(*), count(DISTINCT id) FROM pgflow_messages", &[]).await {
            self.journal.note(Event::Snapshot { rows: row.get(0), ids: row.get(1) });
        }
    }
}

/// Runs a program of the server's, as the server's user.
pub fn run(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
