//! F17: the schema of a newer pgflow comes while instances of this one run.

use std::time::Duration;

use tokio_postgres::{Client, error::SqlState};

use super::cell::Cell;
use crate::support::{eventually, query_text};

const SOON: Duration = Duration::from_secs(60);

/// What a later migration may do to a schema in use: add a column to every table, and replace every function.
const TABLES: &str = "SELECT format('ALTER TABLE %s ADD COLUMN of_a_newer_one int', oid::regclass) FROM pg_class
    WHERE relname LIKE 'pgflow\\_%' AND relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
      AND NOT relispartition ORDER BY relname";
const FUNCTIONS: &str = "SELECT pg_get_functiondef(oid) FROM pg_proc
    WHERE proname LIKE 'pgflow\\_%' AND pronamespace = current_schema()::regnamespace AND prokind = 'f' ORDER BY proname";
const RECORDED: &str = "INSERT INTO pgflow_migrations (version, name, checksum)
    SELECT max(version) + 1, 'of a newer one', 'unknown here' FROM pgflow_migrations";

/// Fear: a statement that was prepared before a column came fails for good after it; or a program of before writes on as if nothing were,
/// when it is started anew on a schema that it does not know.
#[tokio::test(flavor = "multi_thread")]
async fn f17_a_newer_schema_under_running_instances() {
    let Some(mut cell) = Cell::shared("F17", "a newer schema comes while instances of before run").await else {
        return;
    };
    let sql = cell.client().await;
    cell.start(3).await;
    for change in
        [query_text(&sql, TABLES).await, query_text(&sql, FUNCTIONS).await, vec![RECORDED.to_owned()]].concat()
    {
        cell.note("migrated", change.split(['(', '\n']).next());
        apply(&sql, &change).await;
    }
    while cell.loading() {
        cell.pause(500).await;
        cell.snapshot().await;
    }
    let told = pgflow::migrate::check(&sql, "public").await.expect_err("it is newer").to_string();
    assert!(told.contains("upgrade this program"), "{told}");
    cell.finish().await;
}

/// As a migration under load must: behind a long transaction it would make everybody wait, so it waits in short turns.
async fn apply(sql: &Client, change: &str) {
    sql.batch_execute("SET lock_timeout = '100 ms'").await.expect("a limit");
    eventually(SOON, || async {
        match sql.batch_execute(change).await {
            Ok(()) => true,
            Err(e)
                if [Some(&SqlState::LOCK_NOT_AVAILABLE), Some(&SqlState::T_R_DEADLOCK_DETECTED)]
                    .contains(&e.code()) =>
            {
                false
            }
            Err(e) => panic!("{change}: {e:?}"),
        }
    })
    .await;
}
