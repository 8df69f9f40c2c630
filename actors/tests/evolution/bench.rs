//! The bench as a command.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{TestDb, query_text};

/// Fear: who reads the figures by their names finds none, or a bench fills a database that is in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_bench_names_its_figures_and_fills_only_an_empty_database() {
    let db = TestDb::new().await;
    let url = db.url();
    let run = move || -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evolution"));
        command.env("PGFLOW_DATABASE_URL", &url).env_remove("RUST_LOG");
        command
            .args(["bench", "--json", "--proposals", "4", "--instances", "2", "--rounds", "1", "--connections", "2"])
            .output()
            .unwrap()
    };
    let (first, second) = tokio::task::spawn_blocking(move || (run(), run())).await.unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let report: Value = serde_json::from_slice(&first.stdout).unwrap();
    for (name, target_ms) in [
        ("submit", 100.0),
        ("scoring", 50.0),
        ("consensus_broadcast", 500.0),
        ("execution", 5000.0),
        ("guardian", 100.0),
    ] {
        let measured = &report["targets"][name];
        assert_eq!(measured["target_ms"], target_ms, "{name}");
        let of = |key: &str| measured[key].as_f64().unwrap_or_else(|| panic!("{name} has no {key}: {measured}"));
        assert!(of("p50_ms") <= of("p99_ms") && of("p99_ms") <= of("max_ms") && of("mean_ms") <= of("max_ms"));
        assert_eq!(measured["met"], of("mean_ms") < target_ms, "{name}");
    }
    for key in ["consensus_broadcast_from_claim", "guardian_from_claim"] {
        assert!(report["parts"][key]["p99_ms"].is_number(), "{key}");
    }
    assert!(report["submit_floor"]["mean_ms"].is_number() && report["submit_floor"]["ratio"].is_number());
    assert_eq!((&report["settings"]["proposals"], &report["settings"]["rounds"]), (&4.into(), &1.into()));
    assert!(report["machine"]["fsync"].is_string());
    let refused = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && refused.contains("give it an empty one"), "{refused}");
    let floor = "SELECT relname FROM pg_class WHERE relname LIKE 'bench%'";
    assert!(query_text(&db.client().await, floor).await.is_empty(), "what only the bench has use for is gone");
}
