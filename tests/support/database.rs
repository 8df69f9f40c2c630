//! One database per test, copied from a template that is migrated once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::OnceCell;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::cluster;

/// Among advisory locks of the database `postgres`, where nobody else takes any.
const TEMPLATE_LOCK: i64 = 1;
/// Other tests copy the same template all the time; only a session inside it stands in the way, and not for long.
const COPY_TRIES_MAX: u32 = 500;
const COPY_PAUSE: Duration = Duration::from_millis(20);

/// A database with pgflow's tables in `public`. Dropped in the end, whoever is still connected.
pub struct TestDb {
    name: String,
}

impl TestDb {
    /// A fresh copy of the migrated template.
    pub async fn new() -> Self {
        Self::copy_of(&template().await).await
    }

    /// A database without pgflow's tables.
    pub async fn empty() -> Self {
        Self::copy_of("template0").await
    }

    /// For tokio-postgres, psql and `Config` alike.
    pub fn url(&self) -> String {
        cluster().url_for(&self.name)
    }

    /// Its name, as in `pg_stat_activity`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of the test's own.
    pub async fn client(&self) -> Client {
        connect(&self.url()).await
    }

    async fn copy_of(template: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // The time, since a later process of the same run may get the same pid.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").subsec_nanos();
        let name = format!("t_{}_{now}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&cluster().url()).await;
        for _ in 0..COPY_TRIES_MAX {
            match admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await {
                Ok(()) => return Self { name },
                Err(e) if e.code() == Some(&SqlState::OBJECT_IN_USE) => tokio::time::sleep(COPY_PAUSE).await,
                Err(e) => panic!("copy {template}: {e:?}"),
            }
        }
        panic!("somebody stays connected to {template}");
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A thread, since the test's runtime may be the one that is being dropped.
        let drop = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                // After a failed test the server may be gone, and the database with it.
                if let Ok((client, connection)) = tokio_postgres::connect(&cluster().url(), NoTls).await {
                    tokio::spawn(connection);
                    let _ = client.batch_execute(&sql).await;
                }
            });
        };
        let _ = std::thread::spawn(drop).join();
    }
}

/// The name of the template, made at its first use in the run. Its name is that of the schema's text.
async fn template() -> String {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    TEMPLATE.get_or_init(make_template).await.clone()
}

async fn make_template() -> String {
    let text = pgflow::migrate::dry_run("public").expect("a good schema name");
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let name = format!("pgflow_template_{hash:016x}");
    let admin = connect(&cluster().url()).await;
    admin.batch_execute(&format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await.expect("the lock");
    let exists = admin.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name]).await.expect("an answer");
    if exists.is_none() {
        // Renamed when it is whole: a template that a killed process left behind is never used.
        let draft = format!("{name}_draft");
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await.expect("no old draft");
        admin.batch_execute(&format!("CREATE DATABASE {draft} TEMPLATE template0")).await.expect("a draft");
        migrated(&cluster().url_for(&draft)).await;
        let rename = format!("ALTER DATABASE {draft} RENAME TO {name}");
        for _ in 0..COPY_TRIES_MAX {
            match admin.batch_execute(&rename).await {
                Ok(()) => break,
                // The server has not noticed yet that our connection is gone.
                Err(e) if e.code() == Some(&SqlState::OBJECT_IN_USE) => tokio::time::sleep(COPY_PAUSE).await,
                Err(e) => panic!("rename {draft}: {e:?}"),
            }
        }
    }
    // The lock goes with the session.
    name
}

/// Puts pgflow's tables into the schema `public` of a database.
pub async fn migrated(url: &str) {
    let mut client = connect(url).await;
    pgflow::migrate::migrate(&mut client, "public").await.unwrap_or_else(|error| panic!("{error}"));
}

/// A plain connection, driven by the test's runtime.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap_or_else(|e| panic!("{url}: {e:?}"));
    tokio::spawn(async move {
        // A test that stops the server learns of it from its client.
        let _ = connection.await;
    });
    client
}

/// The first column of every row as text: short to write and to compare.
pub async fn query_text(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let text = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
        _ => None,
    };
    messages.into_iter().filter_map(text).collect()
}
