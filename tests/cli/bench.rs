//! `pgflow bench`, small: that it runs, says its floor, and leaves nothing behind. Its figures are for people.

use crate::program::{keys, run};
use crate::support::{TestDb, query_text};

/// Fear: a bench nobody ran for a month does not run, prints a figure without its floor, or leaves its tables behind.
#[tokio::test(flavor = "multi_thread")]
async fn each_bench_prints_figures_beside_their_floor() {
    let db = TestDb::empty().await;
    for arguments in [
        &["bench", "latency", "--messages", "5", "--gaps", "5ms", "--rounds", "2", "--json"][..],
        &["bench", "publish", "--connections", "2", "--turn", "50ms", "--rounds", "2", "--json"],
        &["bench", "throughput", "--messages", "200", "--workers", "4", "--rounds", "2", "--json"],
    ] {
        let figures = run(&db.url(), arguments).json();
        let unit: &[&str] = if arguments[1] == "latency" { &["p50_us", "p99_us"] } else { &["per_s"] };
        for figure in figures.as_array().expect("an array") {
            assert_eq!(keys(figure), ["floor", "name", "pgflow", "ratio", "rounds"]);
            assert!(figure["ratio"].is_number(), "{figure}");
            let rounds = figure["rounds"].as_array().expect("an array");
            assert_eq!(rounds.len(), 2);
            for round in rounds.iter().chain([figure]) {
                assert_eq!((keys(&round["floor"]), keys(&round["pgflow"])), (unit.to_vec(), unit.to_vec()));
            }
        }
    }
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgflow%'";
    assert_eq!(query_text(&db.client().await, left).await, ["0"]);
}

/// Fear: a bench drops a schema of the user's that happens to bear its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_bench_drops_only_what_it_made() {
    let db = TestDb::empty().await;
    db.client().await.batch_execute("CREATE SCHEMA pgflow_bench").await.unwrap();
    let refused = run(&db.url(), &["bench", "throughput", "--messages", "1"]);
    assert_eq!(refused.code, Some(1));
    let left = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'pgflow%'";
    assert_eq!(query_text(&db.client().await, left).await, ["pgflow_bench"]);
}
