//! From a URL to connections: a pool of them, or one alone that listens.
//!
//! Every connection is made and driven on a runtime that the caller names. tokio-postgres (and its pools) would spawn
//! the driving task on whatever runtime happens to ask first: a handler that blocks that runtime would then stall the
//! heartbeat, or take the pool's connections with it when it ends.

mod hosts;
mod pool;
#[cfg(all(test, feature = "devpg", unix))]
mod tests;
mod tls;
mod url;

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deadpool_postgres::RecyclingMethod;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, Result};
pub(crate) use pool::{InUse, bounded_on, give_back};
pub use url::redacted;

/// TLS, authentication and the first batch, after the socket is connected. tokio-postgres limits only the socket:
/// a server that is stopped (SIGSTOP) still accepts, and never answers.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);

/// The same limits as ours to it (see `url`), for the server to find that we are gone: by default it takes two hours, and what a backend
/// holds it holds so long. A Unix socket needs none and ignores them. And its warnings must reach us, whatever the account's settings are:
/// one of them says that a commit is not on its standby.
const SERVER_SETTINGS: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
     SET tcp_user_timeout = 10000; SET client_min_messages = warning";

/// Longest wait for the answers to one use of a control connection, in ms. The server itself gives up after 10 s (their
/// `statement_timeout`): one that does not even say so is gone, or something between us swallows what we send.
pub(crate) const ANSWER_MS_MAX: u64 = 15_000;

/// One address and the way to speak to it. Holds the password, and never shows it.
#[derive(Clone)]
pub(crate) struct Target {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    label: String,
    /// Of its pools, connections that were made before are not handed out again.
    renewed: Arc<Mutex<Option<Instant>>>,
    /// What its pools look at before they hand a used connection out again.
    recycling: RecyclingMethod,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.label).finish()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl Target {
    /// Reads a URL, and the certificates it names.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let parsed = url::parse(url)?;
        let tls = parsed.verify.as_ref().map(tls::connector).transpose()?;
        Ok(Self {
            config: parsed.config,
            tls,
            label: redacted(url),
            renewed: Arc::default(),
            recycling: RecyclingMethod::Fast,
        })
    }

    /// How much later than another instance we may find the server that has taken over, at worst: none if there is but one host.
    pub(crate) fn failover_limit(&self) -> Duration {
        if hosts::count(&self.config) > 1 { self.connect_limit() } else { Duration::ZERO }
    }

    /// A connection of its own, whose notifications and notices go to `on_message` in the order they come. When it
    /// ends, `on_close` is called once: with the error that cut it, or with none if the client was dropped or we gave it up.
    ///
    /// A limit stands over the whole of it; cancel safe.
    pub(crate) async fn connect(
        &self,
        handle: &Handle,
        application_name: &str,
        on_message: impl FnMut(AsyncMessage) + Send + 'static,
        on_close: impl FnOnce(Option<tokio_postgres::Error>) + Send + 'static,
    ) -> Result<Client> {
        let phase = || format!("connect to {}", self.label);
        let limit = self.connect_limit();
        let dial = dial(self.tls.clone(), self.named(application_name), on_message, on_close);
        let dialled = AbortOnDropHandle::new(handle.spawn(async move { tokio::time::timeout(limit, dial).await }));
        match dialled.await {
            Ok(Ok(Ok((client, _)))) => Ok(client),
            Ok(Ok(Err(e))) => Err(Error::database(phase(), e)),
            Ok(Err(_)) => Err(Error::timeout(phase(), millis(limit))),
            Err(_) => Err(Error::state(phase(), "the runtime that was to drive it has stopped")),
        }
    }

    /// Asks the server to give up what the token's connection is running. It may have finished meanwhile.
    pub(crate) async fn cancel(&self, token: tokio_postgres::CancelToken) -> Result<()> {
        let phase = || format!("cancel a statement on {}", self.label);
        let limit = self.connect_limit();
        let ask = async {
            match &self.tls {
                Some(tls) => token.cancel_query(tls.clone()).await,
                None => token.cancel_query(NoTls).await,
            }
        };
        match tokio::time::timeout(limit, ask).await {
            Ok(done) => done.map_err(|e| Error::database(phase(), e)),
            Err(_) => Err(Error::timeout(phase(), millis(limit))),
        }
    }

    /// Ours comes first, and the URL's after it in brackets: a listener's backend is told by its name (end_old_listener.sql).
    fn named(&self, application_name: &str) -> Config {
        let mut config = self.config.clone();
        match config.get_application_name() {
            Some(theirs) => config.application_name(format!("{application_name} ({theirs})")),
            None => config.application_name(application_name),
        };
        config
    }

    /// Every host gets its time.
    fn connect_limit(&self) -> Duration {
        host_limit(&self.config) * u32::try_from(hosts::count(&self.config).max(1)).unwrap_or(u32::MAX)
    }
}

