//! `pgflow bench`, small: that it runs, says its floor, and leaves nothing behind. Its figures are for people.

use crate::program::{keys, run};
use crate::support::{TestDb, query_text};

/// Each measurement, small, with the unit and the name of each of its figures: others plot them by these.
const MEASURES: &[(&str, Figures)] = &[
    (
        "latency --messages 5 --gaps 5ms --rate 100 --publishers 2",
        &[(
            TIME,
            &[
                "publish_to_start_nudged_gap_5ms",
                "publish_to_start_foreign_gap_5ms",
                "return_to_start_nudged_gap_5ms",
                "return_to_start_foreign_gap_5ms",
                "scheduled_to_start_at_100_per_s",
                "scheduled_to_start_at_100_per_s_to_idle",
            ],
        )],
    ),
    (
        "throughput --messages 200 --workers 4 --runtimes 2 --queues 1,3 --bytes 4096",
        &[(
            RATE,
            &[
                "drain",
                "drain_runtimes_2",
                "drain_queues_1",
                "drain_queues_3",
                "drain_bytes_4096",
                "drain_exactly_once",
                "drain_exactly_once_in_turn",
            ],
        )],
    ),
    (
        "publish --connections 2 --turn 50ms",
        &[
            (RATE, &["publish_saturated", "publish_draining", "publish_many", "end_to_end_to_alone"]),
            (AMOUNT, &["end_to_end_left_messages"]),
        ],
    ),
    (
        "priority --messages 5 --pending 100 --publishers 2",
        &[(TIME, &["high_at_rest", "high_under_load", "high_under_load_to_rest"])],
    ),
    (
        "depth --depths 150,300 --messages 100 --workers 4",
        &[(RATE, &["drain_of_150", "drain_of_300", "drain_of_300_to_150"])],
    ),
    (
        "pinned --churn 100 --messages 100 --workers 4",
        &[
            (RATE, &["drain_clean", "drain_pinned", "drain_pinned_to_clean"]),
            (TIME, &["publish_to_start_pinned_to_clean", "first_start_pinned_to_clean"]),
        ],
    ),
    (
        "idle --queues 2 --time 50ms --pending 100",
        &[(AMOUNT, &["idle_statements_per_s", "idle_cpu_percent", "rss_mib", "rss_pending_mib"])],
    ),
    (
        "herd --instances 3 --messages 5 --gap 1ms",
        &[(AMOUNT, &["herd_wakes_per_message", "herd_scans_per_message"]), (TIME, &["herd_publish_to_start"])],
    ),
    (
        "soak --time 300ms --rate 200 --workers 4",
        &[
            (RATE, &["soak_handled_per_s"]),
            (
                AMOUNT,
                &[
                    "soak_left_messages",
                    "soak_rss_mib",
                    "soak_handles",
                    "soak_threads",
                    "soak_connections",
                    "soak_locks",
                    "soak_tables_mib",
                    "soak_dead_rows",
                    "soak_history_bytes_per_message",
                ],
            ),
        ],
    ),
    ("wal --messages 200 --workers 4", &[(AMOUNT, &["wal_bytes_per_message", "commits_per_message"])]),
];

type Figures = &'static [(Unit, &'static [&'static str])];
type Unit = &'static [&'static str];
const TIME: Unit = &["p50_us", "p99_us"];
const RATE: Unit = &["per_s"];
const AMOUNT: Unit = &["amount"];

/// Fear: a bench nobody ran for a month does not run, prints a figure without its floor, or leaves its tables behind.
#[tokio::test(flavor = "multi_thread")]
async fn each_bench_prints_figures_beside_their_floor() {
    // All at once, each on a database of its own: most of their time they wait.
    futures_util::future::join_all(MEASURES.iter().map(async |(measure, expected)| {
        let db = TestDb::empty().await;
        let url = db.url();
        let checked = tokio::task::spawn_blocking(move || check(&url, measure, expected)).await;
        checked.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgflow%'";
        assert_eq!(query_text(&db.client().await, left).await, ["0"], "{measure}");
    }))
    .await;
}

