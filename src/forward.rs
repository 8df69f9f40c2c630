//! The forwarder: brings what was spooled into Postgres, in order, each record once.
//!
//! A batch is one transaction, which also writes down how far the spool is forwarded. So a COMMIT that was not answered, a kill before
//! the folder was told, or a second drain forward nothing twice: the next batch reads the number under the row's lock and
//! passes over what is there.

mod doubt;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use deadpool_postgres::Object;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Config, Error, Publisher, Result,
    connect::{Target, bounded},
    message::Outgoing,
    publish::{self, note_all},
    spool::{Identity, Record, Spool},
    store::{Store, Way},
};

/// Most messages of one transaction.
const BATCH_MESSAGES_MAX: usize = 1_000;
/// Most bytes of one transaction, but for a single message that has more.
const BATCH_BYTES_MAX: u64 = 8 << 20;
/// Longest that one try may take, in ms; it begins anew with less. A publisher that stays open may be waited for meanwhile.
const FORWARD_MS_MAX: u64 = 30_000;
/// Wait after a failed try, in ms; it doubles with every further one.
const BACKOFF_MS: u64 = 100;
/// The longest such wait, in ms.
const BACKOFF_MS_MAX: u64 = 5_000;

const PHASE: &str = "forward the spool";

impl Publisher {
    /// A publisher with connections of its own, for a program that runs no [`crate::Runtime`].
    ///
    /// It may sit behind any pooler. Connections are made as they are needed, on the runtime that calls this, and what is spooled is
    /// forwarded there, as long as a clone of the publisher lives.
    ///
    /// # Errors
    /// When a setting cannot work, or the spool's folder cannot be used (another process has it). Whether the server answers
    /// shows at the first publish.
    pub async fn connect(config: &Config) -> Result<Self> {
        config.validate()?;
        let target = Target::parse(&config.url)?;
        let handle = Handle::current();
        let pool = target.pool(&handle, config.handler_connections, "pgflow publish", publish::SETTINGS)?;
        let store = Arc::new(Store::new(&config.schema));
        let publisher = Self::new(store.clone(), pool, config);
        let Some(spool) = Spool::open(config).await? else { return Ok(publisher) };
        let forward = Forward::new(store, publisher.clone(), spool.clone());
        let forwarder = AbortOnDropHandle::new(handle.spawn(forward.run()));
        Ok(publisher.with_spool(Some(spool), Some(forwarder)))
    }
}

/// What forwards.
pub(crate) struct Forward {
    store: Arc<Store>,
    /// One without the spool: it writes into Postgres or fails.
    publisher: Publisher,
    spool: Spool,
    /// How many records are tried at once: fewer after a refusal, to find the one that is refused.
    batch_max: usize,
    /// Refused once, perhaps over something that was kept here and is no longer true.
    suspect: Option<u64>,
}

impl Forward {
    pub(crate) fn new(store: Arc<Store>, publisher: Publisher, spool: Spool) -> Self {
        spool.forwarders(1);
        Self { store, publisher, spool, batch_max: BATCH_MESSAGES_MAX, suspect: None }
    }

    /// Forwards what is there and what comes, until it is dropped.
    pub(crate) async fn run(mut self) {
        let (mut backoff_ms, mut said) = (BACKOFF_MS, String::new());
        loop {
            match self.step().await {
                Ok(more) => {
                    backoff_ms = BACKOFF_MS;
                    said.clear();
                    if !more {
                        self.spool.arrived().await;
                    }
                }
                Err(error) => {
                    self.spool.failed(&error);
                    let (text, waiting) = (error.to_string(), self.spool.held().messages);
                    if text != said {
                        tracing::warn!(target: "pgflow::forward", %error, waiting, "the spool is not forwarded now, and is tried again");
                        said = text;
                    }
                    // Publishers of many machines must not come back in step.
                    let jittered = Duration::from_millis(rand::random_range(backoff_ms / 2..=backoff_ms));
                    let _ = tokio::time::timeout(jittered, self.spool.hurried()).await;
                    backoff_ms = (2 * backoff_ms).min(BACKOFF_MS_MAX);
                }
            }
        }
    }

    /// One batch. Answers whether there was anything.
    async fn step(&mut self) -> Result<bool> {
        let mut records = self.spool.read(self.batch_max, BATCH_BYTES_MAX).await?;
        let Some(first) = records.first() else {
            self.spool.set_nearly_empty(false);
            return Ok(false);
        };
        let more = records.len() == self.batch_max;
        let source = first.entry.source.clone();
        records.retain({
            let mut same = true;
            move |record| {
                same &= record.entry.source == source;
                same
            }
        });
        let mut c = self.publisher.connection(&records[0].entry.queue).await?;
        let done = bounded(PHASE, FORWARD_MS_MAX, self.forward(&mut c, records)).await;
        if done.as_ref().is_err_and(Error::is_timeout) {
            // A slow network may not carry so many in time.
            self.batch_max = (self.batch_max / 2).max(1);
        }
        if matches!(done, Ok(Batch::Refused)) {
            // A COPY that was refused leaves an answer too many.
            drop(c);
        } else {
            c.give_back_after_copy(done.as_ref().err());
        }
        // After a batch that Postgres took: a first try is no promise that it does.
        self.spool.set_nearly_empty(done.is_ok() && !more);
        done.map(|_| true)
    }

