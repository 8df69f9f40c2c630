//! The proposal queue as a library (domain §5.2): what an agent asks of it, and what it refuses, in the documented words.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};
use uuid::Uuid;

use crate::producers::PublishError;
use crate::producers::instance::{order_execution, propose_for_consensus};
use crate::proposal::State;
use crate::store::{self, Listed, Proposal};
use crate::tag::tagged;
use crate::transport::Transport;

tagged! {
    /// What the queue answers in place of what it was asked for.
    pub enum Refusal {
        /// Nothing waits that could be sent now.
        NoProposals = "no_proposals",
        /// There is no such proposal.
        NotFound = "not_found",
        /// It is past the state that this needs.
        NotPending = "not_pending",
        /// Another open change holds its target; it is sent when that one is over.
        TargetBusy = "target_busy",
        /// The vote is not over.
        ConsensusPending = "consensus_pending",
        /// The vote went against it, or too few voted.
        ConsensusRejected = "consensus_rejected",
    }
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The queue's own answer.
    #[error("{0}")]
    Refused(Refusal),
    /// The database, or a message that it refused.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<tokio_postgres::Error> for QueueError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            // Only one index can be violated by a change of state.
            Some(&SqlState::UNIQUE_VIOLATION) => Self::Refused(Refusal::TargetBusy),
            _ => Self::Failed(error.into()),
        }
    }
}

impl From<PublishError> for QueueError {
    fn from(error: PublishError) -> Self {
        Self::Failed(error.into())
    }
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, QueueError>;

const fn refuse<T>(why: Refusal) -> Result<T> {
    Err(QueueError::Refused(why))
}

/// The proposal that would be sent next: the best score now, its target free.
///
/// # Errors
/// `no_proposals`; the database.
pub async fn next_proposal<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<Proposal> {
    store::next_proposal(client, instance).await?.map_or_else(|| refuse(Refusal::NoProposals), Ok)
}

/// Sends a waiting proposal to central, out of turn: state and message in one transaction.
///
/// # Errors
/// `not_found`, `not_pending`, `target_busy`; the database.
pub async fn send_for_consensus(transport: &Transport, client: &mut Client, id: Uuid) -> Result<()> {
    let tx = client.transaction().await?;
    let Some(sent) = store::send_proposal(&tx, id).await? else {
        let known = store::find_proposal(&tx, id).await?.is_some();
        return refuse(if known { Refusal::NotPending } else { Refusal::NotFound });
    };
    propose_for_consensus(transport, &tx, &[sent]).await?;
    tx.commit().await?;
    Ok(())
}

/// The approved proposal.
///
/// # Errors
/// `not_found`, `consensus_pending`, `consensus_rejected`; the database.
pub async fn check_consensus_result<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<Proposal> {
    let proposal = get_proposal(client, id).await?;
    match proposal.status {
        State::Pending | State::SentForConsensus => refuse(Refusal::ConsensusPending),
        State::ConsensusFailed => refuse(Refusal::ConsensusRejected),
        _ => Ok(proposal),
    }
}

/// Orders an approved proposal to be executed on its instance. An approval orders it already; a second order finds the
/// state that the first left, and does nothing twice.
///
/// # Errors
/// Those of [`check_consensus_result`].
pub async fn apply_proposal<C: GenericClient + Sync>(transport: &Transport, client: &C, id: Uuid) -> Result<()> {
    let proposal = check_consensus_result(client, id).await?;
    order_execution(transport, client, &proposal, None).await?;
    Ok(())
}

/// Where a proposal stands.
///
/// # Errors
/// `not_found`; the database.
pub async fn get_status<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<State> {
    Ok(get_proposal(client, id).await?.status)
}

/// A proposal in full.
///
/// # Errors
/// `not_found`; the database.
pub async fn get_proposal<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<Proposal> {
    store::find_proposal(client, id).await?.map_or_else(|| refuse(Refusal::NotFound), Ok)
}

/// Most proposals of one list.
pub const LIST_MAX: i64 = 1_000;

/// Proposals in these states (any, if none is named) of this instance (of all, if none is): the best score first.
///
/// # Errors
/// The database.
pub async fn list<C: GenericClient + Sync>(
    client: &C,
    instance: Option<&str>,
    states: &[State],
) -> Result<Vec<Listed>> {
    Ok(store::list_proposals(client, instance, states, LIST_MAX).await?)
}

/// Those that wait to be sent.
///
/// # Errors
/// The database.
pub async fn list_pending<C: GenericClient + Sync>(client: &C, instance: Option<&str>) -> Result<Vec<Listed>> {
    list(client, instance, &[State::Pending]).await
}

/// Those that wait for central's result.
///
/// # Errors
/// The database.
pub async fn list_awaiting_consensus<C: GenericClient + Sync>(
    client: &C,
    instance: Option<&str>,
) -> Result<Vec<Listed>> {
    list(client, instance, &[State::SentForConsensus]).await
}

/// Those under way.
///
/// # Errors
/// The database.
pub async fn list_executing<C: GenericClient + Sync>(client: &C, instance: Option<&str>) -> Result<Vec<Listed>> {
    list(client, instance, &[State::Executing]).await
}