fn check(url: &str, measure: &str, expected: Figures) {
    let name = measure.split(' ').next().expect("a name");
    let picture = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.svg"));
    // Each look at an idle instance takes 14 s.
    let rounds = if name == "idle" { 1 } else { 2 };
    let line = format!("bench {measure} --rounds {rounds} --json --plot {}", picture.display());
    let figures = run(url, &line.split(' ').collect::<Vec<_>>()).json();
    let drawn = std::fs::read_to_string(&picture).expect("the picture is written");
    let expected: Vec<_> = expected.iter().flat_map(|(unit, names)| names.iter().map(|n| (*n, *unit))).collect();
    let figures = figures.as_array().expect("an array");
    assert_eq!(figures.len(), expected.len(), "{measure}");
    for (figure, (name, unit)) in figures.iter().zip(expected) {
        assert_eq!(figure["name"], name);
        assert!(drawn.contains(name), "{drawn}");
        assert_eq!(keys(figure), ["floor", "name", "pgflow", "ratio", "rounds"]);
        assert!(figure["ratio"].is_number(), "{figure}");
        let each = figure["rounds"].as_array().expect("an array");
        assert_eq!(each.len(), rounds);
        for round in each.iter().chain([figure]) {
            assert_eq!((keys(&round["floor"]), keys(&round["pgflow"])), (unit.to_vec(), unit.to_vec()), "{name}");
        }
    }
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

/// Fear: figures of two units stand in one table, whose columns are empty for half of them.
#[tokio::test(flavor = "multi_thread")]
async fn each_unit_has_a_table_of_its_own() {
    let db = TestDb::empty().await;
    let shown = run(&db.url(), &["bench", "herd", "--instances", "2", "--messages", "2", "--rounds", "1"]).ok();
    let head = |line: &&str| line.starts_with("name ");
    let heads: Vec<Vec<&str>> = shown.lines().filter(head).map(|line| line.split_whitespace().collect()).collect();
    let time = ["name", "p50_us", "floor_p50_us", "ratio", "p99_us", "floor_p99_us", "p99_ratio"];
    assert_eq!(heads, [&["name", "amount", "floor_amount", "ratio"][..], &time[..]], "{shown}");
}

/// Fear: a figure that nobody wrote down: what it counts, and what stands beside it.
#[test]
fn every_figure_is_in_the_operators_page() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let page = std::fs::read_to_string(page).expect("the page");
    for name in MEASURES.iter().flat_map(|(_, figures)| *figures).flat_map(|(_, names)| *names) {
        let mut numbered = String::new();
        for c in name.chars().map(|c| if c.is_ascii_digit() { 'N' } else { c }) {
            if c != 'N' || !numbered.ends_with('N') {
                numbered.push(c);
            }
        }
        assert!(page.contains(&format!("`{numbered}`")), "{numbered}");
    }
}

/// Fear: an hour of measuring ends in an error about a file, and the figures are gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_cannot_be_written_costs_no_figures() {
    // Said before anything is measured: there is no database.
    let nowhere = "postgresql://u@127.0.0.1:1/db";
    let line = run(nowhere, &["bench", "herd", "--plot", "/there/is/no/such/folder/x.svg"]).fault(1);
    assert!(line.contains("write /there/is/no/such/folder/x.svg"), "{line}");
    // A disk that is full in the end.
    let db = TestDb::empty().await;
    let quick = ["bench", "herd", "--instances", "2", "--messages", "2", "--rounds", "1", "--json"];
    let ran = run(&db.url(), &[&quick[..], &["--plot", "/dev/full"]].concat());
    assert!(ran.code == Some(1) && ran.stderr.contains("write /dev/full"), "{ran:?}");
    assert!(ran.stdout.contains("herd_wakes_per_message"), "{ran:?}");
}
