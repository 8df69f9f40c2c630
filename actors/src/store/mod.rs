//! The evolution system's tables: one statement, one file in `sql/queries`, one function here.
//!
//! Functions take any client, so that the caller chooses between a transaction and a statement on its own.

mod consensus;
mod guardian;
mod half_way;
mod init;
mod known_safe;
mod listing;
mod measured;
mod neighbours;
mod patterns;
mod profiles;
mod proposals;
mod story;
mod text;
mod transactions;
mod typed;

use std::sync::Arc;
pub use story::{Happening, happenings, link_messages, messages_about};

use tokio::sync::Mutex;
use tokio_postgres::types::{FromSqlOwned, Json};
use tokio_postgres::{Client, Row};

pub use consensus::{
    NewVote, OpenVote, admit_change, decide_consensus, forget_vote, insert_consensus, insert_vote, lock_consensus,
    note_vote, votes_on, votes_under_way,
};
pub use guardian::{
    FailedRollback, Report, Rollback, WatchedChange, close_change, complete_rollback, failed_rollbacks, insert_metrics,
    insert_rollback, lock_change, mark_stale, note_trigger, rollback_ordered, save_report, save_strategy, strategy,
};
pub(crate) use half_way::{
    DeadExecution, FoundVote, HalfWay, dead_executions, half_way, open_rollbacks, waiting_messages,
};
pub(crate) use init::init_without_queues;
pub use init::{init, init_tables};
pub use known_safe::{Known, known_safe, known_safe_code};
pub use listing::{Listed, list_proposals};
pub use measured::{gate, insert_readings, lock_readings, record_outcome, save_agent_metrics, take_readings};
pub use neighbours::{cut_short, excuse_neighbours, is_condemned, lock_neighbours, mark_suspect, watched};
pub use patterns::{
    Figures, has_trusted_pattern, learning_run, live_instances, lock_patterns, patterns, save_learning_run,
    save_pattern, save_rule, trust_patterns,
};
pub use profiles::{
    LearnedProfile, learned_profile, learned_profiles, safety_profile, save_learned_profile, save_safety_profile,
};
pub use proposals::{
    NewProposal, Proposal, Run, agent_record, agent_success, enter_applied, enter_decided, enter_executing,
    enter_failed, enter_kept, enter_rolled_back, find_proposal, insert_proposal, lock_proposal, next_proposal,
    request_rollback, send_next_proposals, send_proposal, waits_to_be_sent,
};

pub(crate) use transactions::{XactEnd, begin_try, current_xact, end_try, undo_try, xact_end};

/// What the database answered.
pub type Result<T, E = tokio_postgres::Error> = std::result::Result<T, E>;

/// The text of a statement, by its file's name.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("../../sql/queries/", $name, ".sql"))
    };
}
pub(crate) use sql;

/// A JSON column.
fn json<T>(row: &Row, column: &str) -> Result<T>
where
    Json<T>: FromSqlOwned,
{
    row.try_get::<_, Json<T>>(column).map(|value| value.0)
}

/// A JSON column that may be null.
fn json_or_none<T>(row: &Row, column: &str) -> Result<Option<T>>
where
    Json<T>: FromSqlOwned,
{
    Ok(row.try_get::<_, Option<Json<T>>>(column)?.map(|value| value.0))
}

/// A connection for statements outside of handlers' transactions, made anew when it breaks. Statements of several
/// callers run on it one after another; nobody may open a transaction on it.
pub struct Database {
    url: String,
    client: Mutex<Option<Arc<Client>>>,
}

impl Database {
    /// Connects at the first use.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), client: Mutex::new(None) }
    }

    /// The connection.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn client(&self) -> pgflow::Result<Arc<Client>> {
        let mut held = self.client.lock().await;
        if let Some(client) = held.as_ref().filter(|c| !c.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(pgflow::connect(&self.url, "evolution").await?);
        *held = Some(Arc::clone(&client));
        Ok(client)
    }
}
