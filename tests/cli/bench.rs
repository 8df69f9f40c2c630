//! `pgflow bench`, small: that it runs, says its floor, and leaves nothing behind. Its figures are for people.

use crate::program::{keys, run};
use crate::support::{TestDb, query_text};

/// Fear: a bench nobody ran for a month does not run, prints a figure without its floor, or leaves its tables behind.
#[tokio::test(flavor = "multi_thread")]
async fn each_bench_prints_figures_beside_their_floor() {
    let db = TestDb::empty().await;
    for arguments in [
        &["bench", "latency", "--messages", "5", "--json"][..],
        &["bench", "publish", "--connections", "2", "--round", "50ms", "--json"],
        &["bench", "throughput", "--messages", "200", "--workers", "4", "--json"],
    ] {
        let report = run(&db.url(), arguments).json();
        assert_eq!(keys(&report), ["bench", "build", "durable", "figures", "floor", "server", "setting"]);
        assert_eq!(report["bench"], arguments[1]);
        for figure in report["figures"].as_array().expect("an array") {
            assert_eq!(keys(figure), ["floor", "name", "ratio", "unit", "value"]);
            for key in ["floor", "value", "ratio"] {
                assert!(figure[key].as_f64().is_some_and(|x| x > 0.0), "{key}: {report}");
            }
        }
    }
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgflow%'";
    assert_eq!(query_text(&db.client().await, left).await, ["0"]);
}
