//! Brings a schema to what this binary expects: numbered migrations, each in a transaction of its own, under a lock.
//!
//! All our SQL is written with two placeholders, which `render` fills in: `{schema}`, the quoted name of the schema,
//! and `{space}`, the first key of every advisory lock and a part of every channel's name, so that two schemas in one
//! database do not disturb each other.

use tokio_postgres::{Client, IsolationLevel, Transaction};

pub use crate::config::SCHEMA_DEFAULT;
use crate::{
    config::validate_schema,
    error::{Error, Result},
};

/// The lock's key, "pgflow" in bytes, above the schema's space. It is one of the 64-bit keys, which Postgres keeps apart from
/// the pairs of 32-bit keys that the wake-up protocol uses.
const LOCK_KEY: i64 = 0x7067_666c_0000_0000;

/// One step of the schema's history. Never edited once released: a correction is a new one.
#[derive(Debug, Clone, Copy)]
struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

/// All of them, in order, numbered from 1.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "tables", sql: include_str!("../sql/migrations/0001_tables.sql") },
    Migration { version: 2, name: "functions", sql: include_str!("../sql/migrations/0002_functions.sql") },
    Migration { version: 3, name: "admin", sql: include_str!("../sql/migrations/0003_admin.sql") },
    Migration { version: 4, name: "alerts", sql: include_str!("../sql/migrations/0004_alerts.sql") },
];

/// A migration that has just been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number, from 1.
    pub version: i32,
    /// What it is about.
    pub name: String,
}

/// Creates the schema if it is missing, and applies what it lacks: nothing, if it is up to date. Any number of
/// processes may call it at once.
///
/// Not cancel safe in the sense that a cut call may have applied some of them; calling it again continues.
///
/// # Errors
/// If the schema's name is bad, a statement fails, a recorded migration differs from ours, or the schema has
/// migrations that this binary does not know. The failed migration leaves no trace, those before it stay.
pub async fn migrate(client: &mut Client, schema: &str) -> Result<Vec<Applied>> {
    migrate_with(client, schema, MIGRATIONS).await
}

/// The SQL of all migrations as one script, for a DBA who reads before running it: `psql -f` of it on an empty schema has the
/// effect of [`migrate`].
///
/// # Errors
/// If the schema's name is bad.
pub fn dry_run(schema: &str) -> Result<String> {
    dry_run_with(schema, MIGRATIONS)
}

/// Whether the schema is exactly what this binary expects.
///
/// # Errors
/// Tells what to do: `pgflow init` if the schema is missing or older, a newer pgflow if it is newer.
pub async fn check(client: &Client, schema: &str) -> Result<()> {
    check_with(client, schema, MIGRATIONS).await
}

/// The command line that makes or updates the tables of this schema, as errors name it.
pub fn init_command(schema: &str) -> String {
    if schema == SCHEMA_DEFAULT { "pgflow init".to_owned() } else { format!("pgflow init --schema {schema}") }
}

/// Fills the placeholders in. The schema's name has been validated where it came in (see `validate_schema`).
pub(crate) fn render(sql: &str, schema: &str) -> String {
    // Quoted, since a valid name may be a reserved word.
    sql.replace("{schema}", &format!("\"{}\"", schema.replace('"', "\"\"")))
        .replace("{space}", &space(schema).to_string())
}

/// The schema's own number: positive, 31 bits, never 0.
pub(crate) fn space(schema: &str) -> i32 {
    let hash = fnv1a(schema.as_bytes());
    let folded = ((hash >> 32) ^ hash) & 0x7fff_ffff;
    i32::try_from(folded.max(1)).unwrap_or(i32::MAX)
}

async fn migrate_with(client: &mut Client, schema: &str, migrations: &[Migration]) -> Result<Vec<Applied>> {
    validate_schema(schema)?;
    let phase = format!("prepare schema \"{schema}\"");
    let failed = |e| Error::database(&phase, e);
    let tx = begin(client).await.map_err(failed)?;
    lock(&tx, schema).await.map_err(failed)?;
    tx.batch_execute(&missing_parts(&tx, schema).await.map_err(failed)?).await.map_err(failed)?;
    let recorded = recorded(tx.client(), schema).await?.unwrap_or_default();
    tx.commit().await.map_err(failed)?;
    compare(schema, migrations, &recorded)?;

    let mut applied = Vec::new();
    for migration in migrations {
        if apply(client, schema, migration).await? {
            applied.push(Applied { version: migration.version, name: migration.name.to_owned() });
        }
    }
    Ok(applied)
}

/// False if somebody had applied it.
async fn apply(client: &mut Client, schema: &str, migration: &Migration) -> Result<bool> {
    let phase = format!("migration {} ({}) of schema \"{schema}\"", migration.version, migration.name);
    let failed = |e| Error::database(&phase, e);
    let tx = begin(client).await.map_err(failed)?;
    // A transaction's lock: it also works behind a pooler, and ends with us.
    lock(&tx, schema).await.map_err(failed)?;
    let sql = render("SELECT FROM {schema}.pgflow_migrations WHERE version = $1", schema);
    if tx.query_opt(&sql, &[&migration.version]).await.map_err(failed)?.is_some() {
        return Ok(false);
    }
    tx.batch_execute(&render(migration.sql, schema)).await.map_err(failed)?;
    tx.batch_execute(&record(schema, migration)).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    Ok(true)
}

