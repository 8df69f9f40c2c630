//! Migrations against a real server, with lists of their own.

use super::*;
use crate::devpg::DevPg;

const ONE: Migration = Migration { version: 1, name: "one", sql: "CREATE TABLE {schema}.one (n int);\n" };
const TWO: Migration = Migration {
    version: 2,
    name: "it's two",
    sql: "CREATE FUNCTION {schema}.two() RETURNS int LANGUAGE sql RETURN {space};\nCOMMENT ON TABLE {schema}.one IS 'x';",
};
const BROKEN: Migration = Migration { version: 2, name: "broken", sql: "CREATE TABLE {schema}.two (); SELECT 1 / 0" };

fn server() -> DevPg {
    DevPg::builder().durable(false).start().expect("a server")
}

async fn client(server: &DevPg) -> Client {
    crate::connect::connect(&server.url(), "t").await.expect("a connection")
}

fn versions(applied: &[Applied]) -> Vec<i32> {
    applied.iter().map(|one| one.version).collect()
}

#[tokio::test]
async fn they_are_applied_once_and_in_order() {
    let server = server();
    let mut client = client(&server).await;
    assert_eq!(versions(&migrate_with(&mut client, "public", &[ONE]).await.unwrap()), [1]);
    assert_eq!(versions(&migrate_with(&mut client, "public", &[ONE, TWO]).await.unwrap()), [2]);
    assert_eq!(versions(&migrate_with(&mut client, "public", &[ONE, TWO]).await.unwrap()), [0; 0]);
    check_with(&client, "public", &[ONE, TWO]).await.unwrap();
    let row = client.query_one("SELECT two(), name FROM pgflow_migrations WHERE version = 2", &[]).await.unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (space("public"), "it's two"));
}

#[tokio::test]
async fn many_at_once_apply_each_once() {
    let server = server();
    let strict = "ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'";
    client(&server).await.batch_execute(strict).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..8 {
        let mut client = client(&server).await;
        all.push(tokio::spawn(async move { migrate_with(&mut client, "together", &[ONE, TWO]).await }));
    }
    let mut seen = Vec::new();
    for one in all {
        seen.extend(versions(&one.await.unwrap().unwrap()));
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2]);
}

#[tokio::test]
async fn a_failed_one_leaves_no_trace() {
    let server = server();
    let mut client = client(&server).await;
    let error = migrate_with(&mut client, "public", &[ONE, BROKEN]).await.unwrap_err();
    assert!(error.to_string().contains("migration 2 (broken)"), "{error}");
    let row = client.query_one("SELECT to_regclass('one') IS NULL, to_regclass('two') IS NULL", &[]).await.unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, bool>(1)), (false, true));
    assert_eq!(versions(&migrate_with(&mut client, "public", &[ONE, TWO]).await.unwrap()), [2]);
}

#[tokio::test]
async fn every_wrong_state_is_named() {
    let server = server();
    let mut client = client(&server).await;
    let text = |result: Result<()>| result.unwrap_err().to_string();
    assert!(text(check_with(&client, "s", &[ONE]).await).contains("run `pgflow init --schema s`"));
    migrate_with(&mut client, "s", &[ONE]).await.unwrap();
    assert!(
        text(check_with(&client, "s", &[ONE, TWO]).await)
            .contains("migration 2 is not applied: run `pgflow init --schema s`")
    );
    assert!(text(check_with(&client, "s", &[]).await).contains("newer pgflow"));
    let changed = Migration { sql: "SELECT 1", ..ONE };
    assert!(text(check_with(&client, "s", &[changed]).await).contains("another wording"));
    assert!(migrate_with(&mut client, "s", &[changed]).await.unwrap_err().to_string().contains("another wording"));
    assert!(migrate_with(&mut client, "s", &[]).await.unwrap_err().to_string().contains("newer pgflow"));
    assert!(migrate_with(&mut client, "S", &[]).await.unwrap_err().is_config());
}

#[tokio::test]
async fn the_dry_run_has_the_same_effect() {
    let server = server();
    let mut client = client(&server).await;
    for schema in ["public", "select"] {
        client.batch_execute(&dry_run_with(schema, &[ONE, TWO]).unwrap()).await.unwrap();
        check_with(&client, schema, &[ONE, TWO]).await.unwrap();
        assert_eq!(versions(&migrate_with(&mut client, schema, &[ONE, TWO]).await.unwrap()), [0; 0]);
    }
}

#[tokio::test]
async fn an_account_that_may_not_create_can_check_and_repeat() {
    let server = server();
    let mut client = client(&server).await;
    migrate_with(&mut client, "ours", &[ONE]).await.unwrap();
    let grants = "CREATE ROLE app; GRANT USAGE ON SCHEMA ours TO app; GRANT SELECT ON ours.pgflow_migrations TO app";
    client.batch_execute(&format!("{grants}; SET ROLE app")).await.unwrap();
    check_with(&client, "ours", &[ONE]).await.unwrap();
    assert_eq!(versions(&migrate_with(&mut client, "ours", &[ONE]).await.unwrap()), [0; 0]);
}

#[test]
fn rendering_quotes_the_schema() {
    assert_eq!(render("{schema}.t {space}", "order"), format!("\"order\".t {}", space("order")));
    assert_ne!(space("a"), space("b"));
    assert!(space("public") > 0);
}

#[tokio::test]
async fn ours_make_a_schema_that_passes_its_check() {
    let server = server();
    let mut client = client(&server).await;
    for schema in ["public", "second"] {
        assert_eq!(migrate(&mut client, schema).await.unwrap().len(), MIGRATIONS.len());
        check(&client, schema).await.unwrap();
    }
    client.batch_execute(&dry_run("third").unwrap()).await.unwrap();
    check(&client, "third").await.unwrap();
}

#[test]
fn ours_are_numbered_from_one() {
    for (at, migration) in MIGRATIONS.iter().enumerate() {
        assert_eq!(usize::try_from(migration.version), Ok(at + 1), "{}", migration.name);
    }
}
