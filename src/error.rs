//! What can go wrong, said once: which phase failed, on what, and why.
//!
//! Errors are opaque outside (predicates, not variants, so that new kinds break nobody) and exact inside.
//! A handler's verdict on a message is not an error: see [`crate::Failure`].

use std::fmt;

use deadpool_postgres::{PoolError, TimeoutType};

/// How long a caller waits for a connection that others hold, in ms. Here, for its error says it.
pub(crate) const POOL_WAIT_MS: u64 = 5_000;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of pgflow. Its text names the phase and the object: `claim on queue "mail": connection closed`.
pub struct Error(Box<Inner>);

struct Inner {
    phase: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Config(String),
    Input(String),
    UnknownQueue(String),
    Database(tokio_postgres::Error),
    Pool(PoolError),
    Io(std::io::Error),
    NameTaken(String),
    State(String),
    Full(String),
    Away(String),
    Timeout(u64),
}

impl Error {
    /// A setting that cannot work.
    pub(crate) fn config(phase: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(phase, Kind::Config(why.into()))
    }

    /// A value given by the caller that breaks a stated limit.
    pub(crate) fn input(phase: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(phase, Kind::Input(why.into()))
    }

    /// A queue that is not there, or was deleted.
    pub(crate) fn unknown_queue(phase: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(phase, Kind::UnknownQueue(why.into()))
    }

    /// The instance's name is another live one's.
    pub(crate) fn name_taken(phase: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(phase, Kind::NameTaken(why.into()))
    }

    /// A call that does not fit the state things are in.
    pub(crate) fn state(phase: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(phase, Kind::State(why.into()))
    }

    /// The local spool is at its limit.
    pub(crate) fn full(phase: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(phase, Kind::Full(why.into()))
    }

    /// Postgres is away, as somebody else has just seen.
    pub(crate) fn away(phase: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(phase, Kind::Away(why.into()))
    }

    /// A wait that reached its limit, in milliseconds.
    pub(crate) fn timeout(phase: impl Into<String>, limit_ms: u64) -> Self {
        Self::new(phase, Kind::Timeout(limit_ms))
    }

    /// A failed call of the operating system.
    pub(crate) fn io(phase: impl Into<String>, source: std::io::Error) -> Self {
        Self::new(phase, Kind::Io(source))
    }

    /// A failed statement or a broken connection.
    pub(crate) fn database(phase: impl Into<String>, source: tokio_postgres::Error) -> Self {
        Self::new(phase, Kind::Database(source))
    }

    /// No connection could be had from a pool.
    pub(crate) fn pool(phase: impl Into<String>, source: PoolError) -> Self {
        Self::new(phase, Kind::Pool(source))
    }

    fn new(phase: impl Into<String>, kind: Kind) -> Self {
        Self(Box::new(Inner { phase: phase.into(), kind }))
    }

    /// What our own SQL functions refuse, in their words: an unknown name (42704) or a state that does not fit (55000).
    pub(crate) fn plain(self) -> Self {
        let Kind::Database(e) = &self.0.kind else { return self };
        match e.as_db_error() {
            Some(db) if db.code().code() == "42704" => Self::input(self.0.phase.clone(), db.message()),
            Some(db) if db.code().code() == "55000" => Self::state(self.0.phase.clone(), db.message()),
            _ => self,
        }
    }

    /// What one failed call means for everybody who shared it. Only the text is kept: sources cannot be copied.
    pub(crate) fn same_for_another(&self) -> Self {
        let phase = self.0.phase.clone();
        let text = self.to_string();
        let why = text.strip_prefix(&format!("{phase}: ")).unwrap_or(&text).to_owned();
        match &self.0.kind {
            Kind::Io(e) => Self::io(phase, std::io::Error::new(e.kind(), why)),
            _ => Self::state(phase, why),
        }
    }

    /// The same error, of a message that Postgres was sent before and may have.
    pub(crate) fn or_sent_after_all(self) -> Self {
        let phase = format!("{} (outcome unknown: Postgres was sent it before)", self.0.phase);
        self.in_phase(phase)
    }

    /// The same error, met in another phase.
    pub(crate) fn in_phase(mut self, phase: impl Into<String>) -> Self {
        self.0.phase = phase.into();
        self
    }

