//! All SQL, one statement a file in `sql/queries`, one function of the same name here. Nobody else knows a table.
//!
//! A function takes the connection it runs on, so that the caller decides on pool and transaction. Nothing here retries.

mod alerts;
mod batch;
mod claim;
mod doctor;
mod instances;
mod messages;
mod publish;
mod queues;
mod settle;
mod spool;
mod sweep;
mod trace;
mod wake;

pub use alerts::{Alert, AlertLevel};
pub(crate) use alerts::{QueueSample, Said};
pub(crate) use batch::Way;
#[cfg(feature = "cli")]
pub(crate) use claim::NONCE_END;
pub(crate) use claim::{Claim, Row};
pub(crate) use doctor::Symptoms;
pub use instances::Mode;
pub(crate) use instances::{Ended, QueueFacts, Registration};
pub use messages::{DeadLetter, MessageInfo};
pub(crate) use publish::{Lane, QueueLanes};
pub use queues::{InstanceInfo, QueueInfo, QueueStats};
pub(crate) use settle::{Failed, Judged};
pub(crate) use trace::Facts;
pub use trace::TraceEvent;
pub(crate) use wake::{Armed, Beat, HandOver, Heartbeat, Session, Turn};

use deadpool_postgres::GenericClient;
use futures_util::future::try_join;
use tokio_postgres::{Row as PgRow, types::ToSql};

use crate::{Error, Result, migrate};

macro_rules! queries {
    ($($name:ident),* $(,)?) => {
        /// The text of every statement, its schema filled in.
        #[derive(Debug)]
        pub(crate) struct Queries { $(pub(crate) $name: String,)* }
        impl Queries {
            fn render(schema: &str) -> Self {
                Self { $($name: migrate::render(&short(include_str!(concat!("../../sql/queries/", stringify!($name), ".sql"))), schema),)* }
            }
        }
    };
}

/// A statement's text with only the first line of its comment, by which pg_stat_activity shows what it is: that view cuts a text at
/// 1,024 bytes, and the cache of prepared statements hashes all of it at each call.
fn short(sql: &str) -> String {
    let mut lines = sql.lines();
    let first = lines.next().into_iter();
    first.chain(lines.filter(|line| !line.trim_start().starts_with("--"))).collect::<Vec<_>>().join("\n")
}

queries!(
    advance_spool,
    announce,
    arm,
    broadcast,
    bury_addressee_gone,
    bury_deleted_queue,
    bury_undecodable,
    cancel,
    claim,
    clear_alert,
    copy_ready,
    count_dlq_of_deleted,
    create_queue,
    delete_queue,
    drop_partitions,
    doctor,
    draw_seqs,
    end_instance,
    end_old_listener,
    ensure_partitions,
    explain,
    find_message,
    find_published,
    find_queue,
    find_settled,
    first_places,
    hand_back,
    hand_over,
    heartbeat,
    insert_ready,
    insert_ready_in,
    lane,
    list_alerts,
    list_dlq,
    list_pending,
    list_queues,
    lock_names,
    lock_ready,
    measure,
    meet_spool,
    mode,
    name_holder,
    new_session,
    next_due,
    notify_ctl,
    open_publishers,
    orphans,
    park_undecodable,
    pause_queue,
    probe,
    promote,
    publishing,
    purge_dlq,
    put,
    put_in,
    put_many,
    queue_exists,
    queue_facts,
    queue_for_key,
    queue_stats,
    ready_writers,
    raise_alert,
    raise_fences,
    readdress,
    register,
    release_keys,
    rescue,
    retention,
    retry_dlq,
    sample,
    save_tree,
    set_alerts,
    set_mode,
    settle_dead,
    settle_done,
    settle_failed,
    settle_one,
    stranded,
    take_back_readdressed,
    trace,
    tree,
    try_liveness,
);

/// The statements of one schema.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) sql: Queries,
    pub(crate) schema: String,
    /// First key of every advisory lock, and part of every channel's name: two schemas never meet.
    pub(crate) space: i32,
}

impl Store {
    pub(crate) fn new(schema: &str) -> Self {
        Self { sql: Queries::render(schema), schema: schema.to_owned(), space: migrate::space(schema) }
    }

    /// Prepares what claims and settles run most.
    pub(crate) async fn prepare_hot<C: GenericClient>(&self, c: &C) -> Result<()> {
        let hot = try_join(c.prepare_cached(&self.sql.claim), c.prepare_cached(&self.sql.settle_done));
        hot.await.map(|_| ()).map_err(|e| Error::database("start: prepare statements", e))
    }

    /// Runs a statement that was prepared once per connection, and names the phase in its error.
    async fn query<C: GenericClient>(
        &self,
        c: &C,
        phase: impl Fn() -> String,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<PgRow>> {
        let statement = c.prepare_cached(sql).await.map_err(|e| Error::database(phase(), e))?;
        c.query(&statement, params).await.map_err(|e| Error::database(phase(), e))
    }
}

/// The id column of rows that answer ids only.
fn ids(rows: &[PgRow]) -> Vec<i64> {
    rows.iter().map(|r| r.get(0)).collect()
}
