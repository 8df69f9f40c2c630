//! A pool of connections: how one is made, and what is not handed out again.

use std::{
    io,
    ops::{Deref, DerefMut},
    pin::Pin,
    sync::PoisonError,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use deadpool_postgres::{
    ClientWrapper, Connect, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod,
};
use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, ReadBuf},
    runtime::Handle,
    task::JoinHandle,
};
use tokio_postgres::{Client, Config, NoTls};
use tokio_util::task::AbortOnDropHandle;

use super::{Target, bounded, dial, log_notice, millis};
use crate::{Error, Result, error::POOL_WAIT_MS};

/// How long handing a used connection out again may take.
const POOL_RECYCLE_LIMIT: Duration = Duration::from_secs(2);

impl Target {
    /// For pools whose users may drop a call at any await: a connection on which something is still under way is not handed out again, but
    /// closed after [`POOL_RECYCLE_LIMIT`]. A round trip at each use.
    pub(crate) fn verified(mut self) -> Self {
        self.recycling = RecyclingMethod::Verified;
        self
    }

    /// A pool whose connections live on `handle`. Each runs `on_create` (any number of statements) once, before it is
    /// handed out.
    pub(crate) fn pool(
        &self,
        handle: &Handle,
        size: usize,
        application_name: &str,
        on_create: impl Into<String>,
    ) -> Result<Pool> {
        let connect = OnRuntime { target: self.clone(), handle: handle.clone(), on_create: on_create.into() };
        let config = self.named(application_name);
        let manager =
            Manager::from_connect(config, connect, ManagerConfig { recycling_method: self.recycling.clone() });
        let renewed = self.renewed.clone();
        let is_current = Hook::sync_fn(move |_: &mut ClientWrapper, metrics| {
            let renewed = *renewed.lock().unwrap_or_else(PoisonError::into_inner);
            if renewed.is_some_and(|at| metrics.created < at) {
                return Err(HookError::message("made before the pool was renewed"));
            }
            Ok(())
        });
        Pool::builder(manager)
            .max_size(size)
            .pre_recycle(is_current)
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .wait_timeout(Some(Duration::from_millis(POOL_WAIT_MS)))
            .recycle_timeout(Some(POOL_RECYCLE_LIMIT))
            .build()
            .map_err(|e| Error::state("build the connection pool", e.to_string()))
    }

    /// From now on the pools of this target, and of its clones, hand no connection out again that was made before.
    pub(crate) fn renew(&self) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// The same for work that takes its connections from a pool by itself. What it had when its time was over lies in the pool again, and
/// leads nowhere: all that lie there go.
pub(crate) async fn bounded_on<T>(
    pool: &Pool,
    phase: &str,
    limit_ms: u64,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let done = bounded(phase, limit_ms, work).await;
    if done.as_ref().is_err_and(Error::is_timeout) {
        pool.retain(|_, _| false);
    }
    done
}

/// The pool hands a broken connection out again until its socket tells: one that has just failed, or did not answer in time, is
/// taken out of it. After the latter those that lie idle go as well: they lead the same way.
pub(crate) fn give_back(c: Object, error: Option<&Error>) {
    if error.is_some_and(Error::is_timeout)
        && let Some(pool) = Object::pool(&c)
    {
        pool.retain(|_, _| false);
    }
    if error.is_some_and(Error::is_closed) {
        drop(Object::take(c));
    }
}

/// The same after a use that may have begun a COPY. One that the server refuses at its start leaves an answer too many on the connection:
/// tokio-postgres has sent a Sync with it, and sends another when it gives it up. Whoever came next would take that for its own answer,
/// and be told of an error though its message is there. So no connection is used again on which the server refused something.
fn give_back_after_copy(c: Object, error: Option<&Error>) {
    if error.is_some_and(|e| e.sqlstate().is_some()) {
        drop(Object::take(c));
    } else {
        give_back(c, error);
    }
}

/// A connection that a call of the user's has taken. Dropped before it is given back, as when that call is dropped, it is closed: what was
/// sent on it may be under way for long, and whoever came next would wait behind it.
pub(crate) struct InUse(Option<Object>);

impl InUse {
    pub(crate) fn new(c: Object) -> Self {
        Self(Some(c))
    }

    pub(crate) fn give_back(mut self, error: Option<&Error>) {
        self.0.take().into_iter().for_each(|c| give_back(c, error));
    }

    pub(crate) fn give_back_after_copy(mut self, error: Option<&Error>) {
        self.0.take().into_iter().for_each(|c| give_back_after_copy(c, error));
    }
}

impl Deref for InUse {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.0.as_ref().expect("taken only by value")
    }
}

impl DerefMut for InUse {
    fn deref_mut(&mut self) -> &mut Object {
        self.0.as_mut().expect("taken only by value")
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(c) = self.0.take() {
            drop(Object::take(c));
        }
    }
}

/// The pool's way to a new connection.
struct OnRuntime {
    target: Target,
    handle: Handle,
    on_create: String,
}

impl Connect for OnRuntime {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let log_close = |error: Option<tokio_postgres::Error>| {
            if let Some(error) = error {
                tracing::debug!(%error, "pooled connection closed");
            }
        };
        let dial = dial(self.target.tls.clone(), config.clone(), log_notice, log_close);
        let on_create = self.on_create.clone();
        // Here and not in a hook of the pool: so it runs on our runtime, within the limit for a new connection, and
        // its error keeps the server's code.
        let dialled = self.handle.spawn(async move {
            let (client, driver) = dial.await?;
            if !on_create.is_empty() {
                client.batch_execute(&on_create).await?;
            }
            Ok((client, driver))
        });
        let dialled = AbortOnDropHandle::new(dialled);
        let limit = self.target.connect_limit();
        Box::pin(async move {
            match tokio::time::timeout(limit, dialled).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(failed(io::ErrorKind::UnexpectedEof.into()).await),
                // Not the pool's own limit, whose error says neither what nor how long.
                Err(_) => {
                    let why = format!("no answer within {} ms", millis(limit));
                    Err(failed(io::Error::new(io::ErrorKind::TimedOut, why)).await)
                }
            }
        })
    }
}

/// The pool wants an error of tokio-postgres, which nobody else can make: this one is what a socket that fails so gives.
async fn failed(why: io::Error) -> tokio_postgres::Error {
    let mut config = Config::new();
    config.user("nobody").ssl_mode(tokio_postgres::config::SslMode::Disable);
    let socket = tokio::io::join(Fails(Some(why)), tokio::io::sink());
    match config.connect_raw(socket, NoTls).await {
        Err(error) => error,
        Ok(_) => unreachable!("nobody answered"),
    }
}

/// A read that fails, and finds the end from then on.
struct Fails(Option<io::Error>);

impl AsyncRead for Fails {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.take().map_or(Ok(()), Err))
    }
}
