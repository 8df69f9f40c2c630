//! Publishers that stay open for long (W6), against a real server. The heartbeat is 30 s: a lost wake is a time-out.

mod support;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pgflow::{Admin, Priority, Publisher, Queue, Runtime};
use support::{TestDb, connect, eventually, probe::*, query_text};
use tokio_postgres::{AsyncMessage, Client, NoTls};

const SOON: Duration = Duration::from_secs(20);

/// A runtime that queues for the key of a publisher which stays open, and what a test needs beside it.
struct Stage {
    db: TestDb,
    seen: Arc<Seen>,
    runtime: Runtime,
    publisher: Publisher,
    open: Client,
    admin: Client,
}

impl Stage {
    /// The open publisher has put message 1, silently: nobody was asleep then.
    async fn new() -> Self {
        let db = TestDb::new().await;
        let seen = Seen::new();
        let admin = db.client().await;
        Admin::connect(&config(&db.url(), "admin")).await.unwrap().create_queue(Queue::new("probe")).await.unwrap();
        let open = connect(&db.url()).await;
        open.batch_execute("BEGIN").await.unwrap();
        put(&open, 1).await;
        let runtime = probing(config(&db.url(), "a"), 2, &seen).await;
        let publisher = Publisher::connect(&config(&db.url(), "p")).await.unwrap();
        let stage = Self { db, seen, runtime, publisher, open, admin };
        stage.queued(0).await;
        stage
    }

    /// The backend that waits in the lock queue, once it is another than this one.
    async fn queued(&self, not: i32) -> i32 {
        eventually(SOON, || async { backend(&self.admin).await.filter(|pid| *pid != not) }).await
    }

    /// A second runtime, refused by the turn's place in the queue, and asleep.
    async fn follower(&self, seen: &Arc<Seen>) -> Runtime {
        let follower = probing(config(&self.db.url(), "b"), 2, seen).await;
        let sql = "SELECT 1 FROM pg_stat_activity a JOIN pgflow_instances i ON i.listener_pid = a.pid
                   WHERE i.name = 'b' AND a.state = 'idle' AND a.query LIKE '%pg_try_advisory_lock_shared%' AND a.query NOT LIKE '%heartbeat%'";
        eventually(SOON, || async { self.admin.query_opt(sql, &[]).await.unwrap().is_some() }).await;
        follower
    }

    async fn starts(&self, n: i64) {
        eventually(SOON, || async { self.seen.started(n).is_some() }).await;
    }

    async fn handles(&self, numbers: std::ops::Range<i64>) {
        for n in numbers {
            self.publisher.publish(&Probe::new(n)).await.unwrap();
            self.starts(n).await;
        }
    }

    async fn end(self) {
        assert_eq!(self.runtime.found_by_heartbeat(), 0, "a wake was lost");
        self.runtime.stop(SOON).await.unwrap();
    }
}

async fn put(client: &Client, n: i64) {
    let sql = format!(r#"SELECT pgflow_publish('probe', '{{"n":{n},"act":"Done","key":null}}', 'probe')"#);
    client.batch_execute(&sql).await.unwrap();
}

/// The backend beside the listener's that waits for a wake key.
async fn backend(admin: &Client) -> Option<i32> {
    let sql = "SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pgflow_meta m ON l.classid::int8 = m.space
               WHERE l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND NOT l.granted AND l.objid < 1024
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND a.pid NOT IN (SELECT listener_pid FROM pgflow_instances WHERE listener_pid IS NOT NULL)";
    admin.query_opt(sql, &[]).await.unwrap().map(|row| row.get(0))
}

/// Counts the notifications on the wake key of normal messages.
async fn notifications(db: &TestDb, admin: &Client) -> Arc<AtomicUsize> {
    let channel = "SELECT 'pgflow_' || space || '_' || lane_id % 1024 FROM pgflow_meta, pgflow_lanes WHERE class = 0 AND target IS NULL";
    let channel = query_text(admin, channel).await.pop().unwrap();
    let (client, mut connection) = tokio_postgres::connect(&db.url(), NoTls).await.unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    tokio::spawn({
        let heard = heard.clone();
        async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                heard.fetch_add(usize::from(matches!(message, AsyncMessage::Notification(_))), Ordering::SeqCst);
            }
        }
    });
    client.batch_execute(&format!("LISTEN \"{channel}\"")).await.unwrap();
    tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(client);
    });
    heard
}