async fn check_with(client: &Client, schema: &str, migrations: &[Migration]) -> Result<()> {
    validate_schema(schema)?;
    let state = |why: String| Err(Error::state(format!("check schema \"{schema}\""), why));
    let Some(recorded) = recorded(client, schema).await? else {
        return state(format!("pgflow's tables are not there: run `{}`", init_command(schema)));
    };
    compare(schema, migrations, &recorded)?;
    match migrations.iter().find(|m| !recorded.iter().any(|r| r.version == m.version)) {
        Some(missing) => state(format!("migration {} is not applied: run `{}`", missing.version, init_command(schema))),
        None => Ok(()),
    }
}

fn dry_run_with(schema: &str, migrations: &[Migration]) -> Result<String> {
    validate_schema(schema)?;
    let mut script = String::new();
    if schema != SCHEMA_DEFAULT {
        script.push_str(&render(CREATE_SCHEMA, schema));
    }
    script.push_str(&render(CREATE_TABLE, schema));
    for migration in migrations {
        let (version, name) = (migration.version, migration.name);
        let (sql, record) = (render(migration.sql, schema), record(schema, migration));
        script.push_str(&format!("\n-- Migration {version}: {name}\nBEGIN;\n{}\n{record}COMMIT;\n", sql.trim_end()));
    }
    Ok(script)
}

const CREATE_SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS {schema};\n";
const CREATE_TABLE: &str = "\
CREATE TABLE IF NOT EXISTS {schema}.pgflow_migrations (
    version    int PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
";

/// What is not there yet. Postgres demands the right to create even of an IF NOT EXISTS that then creates nothing, and the
/// account that runs `init` a second time may lack it.
async fn missing_parts(tx: &Transaction<'_>, schema: &str) -> Result<String, tokio_postgres::Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
    let mut missing = String::new();
    if !tx.query_one(sql, &[&schema]).await?.get::<_, bool>(0) {
        missing.push_str(&render(CREATE_SCHEMA, schema));
    }
    if !has_table(tx.client(), schema).await? {
        missing.push_str(&render(CREATE_TABLE, schema));
    }
    Ok(missing)
}

async fn has_table(client: &Client, schema: &str) -> Result<bool, tokio_postgres::Error> {
    let table = render("{schema}.pgflow_migrations", schema);
    let row = client.query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&table]).await?;
    Ok(row.get(0))
}

/// Read committed, whatever the database's default: what we look for after the wait for the lock must be what is there then.
async fn begin(client: &mut Client) -> Result<Transaction<'_>, tokio_postgres::Error> {
    client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await
}

async fn lock(tx: &Transaction<'_>, schema: &str) -> Result<(), tokio_postgres::Error> {
    let key = LOCK_KEY | i64::from(space(schema));
    tx.batch_execute(&format!("SELECT pg_catalog.pg_advisory_xact_lock({key})")).await
}

/// A row of `pgflow_migrations`.
struct Recorded {
    version: i32,
    checksum: String,
}

async fn recorded(client: &Client, schema: &str) -> Result<Option<Vec<Recorded>>> {
    let failed = |e| Error::database(format!("read the migrations of schema \"{schema}\""), e);
    if !has_table(client, schema).await.map_err(failed)? {
        return Ok(None);
    }
    let sql = render("SELECT version, checksum FROM {schema}.pgflow_migrations ORDER BY version", schema);
    let rows = client.query(&sql, &[]).await.map_err(failed)?;
    Ok(Some(rows.iter().map(|row| Recorded { version: row.get(0), checksum: row.get(1) }).collect()))
}

/// What is recorded must be ours, unchanged.
fn compare(schema: &str, migrations: &[Migration], recorded: &[Recorded]) -> Result<()> {
    for row in recorded {
        let version = row.version;
        let why = match migrations.iter().find(|m| m.version == version) {
            None => format!("migration {version} comes from a newer pgflow: upgrade this program"),
            Some(ours) if checksum(ours) != row.checksum => {
                format!("migration {version} ({}) was applied in another wording than this program's", ours.name)
            }
            Some(_) => continue,
        };
        return Err(Error::state(format!("check schema \"{schema}\""), why));
    }
    Ok(())
}

fn record(schema: &str, migration: &Migration) -> String {
    let values =
        format!("({}, '{}', '{}')", migration.version, migration.name.replace('\'', "''"), checksum(migration));
    render("INSERT INTO {schema}.pgflow_migrations (version, name, checksum) VALUES ", schema) + &values + ";\n"
}

/// Of the text before rendering: the same in every schema, and whatever line ends the checkout has.
fn checksum(migration: &Migration) -> String {
    format!("{:016x}", fnv1a(migration.sql.replace('\r', "").as_bytes()))
}

/// Finds accidents, not attacks: 64 bits are enough.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(all(test, feature = "devpg", unix))]
mod tests;
