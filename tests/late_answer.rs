//! A claim is answered so late that its rows were handed back meanwhile.
#![cfg(all(feature = "devpg", unix))]

mod support;

use std::time::Duration;

use support::{TestDb, cluster, eventually, probe::*, query_text};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

const SOON: Duration = Duration::from_secs(60);
/// Only the message that is held has it in its body; so has only the answer to its claim.
const MARK: &str = "held-on-its-way";

/// A way to the server on which the first answer with the mark in it waits until it is let go.
struct Slow {
    port: u16,
    held: watch::Sender<bool>,
    let_go: watch::Sender<bool>,
}

impl Slow {
    async fn new() -> Self {
        let socket = cluster().root().join(".s.PGSQL.5432");
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = front.local_addr().unwrap().port();
        let (held, let_go) = (watch::channel(false).0, watch::channel(false).0);
        tokio::spawn({
            let (held, let_go) = (held.clone(), let_go.clone());
            async move {
                while let Ok((client, _)) = front.accept().await {
                    let server = UnixStream::connect(&socket).await.unwrap();
                    tokio::spawn(carry(client, server, held.clone(), let_go.clone()));
                }
            }
        });
        Self { port, held, let_go }
    }
}

async fn carry(client: TcpStream, server: UnixStream, held: watch::Sender<bool>, let_go: watch::Sender<bool>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut bytes = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from_server.read(&mut bytes).await {
        let marked = bytes[..n].windows(MARK.len()).any(|w| w == MARK.as_bytes());
        if marked && !held.send_replace(true) {
            let_go.subscribe().wait_for(|gone| *gone).await.unwrap();
        }
        if to_client.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

/// Fear: the orphan check hands back a claim whose answer is only slow; it runs elsewhere, the answer comes, and two of one key run at
/// once.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_after_its_rows_were_handed_back_starts_nothing() {
    let db = TestDb::new().await;
    let sql = db.client().await;
    let slow = Slow::new().await;
    let url = format!("postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable", slow.port, db.name());
    let (seen_a, seen_b) = (Seen::new(), Seen::new());
    let a = probing(config(&url, "a"), 2, &seen_a).await;
    let marked = Probe { n: 1, act: Act::Wait, key: Some(MARK.into()) };
    a.publisher().publish(&marked).await.unwrap();
    slow.held.subscribe().wait_for(|held| *held).await.unwrap();
    // From now on somebody else can take it; and its listener's new session raises the doubt.
    let b = probing(config(&db.url(), "b"), 2, &seen_b).await;
    query_text(&sql, "SELECT pg_terminate_backend(listener_pid) FROM pgflow_instances WHERE name = 'a'").await;
    eventually(SOON, || async { seen_a.running() + seen_b.running() == 1 }).await;
    slow.let_go.send_replace(true);
    // A later message is claimed and handled after that answer, on whichever instance.
    for n in 2..10 {
        a.publisher().publish(&Probe::new(n)).await.unwrap();
    }
    eventually(SOON, || async { query_text(&sql, "SELECT count(*) FROM pgflow_history").await == ["8"] }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(seen_a.running() + seen_b.running(), 1, "two of one key run at once");
    seen_a.open();
    seen_b.open();
    let done = "SELECT count(*) FROM pgflow_messages WHERE status = 'done'";
    eventually(SOON, || async { query_text(&sql, done).await == ["9"] }).await;
    a.stop(SOON).await.unwrap();
    b.stop(SOON).await.unwrap();
}