/// The socket, and all that is said before a connection can be used.
fn host_limit(config: &Config) -> Duration {
    config.get_connect_timeout().copied().unwrap_or_default() + HANDSHAKE_LIMIT
}

/// Opens one connection on the current runtime, for a program that runs a few statements and ends.
/// One in the URL is put in brackets after `application_name`. The password is in no error text.
///
/// # Errors
/// If the URL cannot be read, or no server answers it.
pub async fn connect(url: &str, application_name: &str) -> Result<Client> {
    let log_close = |error: Option<tokio_postgres::Error>| {
        if let Some(error) = error {
            tracing::debug!(%error, "connection closed");
        }
    };
    Target::parse(url)?.connect(&Handle::current(), application_name, log_notice, log_close).await
}

/// Bounds the wait for answers: a half-open connection behind a proxy gives none, for ever, and no keepalive finds it.
pub(crate) async fn bounded<T>(phase: &str, limit_ms: u64, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(Duration::from_millis(limit_ms), work).await {
        Ok(done) => done,
        Err(_) => Err(Error::timeout(phase, limit_ms)),
    }
}

async fn dial(
    tls: Option<MakeRustlsConnect>,
    config: Config,
    on_message: impl FnMut(AsyncMessage) + Send + 'static,
    on_close: impl FnOnce(Option<tokio_postgres::Error>) + Send + 'static,
) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
    let (client, driver) = match tls {
        Some(tls) => {
            let (client, connection) = hosts::connect(&config, tls, host_limit(&config)).await?;
            (client, tokio::spawn(drive(connection, on_message, on_close)))
        }
        None => {
            let (client, connection) = hosts::connect(&config, NoTls, host_limit(&config)).await?;
            (client, tokio::spawn(drive(connection, on_message, on_close)))
        }
    };
    client.batch_execute(SERVER_SETTINGS).await?;
    Ok((client, driver))
}

async fn drive<S, T>(
    mut connection: Connection<S, T>,
    mut on_message: impl FnMut(AsyncMessage),
    on_close: impl FnOnce(Option<tokio_postgres::Error>),
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(message)) if is_unreplicated(&message) => {
                // What follows says that the statement succeeded: nobody may hear that. Ended here, it has no answer, as with a lost
                // connection, and all who wait take it for unknown.
                tracing::warn!(
                    "a wait for the synchronous standby was cancelled: the connection is given up, outcome unknown"
                );
                return on_close(None);
            }
            Some(Ok(message)) => on_message(message),
            // tokio-postgres calls some cut connections not closed (57P01): any error is the end.
            Some(Err(error)) => return on_close(Some(error)),
            None => return on_close(None),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a COMMIT gave up waiting for its synchronous standby: it is done on the primary, and a failover may lose it. The notice has no
/// code of its own, and its text is translated; the routine that sends it is the same since Postgres 9.1.
fn is_unreplicated(message: &AsyncMessage) -> bool {
    matches!(message, AsyncMessage::Notice(notice) if notice.routine() == Some("SyncRepWaitForLSN"))
}

fn log_notice(message: AsyncMessage) {
    if let AsyncMessage::Notice(notice) = message {
        tracing::debug!(severity = notice.severity(), "{}", notice.message());
    }
}
