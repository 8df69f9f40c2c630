//! Settings: plain data, checked once when a runtime starts. The environment is read only by the programs.

mod queue;

use std::{path::PathBuf, time::Duration};

pub use self::queue::{PAYLOAD_BYTES_MAX, Queue, RETRIES_MAX, RETRY_DELAY_FIRST_MAX, RETRY_DELAY_MAX, WORKERS_MAX};
use crate::{Error, Result, message};

/// The slowest heartbeat allowed, in ms. The sweep trigger's horizon (120 s) is twice this: see W8.
pub const HEARTBEAT_MS_MAX: u64 = 60_000;
/// The longest [`Config::lease_ms`]: a day, in ms.
pub const LEASE_MS_MAX: u64 = 86_400_000;
/// The longest [`Config::rescue_grace_ms`]: an hour, in ms.
pub const RESCUE_GRACE_MS_MAX: u64 = 3_600_000;
/// The longest [`Config::unknown_grace_ms`]: 30 days, in ms.
pub const UNKNOWN_GRACE_MS_MAX: u64 = 2_592_000_000;
/// The longest [`Config::addressee_ttl_ms`]: 10 years, in ms.
pub const ADDRESSEE_TTL_MS_MAX: u64 = 315_360_000_000;
/// The most that [`Config::spool_messages_max`] may be: a million, each takes some 30 bytes of memory.
pub const SPOOL_MESSAGES_MAX: u64 = 1_000_000;
/// The most that [`Config::spool_bytes_max`] may be: 16 GiB. All of it is read at a start.
pub const SPOOL_BYTES_MAX: u64 = 16 << 30;
/// The schema used when none is named: the documented queries then work as written.
pub const SCHEMA_DEFAULT: &str = "public";
/// Postgres cuts longer names, silently.
const SCHEMA_BYTES_MAX: usize = 63;

/// How a [`crate::Runtime`], a [`crate::Publisher`] or a [`crate::Admin`] works. Plain data: every field has a default but `url`, all
/// are checked at the start of whatever takes it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where Postgres is: `postgresql://user@host/db`, with libpq's `sslmode`, `sslrootcert`, several hosts. Behind a pooler in
    /// transaction mode (PgBouncer from 1.21 on, with `max_prepared_statements`) a runtime also wants [`Self::listen_url`].
    pub url: String,
    /// A direct way to the same database for the runtime's one connection that listens, when `url` leads through a pooler in
    /// transaction mode (default: `url`). Without, such a runtime cannot be woken: it looks four times a second.
    pub listen_url: Option<String>,
    /// The schema of pgflow's tables (default `public`): at most 63 of `a-z`, `0-9` and `_`, no digit first.
    pub schema: String,
    /// This instance's name, 1 to 128 bytes, unique among live ones (default: host name and process id). Messages can be
    /// addressed to it. A name that was once addressed keeps its lanes for ever: where messages are addressed or broadcast, name
    /// instances by their place, not by their start.
    pub instance: String,
    /// Time between heartbeats in ms, 50 to [`HEARTBEAT_MS_MAX`] (default 500).
    pub heartbeat_ms: u64,
    /// Without a written heartbeat for so long in ms, an instance's messages are rescued (default 60,000), at most [`LEASE_MS_MAX`]. At
    /// least two written heartbeats, one of which is `heartbeat_ms` or 5,000 ms, whichever is longer.
    pub lease_ms: u64,
    /// No rescue by a free lock within so many ms of a server start or of our own reconnect, at most [`RESCUE_GRACE_MS_MAX`]
    /// (default 5,000).
    pub rescue_grace_ms: u64,
    /// A message that nobody live can decode is dead after so many ms, 1 to [`UNKNOWN_GRACE_MS_MAX`] (default 60,000).
    pub unknown_grace_ms: u64,
    /// An addressed message whose addressee is not live is dead after so many ms, 1,000 to [`ADDRESSEE_TTL_MS_MAX`] (default 24 h).
    pub addressee_ttl_ms: u64,
    /// Connections for claim and settle, which handlers cannot touch, 2 to 1,000 (default 4). One is reserved for high.
    pub control_connections: usize,
    /// Connections for [`crate::Context::transaction`] of normal and low messages, as many again for that of high ones, and for the
    /// publisher, 1 to 1,000 (default 8). Made when needed; a caller waits at most 5 s for one that others hold.
    pub handler_connections: usize,
    /// Days that done and cancelled messages are kept (default 7).
    pub history_days: u16,
    /// Days that dead letters and failed attempts are kept (default 30).
    pub dead_days: u16,
    /// Days that a dedup key is remembered (default 7).
    pub dedup_days: u16,
    /// A folder for what is published while Postgres is away (default: none, and a publish fails then). It is made when it is not
    /// there. One process at a time may use it: [`crate::Publisher::connect`] and a runtime's start take it.
    pub spool_dir: Option<PathBuf>,
    /// Most messages in the spool, 1 to [`SPOOL_MESSAGES_MAX`] (default 10,000). Above it a publish is an error.
    pub spool_messages_max: u64,
    /// Most bytes in the spool, with what is set aside in its folder, 4,096 to [`SPOOL_BYTES_MAX`] (default 64 MiB). Above it a publish
    /// is an error.
    pub spool_bytes_max: u64,
    /// An alert is raised when pgflow's tables take more bytes than this (default: none).
    pub alert_bytes: Option<u64>,
}