/// Fear: behind a publisher that stays open all others are silent, and polled for; or the open one's message is missed.
#[tokio::test(flavor = "multi_thread")]
async fn behind_an_open_publisher_others_wake_us() {
    let stage = Stage::new().await;
    let heard = notifications(&stage.db, &stage.admin).await;
    let before = heard.load(Ordering::SeqCst);
    stage.handles(10..30).await;
    // A turn that gives up meanwhile leaves a gap, through which one may slip.
    eventually(SOON, || async { heard.load(Ordering::SeqCst) >= before + 19 }).await;
    assert!(stage.seen.started(1).is_none(), "not committed, and handled");
    stage.open.batch_execute("COMMIT").await.unwrap();
    stage.starts(1).await;
    // The turn was granted and is over: the listener is sentinel now.
    stage.handles(30..50).await;
    stage.end().await;
}

/// Fear: a turn that gives up leaves those asleep whom it had refused, or is the last one.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_gives_up_is_followed_by_another() {
    let stage = Stage::new().await;
    let other = Seen::new();
    let follower = stage.follower(&other).await;
    let first = stage.queued(0).await;
    let second = stage.queued(first).await;
    assert_ne!(first, second);
    // From now on the follower alone has workers, and nobody waits for another turn.
    for n in 2..5 {
        stage.publisher.send(Probe::act(n, Act::Wait).out().target("a").priority(Priority::High)).await.unwrap();
        stage.starts(n).await;
    }
    eventually(SOON, || async { backend(&stage.admin).await.is_none() }).await;
    for n in 10..20 {
        stage.publisher.publish(&Probe::new(n)).await.unwrap();
        eventually(SOON, || async { other.started(n).is_some() }).await;
    }
    stage.open.batch_execute("COMMIT").await.unwrap();
    eventually(SOON, || async { other.started(1).is_some() }).await;
    assert_eq!(follower.found_by_heartbeat(), 0, "a wake was lost");
    stage.seen.open();
    follower.stop(SOON).await.unwrap();
    stage.end().await;
}

/// Fear: the connection of a turn is cut, and the key that it waited for is slept upon.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_whose_backend_is_ended_loses_no_wake() {
    let stage = Stage::new().await;
    let end = async |pid: i32| drop(stage.admin.query_one("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap());
    let waits = stage.queued(0).await;
    end(waits).await;
    stage.handles(10..15).await;
    stage.queued(waits).await;
    stage.open.batch_execute("COMMIT").await.unwrap();
    stage.starts(1).await;
    stage.handles(20..25).await;
    stage.end().await;
}

/// Fear: a runtime that stops while it queues leaves asleep those who took it for a sentinel.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_queueing_tells_the_followers() {
    let stage = Stage::new().await;
    let seen = Seen::new();
    let follower = stage.follower(&seen).await;
    let Stage { runtime, publisher, open, admin, .. } = stage;
    runtime.stop(SOON).await.unwrap();
    open.batch_execute("COMMIT").await.unwrap();
    eventually(SOON, || async { seen.started(1).is_some() }).await;
    for n in 10..15 {
        publisher.publish(&Probe::new(n)).await.unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
    }
    assert_eq!(follower.found_by_heartbeat(), 0, "a wake was lost");
    assert_eq!(backend(&admin).await, None, "a turn was left in the queue");
    follower.stop(SOON).await.unwrap();
}

/// Fear: where many publish, each for a moment, the key is silent all the time, and a turn has them all notify, one by one.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_queues_behind_many_short_publishers() {
    /// How long each stays open, and for how long there is always one: turns are judged after a second.
    const OPEN: Duration = Duration::from_millis(40);
    const BUSY: Duration = Duration::from_secs(3);
    let db = TestDb::new().await;
    let (seen, admin) = (Seen::new(), db.client().await);
    Admin::connect(&config(&db.url(), "admin")).await.unwrap().create_queue(Queue::new("probe")).await.unwrap();
    let publishers = [db.client().await, db.client().await];
    publishers[0].batch_execute("BEGIN").await.unwrap();
    put(&publishers[0], 0).await;
    let runtime = probing(config(&db.url(), "a"), 2, &seen).await;
    let heard = notifications(&db, &admin).await;
    let begun = tokio::time::Instant::now();
    let mut last = 0;
    while begun.elapsed() < BUSY {
        // The next one before this one ends: somebody is always silent.
        let (this, next) = (&publishers[last as usize % 2], &publishers[(last + 1) as usize % 2]);
        next.batch_execute("BEGIN").await.unwrap();
        put(next, last + 1).await;
        tokio::time::sleep(OPEN).await;
        this.batch_execute("COMMIT").await.unwrap();
        last += 1;
    }
    publishers[last as usize % 2].batch_execute("COMMIT").await.unwrap();
    for n in 0..=last {
        eventually(SOON, || async { seen.started(n).is_some() }).await;
    }
    assert_eq!(heard.load(Ordering::SeqCst), 0, "publishers were made to notify");
    assert_eq!(runtime.found_by_heartbeat(), 0, "a wake was lost");
    runtime.stop(SOON).await.unwrap();
}