    async fn forward(&mut self, c: &mut Object, records: Vec<Record>) -> Result<Batch> {
        let Identity { spool_id, forwarded, doubtful_to, unmet_from } = self.spool.identity().await?;
        let Some(last) = records.last().map(|record| record.number) else { return Ok(Batch::Answered) };
        let batch = self.addressed(c, records).await?;
        let there = self.already_there(c, &batch, doubtful_to).await?;

        let tx = c.transaction().await.map_err(|e| Error::database(PHASE, e))?;
        let progress = self.store.meet_spool(&tx, spool_id, number(forwarded)).await?;
        if let Some(unmet_from) = unmet_from {
            if progress >= number(unmet_from) {
                // Numbers that Postgres has seen were given again: the folder is an old copy, or lost its end.
                tx.rollback().await.map_err(|e| Error::database(PHASE, e))?;
                return self.spool.rename().await.map(|()| Batch::Answered);
            }
            self.spool.met().await?;
        }
        let new = |to: &&Addressed| number(to.record.number) > progress && !there.contains(&to.record.entry.message_id);
        let todo: Vec<&Addressed> = batch.iter().filter(new).collect();
        let (ways, out): (Vec<Way>, Vec<Outgoing>) = todo.iter().map(|to| (to.way, to.out.clone())).unzip();
        if let Some(first) = todo.first() {
            match self.publisher.write_many(&tx, &ways, &out, &first.record.entry.source).await {
                Ok(Some(_)) => {}
                // A lane was closed: the next look says whether the queue is gone.
                Ok(None) => {
                    tx.rollback().await.map_err(|e| Error::database(PHASE, e))?;
                    out.iter().for_each(|out| self.publisher.forget(&out.queue));
                    return Ok(Batch::Answered);
                }
                Err(e) if e.is_input() => {
                    tx.rollback().await.map_err(|e| Error::database(PHASE, e))?;
                    return self.narrow(&todo, &e).await.map(|()| Batch::Refused);
                }
                Err(e) => return Err(e.in_phase(PHASE)),
            }
        }
        self.store.advance_spool(&tx, spool_id, number(last)).await?;
        tx.commit().await.map_err(|e| Error::database(format!("{PHASE}: COMMIT"), e))?;
        self.spool.forwarded(last).await?;
        self.batch_max = (2 * self.batch_max).min(BATCH_MESSAGES_MAX);
        let lanes: BTreeSet<i32> = ways.iter().map(|way| way.lane.id).collect();
        lanes.into_iter().for_each(|lane| self.publisher.committed(lane));
        note_all(out.iter().map(|out| (out, None)));
        metrics::counter!("pgflow_forwarded_total").increment(out.len() as u64);
        tracing::info!(target: "pgflow::forward", messages = out.len(), already_there = batch.len() - out.len(), "forwarded from the spool");
        Ok(Batch::Answered)
    }

    /// Finds every record's lane; sets those aside that have none, or are too large.
    async fn addressed(&self, c: &Object, records: Vec<Record>) -> Result<Vec<Addressed>> {
        let mut batch = Vec::with_capacity(records.len());
        for record in records {
            let out = record.entry.outgoing();
            match self.publisher.way(c, &out).await {
                Ok(way) => batch.push(Addressed { record, out, way }),
                Err(e) if e.is_input() => self.spool.refuse(record, e.to_string()).await?,
                Err(e) => return Err(e),
            }
        }
        Ok(batch)
    }

    /// Postgres refuses one of these: tries fewer, and sets the one aside that is refused alone, twice.
    async fn narrow(&mut self, refused: &[&Addressed], error: &Error) -> Result<()> {
        refused.iter().for_each(|to| self.publisher.forget(&to.out.queue));
        match refused {
            [one] if self.suspect == Some(one.record.number) => {
                self.spool.refuse(one.record.clone(), error.to_string()).await
            }
            [one] => {
                self.suspect = Some(one.record.number);
                Ok(())
            }
            many => {
                self.batch_max = (many.len() / 2).max(1);
                Ok(())
            }
        }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.spool.forwarders(-1);
    }
}

/// What became of a batch.
enum Batch {
    /// Forwarded, or to be looked at anew.
    Answered,
    /// Postgres refused to write it.
    Refused,
}

/// A record with its place.
struct Addressed {
    record: Record,
    out: Outgoing,
    way: Way,
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The actor: a shell around [`Forward`], which runs beside it so that a stop need not wait for Postgres.
pub(crate) struct Forwarder {
    pub(crate) wiring: Arc<Wiring>,
}

/// What the forwarder needs from the rest of the runtime.
pub(crate) struct Wiring {
    pub(crate) store: Arc<Store>,
    pub(crate) publisher: Publisher,
    pub(crate) spool: Spool,
}

/// The forwarder's protocol.
pub(crate) enum Msg {
    /// What forwards has ended, which only a bug of ours does.
    Ended,
}

impl Actor for Forwarder {
    type Msg = Msg;
    type State = AbortOnDropHandle<()>;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        let w = &self.wiring;
        let forward = Forward::new(w.store.clone(), w.publisher.clone(), w.spool.clone());
        let ended = Tell(myself);
        Ok(AbortOnDropHandle::new(tokio::spawn(async move {
            let _ended = ended;
            forward.run().await;
        })))
    }

    async fn handle(&self, _: ActorRef<Msg>, _: Msg, _: &mut Self::State) -> Result<(), ActorProcessingErr> {
        Err("forwarding ended".into())
    }
}

/// Tells the actor, also when a panic ends the task.
struct Tell(ActorRef<Msg>);

impl Drop for Tell {
    fn drop(&mut self) {
        // An actor that is gone has stopped the task itself.
        let _ = self.0.cast(Msg::Ended);
    }
}
