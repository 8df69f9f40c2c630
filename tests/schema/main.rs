//! `sql/schema.sql` is what the migrations make: for whoever wants to read the tables without playing the migrations in his head.

#![cfg(all(feature = "devpg", unix))]

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use support::{TestDb, query_text};

const HEADER: &str = "\
-- What the migrations make, for reading. Nothing runs this file, and nobody edits it: `PGFLOW_BLESS=1 cargo test --test schema`
-- writes it anew from the catalogs of a migrated database. Schema public; {space} stands for its number (src/migrate.rs).
-- Left out: the day partitions of pgflow_history and pgflow_attempts, and the one row of pgflow_meta.
";

async fn described() -> String {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("SET search_path = pg_catalog").await.unwrap();
    let space = query_text(&client, "SELECT space FROM public.pgflow_meta").await.pop().expect("one row");
    let mut text = HEADER.to_owned();
    for object in query_text(&client, include_str!("describe.sql")).await {
        let object = object.replace(&space, "{space}").replace("\"public\".", "public.");
        text.push_str(&format!("\n{object}\n"));
    }
    text
}

/// Fear: a migration changes what nobody who reads the schema sees.
#[tokio::test]
async fn the_schema_file_is_what_the_migrations_make() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/schema.sql");
    let made = described().await;
    if std::env::var_os("PGFLOW_BLESS").is_some() {
        std::fs::write(&path, &made).expect("written");
    }
    let kept = std::fs::read_to_string(&path).expect("sql/schema.sql");
    let differs = made.lines().zip(kept.lines()).enumerate().find(|(_, (made, kept))| made != kept);
    if let Some((at, (made, kept))) = differs {
        panic!(
            "sql/schema.sql, line {}: it says\n  {kept}\nand the migrations make\n  {made}\nPGFLOW_BLESS=1 writes it anew",
            at + 1
        );
    }
    assert_eq!(made.lines().count(), kept.lines().count(), "sql/schema.sql: PGFLOW_BLESS=1 writes it anew");
}
