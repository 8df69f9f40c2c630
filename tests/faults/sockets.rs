//! What an instance does about its connections, without a cell around it.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::proxy::Proxy;
use crate::support::{
    TestDb, cluster, eventually,
    probe::{Act, Probe, Seen, config, probing},
    query_text,
};

const SOON: Duration = Duration::from_secs(20);

async fn proxied(db: &TestDb) -> (Proxy, String) {
    let proxy = Proxy::to(cluster().root().join(".s.PGSQL.5432")).await;
    let url = format!("postgresql://postgres@{}/{}?sslmode=disable", proxy.address, db.name());
    (proxy, url)
}

/// Fear: a peer that vanished without a word is noticed after two hours, the kernel's default.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn every_socket_of_ours_is_probed_when_idle() {
    let db = TestDb::new().await;
    let (proxy, url) = proxied(&db).await;
    let seen = Seen::new();
    let runtime = probing(config(&url, "a"), 2, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::Done)).await.unwrap();
    eventually(SOON, || async { seen.count() == 1 }).await;
    let port = format!("0100007F:{:04X}", proxy.address.port());
    // Established (01), timer 2: the next keepalive probe, in hundredths of a second, within the five seconds that we ask for.
    let timers = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let fields = table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let ours = fields.filter(|f| f.len() > 5 && f[2] == port && f[3] == "01");
        ours.map(|f| f[5].clone()).collect::<Vec<String>>()
    };
    let probed = |timer: &String| {
        timer.strip_prefix("02:").and_then(|when| u64::from_str_radix(when, 16).ok()).is_some_and(|when| when <= 510)
    };
    // A connection that has just sent something has another timer for a moment.
    eventually(SOON, || async { timers().len() >= 3 && timers().iter().all(probed) }).await;
    runtime.stop(SOON).await.unwrap();
}

/// Fear: an instance that lost its listener says for seconds that it listens, and its health check passes.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_listener_is_said_at_once_and_until_it_is_back() {
    let db = TestDb::new().await;
    let (proxy, url) = proxied(&db).await;
    let runtime = probing(config(&url, "a"), 2, &Seen::new()).await;
    assert!(runtime.is_listening());
    let client = db.client().await;
    proxy.weather.refuses.store(true, Relaxed);
    query_text(&client, "SELECT pg_terminate_backend(listener_pid) FROM pgflow_instances").await;
    let ended = Instant::now();
    eventually(SOON, || async { !runtime.is_listening() }).await;
    // The machine has much else to do; what is feared takes a heartbeat, 30 s here.
    assert!(ended.elapsed() < Duration::from_secs(2), "said after {:?}", ended.elapsed());
    let tree = runtime.tree().await;
    assert!(format!("{tree:?}").contains("not connected"), "{tree:?}");
    proxy.weather.refuses.store(false, Relaxed);
    eventually(SOON, || async { runtime.is_listening() }).await;
    runtime.stop(SOON).await.unwrap();
}