impl Config {
    /// All defaults, on this database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            listen_url: None,
            schema: SCHEMA_DEFAULT.into(),
            instance: format!("{}-{}", host_name(), std::process::id()),
            heartbeat_ms: 500,
            lease_ms: 60_000,
            rescue_grace_ms: 5_000,
            unknown_grace_ms: 60_000,
            addressee_ttl_ms: 86_400_000,
            control_connections: 4,
            handler_connections: 8,
            history_days: 7,
            dead_days: 30,
            dedup_days: 7,
            spool_dir: None,
            spool_messages_max: 10_000,
            spool_bytes_max: 64 << 20,
            alert_bytes: None,
        }
    }

    /// Names this instance; addressed messages find it by this name.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = name.into();
        self
    }

    /// Says where the listener connects to, past a pooler.
    pub fn listen_url(mut self, url: impl Into<String>) -> Self {
        self.listen_url = Some(url.into());
        self
    }

    /// Says in which schema the tables are.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Names the folder for what is published while Postgres is away.
    pub fn spool_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.spool_dir = Some(dir.into());
        self
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    /// Checks every field alone and against the others.
    pub(crate) fn validate(&self) -> Result<()> {
        let fail = |what: &str, why: String| Err(Error::config(format!("setting {what}"), why));
        for (what, value, min, max) in [
            ("heartbeat_ms", self.heartbeat_ms, 50, HEARTBEAT_MS_MAX),
            ("rescue_grace_ms", self.rescue_grace_ms, 0, RESCUE_GRACE_MS_MAX),
            ("unknown_grace_ms", self.unknown_grace_ms, 1, UNKNOWN_GRACE_MS_MAX),
            ("addressee_ttl_ms", self.addressee_ttl_ms, 1_000, ADDRESSEE_TTL_MS_MAX),
            ("spool_messages_max", self.spool_messages_max, 1, SPOOL_MESSAGES_MAX),
            ("spool_bytes_max", self.spool_bytes_max, 4_096, SPOOL_BYTES_MAX),
        ] {
            if !(min..=max).contains(&value) {
                return fail(what, format!("{value} is not in {min}..={max}"));
            }
        }
        if self.lease_ms < 2 * self.heartbeat_ms.max(HEARTBEAT_WRITE_MS) {
            return fail(
                "lease_ms",
                format!(
                    "{} is under two written heartbeats ({} ms)",
                    self.lease_ms,
                    2 * self.heartbeat_ms.max(HEARTBEAT_WRITE_MS)
                ),
            );
        }
        if self.lease_ms > LEASE_MS_MAX {
            return fail("lease_ms", format!("{} is over {LEASE_MS_MAX}", self.lease_ms));
        }
        validate_schema(&self.schema)?;
        if self.instance.is_empty() || self.instance.len() > message::INSTANCE_BYTES_MAX || self.instance.contains('\0')
        {
            return fail("instance", format!("a name has 1 to {} bytes and no NUL", message::INSTANCE_BYTES_MAX));
        }
        for (what, value) in
            [("control_connections", self.control_connections), ("handler_connections", self.handler_connections)]
        {
            if !(1..=1_000).contains(&value) {
                return fail(what, format!("{value} is not in 1..=1000"));
            }
        }
        if self.control_connections < 2 {
            return fail("control_connections", "one is reserved for high priority: at least 2".into());
        }
        for (what, value) in
            [("history_days", self.history_days), ("dead_days", self.dead_days), ("dedup_days", self.dedup_days)]
        {
            if value == 0 || value > 36_500 {
                return fail(what, format!("{value} is not in 1..=36500"));
            }
        }
        Ok(())
    }
}