    /// The same error, met by a part of something larger.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.0.phase = format!("{outer}: {}", self.0.phase);
        self
    }

    /// The connection is gone or could not be made: the same call may succeed later.
    pub fn is_closed(&self) -> bool {
        match &self.0.kind {
            Kind::Database(e) => is_disconnect(e),
            Kind::Pool(PoolError::Backend(e)) => e.code().is_none() || is_disconnect(e),
            Kind::Pool(_) | Kind::Timeout(_) | Kind::Away(_) => true,
            Kind::Io(_)
            | Kind::Full(_)
            | Kind::Config(_)
            | Kind::Input(_)
            | Kind::UnknownQueue(_)
            | Kind::NameTaken(_)
            | Kind::State(_) => false,
        }
    }

    /// A wait of ours reached its limit.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::Timeout(_))
    }

    /// The caller's input is at fault (unknown queue, payload too large, bad JSON): the same call fails again.
    pub fn is_input(&self) -> bool {
        match &self.0.kind {
            Kind::Input(_) | Kind::UnknownQueue(_) => true,
            // pgflow's SQL functions raise class 22 (bad value), 42704 (unknown queue), 54000 (over a limit) and checks.
            Kind::Database(e) => e.code().is_some_and(|c| {
                c.code().starts_with("22") || c.code() == "42704" || c.code() == "54000" || c.code() == "23514"
            }),
            _ => false,
        }
    }

    /// The input that is at fault is the queue's name: there is none, or it was deleted. [`Self::is_input`] too.
    pub fn is_unknown_queue(&self) -> bool {
        matches!(self.0.kind, Kind::UnknownQueue(_))
    }

    /// A live instance has the name that this one was to have: choose another, or stop that one.
    pub fn is_name_taken(&self) -> bool {
        matches!(self.0.kind, Kind::NameTaken(_))
    }

    /// The call does not fit the state that things are in, as a delete of a queue that has messages: the text says what to do.
    pub fn is_state(&self) -> bool {
        matches!(self.0.kind, Kind::State(_))
    }

    /// The local spool takes no more: Postgres has been away for too long. The message is nowhere; the same call may succeed when
    /// the spool was forwarded.
    pub fn is_spool_full(&self) -> bool {
        matches!(self.0.kind, Kind::Full(_))
    }

    /// No Postgres that could take a message: not reachable, starting or stopping, out of connections, or a standby. A spool helps.
    pub(crate) fn is_away(&self) -> bool {
        let refuses = |code: &tokio_postgres::error::SqlState| ["53300", "25006"].contains(&code.code());
        self.is_closed() || self.sqlstate().is_some_and(refuses)
    }

    /// A setting is at fault.
    pub fn is_config(&self) -> bool {
        matches!(self.0.kind, Kind::Config(_))
    }

    /// The server's error code, when the server answered.
    pub fn sqlstate(&self) -> Option<&tokio_postgres::error::SqlState> {
        match &self.0.kind {
            Kind::Database(e) | Kind::Pool(PoolError::Backend(e)) => e.code(),
            _ => None,
        }
    }
}

/// Connection lost, server stopping or starting, or the backend terminated by an administrator.
fn is_disconnect(e: &tokio_postgres::Error) -> bool {
    if e.is_closed() {
        return true;
    }
    match e.code() {
        Some(code) => code.code().starts_with("08") || code.code().starts_with("57P"),
        // No code means that no server answered: a socket error.
        None => std::error::Error::source(e).is_some_and(|s| s.is::<std::io::Error>()),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.phase)?;
        match &self.0.kind {
            Kind::Config(why)
            | Kind::Input(why)
            | Kind::UnknownQueue(why)
            | Kind::NameTaken(why)
            | Kind::State(why)
            | Kind::Full(why)
            | Kind::Away(why) => f.write_str(why),
            Kind::Database(e) => write_database(f, e),
            Kind::Pool(PoolError::Backend(e)) => write_database(f, e),
            Kind::Pool(PoolError::Timeout(TimeoutType::Wait)) => {
                write!(f, "no connection: all of the pool have been in use for {POOL_WAIT_MS} ms")
            }
            Kind::Pool(e) => write!(f, "no connection: {e}"),
            Kind::Io(e) => write!(f, "{e}"),
            Kind::Timeout(ms) => write!(f, "no answer within {ms} ms"),
        }
    }
}

/// tokio-postgres prints `db error` and keeps the message in its source: say the message.
fn write_database(f: &mut fmt::Formatter<'_>, e: &tokio_postgres::Error) -> fmt::Result {
    if let Some(db) = e.as_db_error() {
        write!(f, "{} (SQLSTATE {})", db.message(), db.code().code())?;
        if let Some(detail) = db.detail() {
            write!(f, ", {detail}")?;
        }
        return f.write_str(match db.code().code() {
            // Another client's session answers: a pooler took it away between two statements.
            "26000" | "42P05" => ": a pooler in transaction mode must keep prepared statements (PgBouncer 1.21, max_prepared_statements), else connect directly",
            "42501" => ": what a role needs is in docs/OPERATIONS.md, Rights",
            _ => "",
        });
    }
    match std::error::Error::source(e) {
        Some(source) => write!(f, "{e}: {source}"),
        None => write!(f, "{e}"),
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("phase", &self.0.phase).field("kind", &self.0.kind).finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            Kind::Database(e) => Some(e),
            Kind::Pool(e) => Some(e),
            Kind::Io(e) => Some(e),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a pool that is too small reads like a server that is away.
    #[test]
    fn a_wait_for_others_connections_says_so() {
        let error = Error::pool("claim on queue \"mail\"", PoolError::Timeout(TimeoutType::Wait));
        assert!(error.is_closed());
        let text = "claim on queue \"mail\": no connection: all of the pool have been in use for 5000 ms";
        assert_eq!(error.to_string(), text);
    }
}
