//! What the other tests stand on is tested, too.
#![cfg(all(unix, feature = "devpg"))]

mod support;

use std::time::{Duration, Instant};

use support::{TestDb, cluster, connect, eventually, own_cluster, query_text};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_test_has_pgflows_tables_to_itself() {
    let (one, two) = (TestDb::new().await, TestDb::new().await);
    let (in_one, in_two) = (one.client().await, two.client().await);
    in_one.batch_execute("CREATE TABLE only_here ()").await.expect("a table");
    assert_eq!(query_text(&in_one, "SELECT to_regclass('pgflow_ready') IS NOT NULL").await, ["t"]);
    assert_eq!(query_text(&in_two, "SELECT to_regclass('only_here') IS NULL").await, ["t"]);
    pgflow::migrate::check(&in_one, "public").await.expect("up to date");
    let empty = TestDb::empty().await;
    assert!(pgflow::migrate::check(&empty.client().await, "public").await.is_err());
}

#[tokio::test]
async fn it_is_dropped_though_somebody_is_connected() {
    let db = TestDb::new().await;
    let (name, client) = (db.name().to_owned(), db.client().await);
    drop(db);
    let admin = connect(&cluster().url()).await;
    assert_eq!(query_text(&admin, &format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")).await, ["0"]);
    eventually(LIMIT, async || client.is_closed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_made_at_once() {
    let begun = Instant::now();
    let made: Vec<_> = (0..12).map(|_| tokio::spawn(TestDb::new())).collect();
    for one in made {
        one.await.expect("a database");
    }
    println!("12 databases in {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_fact_can_be_a_value() {
    let mut asked = 0;
    let value = eventually(LIMIT, || {
        asked += 1;
        std::future::ready((asked == 3).then_some("third"))
    });
    assert_eq!(value.await, "third");
}

#[tokio::test]
#[should_panic(expected = "not true within 20ms: the fact at tests/support_itself.rs")]
async fn a_fact_that_never_holds_names_its_line() {
    eventually(Duration::from_millis(20), async || false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_cluster_can_be_crashed() {
    let mut server = own_cluster(true).await;
    connect(&server.url()).await.batch_execute("CREATE TABLE kept ()").await.expect("a table");
    server.restart(pgflow::devpg::StopMode::Immediate).expect("back again");
    let client = connect(&server.url()).await;
    assert_eq!(query_text(&client, "SELECT to_regclass('kept') IS NOT NULL").await, ["t"]);
    assert_eq!(query_text(&client, "SHOW fsync").await, ["on"]);
}