/// How often a heartbeat also writes `heartbeat_at`, in ms.
pub(crate) const HEARTBEAT_WRITE_MS: u64 = 5_000;

/// A password in the URL stays out of logs.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("instance", &self.instance).field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// A schema's name is plain, so that it reads the same in psql, quoted or not.
pub(crate) fn validate_schema(schema: &str) -> Result<()> {
    let starts = schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if starts && plain && schema.len() <= SCHEMA_BYTES_MAX {
        return Ok(());
    }
    let why = format!("{schema:?}: at most {SCHEMA_BYTES_MAX} of a-z, 0-9 and _, and no digit first");
    Err(Error::config("schema name", why))
}

pub(crate) fn host_name() -> String {
    Some(gethostname::gethostname().to_string_lossy().into_owned())
        .filter(|s| !s.is_empty())
        .unwrap_or_else(|| "instance".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a time that the server cannot add to its clock passes, and every sweep fails from then on.
    #[test]
    fn the_edges_of_every_time() {
        type Field = fn(&mut Config) -> &mut u64;
        let fields: [(&str, Field, u64, u64); 6] = [
            ("heartbeat_ms", |c| &mut c.heartbeat_ms, 50, HEARTBEAT_MS_MAX),
            ("rescue_grace_ms", |c| &mut c.rescue_grace_ms, 0, RESCUE_GRACE_MS_MAX),
            ("unknown_grace_ms", |c| &mut c.unknown_grace_ms, 1, UNKNOWN_GRACE_MS_MAX),
            ("addressee_ttl_ms", |c| &mut c.addressee_ttl_ms, 1_000, ADDRESSEE_TTL_MS_MAX),
            ("spool_messages_max", |c| &mut c.spool_messages_max, 1, SPOOL_MESSAGES_MAX),
            ("spool_bytes_max", |c| &mut c.spool_bytes_max, 4_096, SPOOL_BYTES_MAX),
        ];
        for (what, field, min, max) in fields {
            let with = |value| {
                let mut config = Config::new("postgresql://localhost/x");
                config.lease_ms = 2 * HEARTBEAT_MS_MAX;
                *field(&mut config) = value;
                config.validate()
            };
            assert!(with(min).is_ok() && with(max).is_ok(), "{what}");
            for bad in [min.checked_sub(1), Some(max + 1), Some(u64::MAX)].into_iter().flatten() {
                let e = with(bad).unwrap_err();
                assert!(
                    e.is_config() && e.to_string().contains(&format!("setting {what}: {bad} is not in {min}..={max}")),
                    "{e}"
                );
            }
        }
    }

    /// Fear: a lease that the server cannot compute with is accepted, and every heartbeat fails for ever.
    #[test]
    fn the_edges_of_the_lease() {
        let with = |value| {
            let mut config = Config::new("postgresql://localhost/x");
            config.lease_ms = value;
            config.validate().map_err(|e| e.to_string())
        };
        assert_eq!(with(2 * HEARTBEAT_WRITE_MS), Ok(()));
        assert_eq!(with(LEASE_MS_MAX), Ok(()));
        assert!(with(2 * HEARTBEAT_WRITE_MS - 1).is_err_and(|e| e.contains("under two written heartbeats")));
        assert!(with(LEASE_MS_MAX + 1).is_err_and(|e| e.contains("setting lease_ms: 86400001 is over 86400000")));
    }

    /// Fear: a name that Postgres folds or cuts leads to another schema.
    #[test]
    fn only_plain_names_are_schemas() {
        for good in ["public", "_x", "a1_", &"x".repeat(63)] {
            validate_schema(good).unwrap();
        }
        for bad in ["", "1a", "Public", "a-b", "a b", "a\"b", "ä", "a.b", &"x".repeat(64)] {
            assert!(validate_schema(bad).is_err(), "{bad}");
        }
    }

    /// Fear: off Linux every instance is called "instance", and two hosts meet under one name.
    #[test]
    fn the_default_name_tells_the_host() {
        let told = std::process::Command::new("uname").arg("-n").output().expect("uname runs").stdout;
        let config = Config::new("");
        assert_eq!(config.instance, format!("{}-{}", String::from_utf8_lossy(&told).trim(), std::process::id()));
    }
}
