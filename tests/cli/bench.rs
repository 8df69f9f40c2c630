//! `pgflow bench`, small: that it runs, says its floor, and leaves nothing behind. Its figures are for people.

use crate::program::{keys, run};
use crate::support::{TestDb, query_text};

/// Fear: a bench nobody ran for a month does not run, prints a figure without its floor, or leaves its tables behind.
#[tokio::test(flavor = "multi_thread")]
async fn each_bench_prints_figures_beside_their_floor() {
    let db = TestDb::empty().await;
    let picture = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures.svg");
    for (measure, unit, names) in [
        ("latency --messages 5 --gaps 5ms --publishers 2", &["p50_us", "p99_us"][..], 6),
        ("publish --connections 2 --turn 50ms", &["per_s"], 3),
        ("throughput --messages 200 --workers 4 --runtimes 2 --queues 3 --bytes 300,4096", &["per_s"], 6),
        ("priority --messages 5 --pending 100 --publishers 2", &["p50_us", "p99_us"], 3),
        ("depth --depths 150,300 --messages 100 --workers 4", &["per_s"], 3),
        ("pinned --churn 100 --messages 100 --workers 4", &["per_s"], 3),
        ("idle --queues 2 --time 50ms --pending 100", &["amount"], 4),
        ("wal --messages 200 --workers 4", &["amount"], 2),
    ] {
        // Each look at an idle instance takes 14 s.
        let rounds = if measure.starts_with("idle") { 1 } else { 2 };
        let line = format!("bench {measure} --rounds {rounds} --json --plot {}", picture.display());
        let figures = run(&db.url(), &line.split(' ').collect::<Vec<_>>()).json();
        let drawn = std::fs::read_to_string(&picture).expect("the picture is written");
        let figures = figures.as_array().expect("an array");
        assert_eq!(figures.len(), names, "{measure}");
        for figure in figures {
            assert!(drawn.contains(figure["name"].as_str().expect("a name")), "{drawn}");
            assert_eq!(keys(figure), ["floor", "name", "pgflow", "ratio", "rounds"]);
            assert!(figure["ratio"].is_number(), "{figure}");
            let each = figure["rounds"].as_array().expect("an array");
            assert_eq!(each.len(), rounds);
            for round in each.iter().chain([figure]) {
                assert_eq!(
                    (keys(&round["floor"]), keys(&round["pgflow"])),
                    (unit.to_vec(), unit.to_vec()),
                    "{measure}"
                );
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
