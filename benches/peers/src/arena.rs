//! The server, and in it a database for each system, made anew for every turn.

use std::{collections::HashSet, net::TcpListener, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use pgflow::devpg::{DevPg, StopMode};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::{peer::Peer, results::percentile, wait};

/// Of every database that is made, and dropped, here.
const PREFIX: &str = "pgflow_compare_";
/// Set as a database's comment: what lacks it is not ours to drop.
const MARK: &str = "made by the compare program of pgflow, may be dropped";
/// How long connections may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(20);
/// Commits of which the middle one counts.
const COMMITS: usize = 11;
/// The server's settings when it is started here; all else stays as Postgres has it, durable.
pub(crate) const SETTINGS: [(&str, &str); 3] =
    [("shared_buffers", "1GB"), ("max_wal_size", "4GB"), ("max_connections", "200")];

/// What the server had written, and committed in one database, at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) wal_bytes: i64,
    pub(crate) commits: i64,
}

pub(crate) struct Arena {
    server: Option<DevPg>,
    url: String,
    pub(crate) admin: Client,
    /// Systems whose tables stand in a database to be copied.
    ready: HashSet<&'static str>,
}

impl Arena {
    /// On the server of this address, or on one of its own.
    pub(crate) async fn open(url: Option<String>) -> Result<Self> {
        let (server, url) = match url {
            Some(url) => (None, url),
            None => {
                let (server, url) = tokio::task::spawn_blocking(start).await.context("start a server")??;
                (Some(server), url)
            }
        };
        let admin = connect(&url).await?;
        must_be_durable(&admin).await?;
        Ok(Self { server, url, admin, ready: HashSet::new() })
    }

    /// A new database with the system's tables, nothing else in it; its address.
    pub(crate) async fn fresh(&mut self, peer: &mut dyn Peer) -> Result<String> {
        let name = peer.about().name;
        let (base, database) = (format!("{PREFIX}{}_base", slug(name)), database(name));
        if !self.ready.contains(name) {
            self.create(&base, "template1").await?;
            peer.setup(&self.url_of(&base)?).await?;
            self.ready.insert(name);
        }
        self.gone(&base).await?;
        self.create(&database, &base).await?;
        // No checkpoint of what making it has written falls into the turn.
        self.checkpoint().await?;
        self.url_of(&database)
    }

    /// Drops the turn's database, so that no autovacuum of it takes part in the turns of others.
    pub(crate) async fn done(&self, peer: &dyn Peer) -> Result<()> {
        let database = database(peer.about().name);
        // Some say that they have ended before their connections have; cut off, they take it for a failure.
        let gone = self.gone(&database).await;
        self.drop_database(&database).await.and(gone)
    }

    async fn create(&self, database: &str, template: &str) -> Result<()> {
        self.drop_database(database).await?;
        let sql = format!("CREATE DATABASE {database} TEMPLATE {template}");
        self.admin.batch_execute(&sql).await.with_context(|| format!("create database {database}"))?;
        let sql = format!("COMMENT ON DATABASE {database} IS '{MARK}'");
        self.admin.batch_execute(&sql).await.with_context(|| format!("mark database {database}"))
    }

    async fn drop_database(&self, database: &str) -> Result<()> {
        let sql = "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = $1";
        match self.admin.query_opt(sql, &[&database]).await.context("look for a database")? {
            None => Ok(()),
            Some(row) if row.get::<_, String>(0) == MARK => {
                let sql = format!("DROP DATABASE {database} WITH (FORCE)");
                self.admin.batch_execute(&sql).await.with_context(|| format!("drop database {database}"))
            }
            Some(_) => bail!("database {database} exists and was not made here"),
        }
    }

    pub(crate) async fn checkpoint(&self) -> Result<()> {
        self.admin.batch_execute("CHECKPOINT").await.context("checkpoint")
    }

    /// Waits until nobody is connected to this database: what its connections counted is known only then.
    async fn gone(&self, database: &str) -> Result<()> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'";
        let begun = Instant::now();
        while self.admin.query_one(sql, &[&database]).await.context("count connections")?.get::<_, i64>(0) > 0 {
            if begun.elapsed() > GONE_LIMIT {
                bail!("connections to {database} are still open after {GONE_LIMIT:?}");
            }
            wait(20).await;
        }
        Ok(())
    }

    /// What was written so far, this system's connections gone.
    pub(crate) async fn written(&self, peer: &dyn Peer) -> Result<Written> {
        let database = database(peer.about().name);
        self.gone(&database).await?;
        let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, xact_commit FROM pg_stat_database WHERE datname = $1";
        let row = self.admin.query_one(sql, &[&database]).await.context("read the server's counters")?;
        Ok(Written { wal_bytes: row.get(0), commits: row.get(1) })
    }

    /// Microseconds of a small commit, the middle of a few: what the disk makes of everybody's figures at this moment.
    pub(crate) async fn commit_us(&self) -> Result<i64> {
        let mut samples = Vec::with_capacity(COMMITS);
        for _ in 0..COMMITS {
            let begun = Instant::now();
            let sql = "SELECT pg_logical_emit_message(true, 'compare', 'a commit')";
            self.admin.query_one(sql, &[]).await.context("commit")?;
            samples.push(i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX));
        }
        samples.sort_unstable();
        Ok(percentile(&samples, 50))
    }

    /// Drops what was made, and stops the server if it was started here.
    pub(crate) async fn close(self, peers: &[Box<dyn Peer>]) -> Result<()> {
        for peer in peers {
            let name = peer.about().name;
            self.drop_database(&database(name)).await?;
            self.drop_database(&format!("{PREFIX}{}_base", slug(name))).await?;
        }
        let Some(server) = self.server else { return Ok(()) };
        tokio::task::spawn_blocking(move || server.stop(StopMode::Immediate)).await.context("stop the server")??;
        Ok(())
    }

    fn url_of(&self, database: &str) -> Result<String> {
        // Everything up to the path, and what comes after it.
        let scheme =
            self.url.find("://").map(|at| at + 3).ok_or_else(|| anyhow!("the database's address is no URL"))?;
        let path = self.url[scheme..].find('/').map_or(self.url.len(), |at| scheme + at);
        let query = self.url.find('?').unwrap_or(self.url.len());
        Ok(format!("{}/{database}{}", &self.url[..path.min(query)], &self.url[query..]))
    }
}

/// A durable server that all systems reach alike: by TCP, since not each of their drivers takes the address of a socket.
fn start() -> Result<(DevPg, String)> {
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("find a free port")?;
    let mut builder = DevPg::builder().port(Some(free.port()));
    for (name, value) in SETTINGS {
        builder = builder.setting(name, value);
    }
    let server = builder.start()?;
    Ok((server, format!("postgres://postgres@127.0.0.1:{}/postgres", free.port())))
}

/// To the database of this address.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    pgflow::connect(url, "compare").await.context("connect to the server")
}

async fn must_be_durable(client: &Client) -> Result<()> {
    let sql = "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') = 'on'";
    if client.query_one(sql, &[]).await.context("ask for settings")?.get(0) {
        Ok(())
    } else {
        bail!("the server is not durable: fsync and synchronous_commit must be on")
    }
}

fn database(name: &str) -> String {
    format!("{PREFIX}{}", slug(name))
}

/// A name as a part of a database's.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => slug.push(c.to_ascii_lowercase()),
            _ if slug.is_empty() || slug.ends_with('_') => {}
            _ => slug.push('_'),
        }
    }
    slug.trim_end_matches('_').to_owned()
}
