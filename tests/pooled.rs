//! A runtime whose connection is no session (W10): a pooler stands between. The heartbeat is 30 s.

mod support;

use std::{path::PathBuf, time::Duration};

use pgflow::Config;
use support::{TestDb, cluster, connect, eventually, probe::*, query_text};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream, tcp::OwnedWriteHalf, unix::OwnedReadHalf},
};

const SOON: Duration = Duration::from_secs(20);

/// What a pooler in transaction mode does to a listener: notifications do not come through. Answers its port.
async fn pooler() -> u16 {
    let url: tokio_postgres::Config = cluster().url().parse().unwrap();
    let tokio_postgres::config::Host::Unix(folder) = &url.get_hosts()[0] else { panic!("tests use a socket") };
    let port = url.get_ports().first().copied().unwrap_or(5432);
    let socket: PathBuf = folder.join(format!(".s.PGSQL.{port}"));
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = front.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = front.accept().await {
            let server = UnixStream::connect(&socket).await.unwrap();
            let ((mut from_client, to_client), (from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(without_notifications(from_server, to_client));
        }
    });
    at
}

/// Passes the server's frames on, all but `NotificationResponse`.
async fn without_notifications(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    loop {
        let (kind, length) = (from.read_u8().await?, from.read_u32().await?);
        let mut body = vec![0; length as usize - 4];
        from.read_exact(&mut body).await?;
        if kind != b'A' {
            to.write_u8(kind).await?;
            to.write_u32(length).await?;
            to.write_all(&body).await?;
        }
    }
}

async fn pooled(db: &TestDb, instance: &str) -> Config {
    let url = format!("postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable", pooler().await, db.name());
    config(&url, instance)
}

/// Fear: behind a pooler a runtime sleeps on what it cannot hear, or leaves locks on connections that are not its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_without_a_session_polls_and_locks_nothing() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let mut settings = pooled(&db, "a").await;
    settings.heartbeat_ms = 200;
    let a = probing(settings, 2, &seen).await;
    assert!(a.is_polling() && a.is_listening());
    let listener = a.tree().await.children.into_iter().find(|node| node.id == "listener").unwrap();
    assert!(listener.note.is_some_and(|note| note.contains("no session")), "the tree says so");
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    for n in 0..5 {
        publisher.publish(&Probe::new(n)).await.unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
    }
    // It does the leader's work, since nobody else leads.
    publisher.send(Probe::new(9).out().delay(Duration::from_millis(300))).await.unwrap();
    eventually(SOON, || async { seen.started(9).is_some() }).await;
    let client = db.client().await;
    let locks =
        "SELECT l.mode FROM pg_locks l JOIN pgflow_meta m ON l.classid::int8 = m.space WHERE l.locktype = 'advisory'
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(query_text(&client, locks).await, [""; 0], "no lock outlives its statement");
    let doctor = pgflow::Admin::connect(&config(&db.url(), "operator")).await.unwrap().doctor().await.unwrap();
    assert!(doctor.iter().any(|f| f.detail.contains("no session")), "the doctor says so: {doctor:?}");
    a.stop(SOON).await.unwrap();
}

/// Fear: an instance without a liveness lock is taken for dead while it works, or is never rescued.
#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_without_a_session_is_rescued_by_its_lease_alone() {
    let db = TestDb::new().await;
    let (pooled_seen, seen) = (Seen::new(), Seen::new());
    let mut settings = pooled(&db, "a").await;
    (settings.heartbeat_ms, settings.lease_ms) = (100, 10_000);
    let a = probing(settings, 1, &pooled_seen).await;
    a.publisher().send(Probe::act(1, Act::Wait).out()).await.unwrap();
    eventually(SOON, || async { pooled_seen.started(1).is_some() }).await;
    let mut quick = config(&db.url(), "b");
    (quick.heartbeat_ms, quick.lease_ms, quick.rescue_grace_ms) = (100, 10_000, 0);
    let b = probing(quick, 1, &seen).await;
    eventually(SOON, || async { b.is_leader() }).await;
    // Long enough for a rescue by lock, had it one.
    let client = connect(&db.url()).await;
    let beats = "SELECT 1 FROM pgflow_instances WHERE name = 'a' AND ended_at IS NULL AND heartbeat_at > started_at + interval '4 s'";
    eventually(SOON, || async { client.query_opt(beats, &[]).await.unwrap().is_some() }).await;
    assert!(seen.started(1).is_none(), "taken from one that lives");
    drop(a);
    eventually(Duration::from_secs(30), || async { seen.started(1).is_some() }).await;
    seen.open();
    b.stop(SOON).await.unwrap();
}

/// Fear: a runtime that has a direct way past the pooler polls all the same; one that leads elsewhere is used.
#[tokio::test(flavor = "multi_thread")]
async fn a_listen_url_leads_past_the_pooler() {
    let (db, elsewhere) = (TestDb::new().await, TestDb::new().await);
    let seen = Seen::new();
    let a = probing(pooled(&db, "a").await.listen_url(db.url()), 2, &seen).await;
    assert!(!a.is_polling());
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    for n in 0..5 {
        publisher.publish(&Probe::new(n)).await.unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
    }
    assert_eq!(a.found_by_heartbeat(), 0);
    a.stop(SOON).await.unwrap();
    let strays = pooled(&db, "b").await.listen_url(elsewhere.url());
    let started = pgflow::Runtime::builder(strays).handler(move || Prober(seen.clone())).start().await;
    let refused = started.err().expect("it listens to another database").to_string();
    assert!(refused.contains("listen_url"), "{refused}");
}
