//! Producers: one function a message, each sending as part of the caller's transaction, so that a change of state
//! and the message it causes come together or not at all.
//!
//! The documents let three of them "never fail the caller" and answer `async_failed`. Here a publish that fails fails
//! the transaction, and the handler is tried again with its state unchanged: nothing is reported that did not happen.

pub mod central;
pub mod instance;

use pgflow::Receipt;
use tokio_postgres::GenericClient;

use crate::events::{PUBLISH_FAILED, tell};
use crate::messages::Payload;
use crate::store;
use crate::transport::{Address, DirectError, Transport};

/// Why a message was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// pgflow refused it, or could not.
    #[error(transparent)]
    Publish(#[from] pgflow::Error),
    /// Memory does not take it.
    #[error(transparent)]
    Direct(#[from] DirectError),
    /// What goes with it could not be written.
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
}

/// The result of a producer.
pub type Result<T> = std::result::Result<T, PublishError>;

/// Sends, and tells when that fails.
pub(crate) async fn send<C, P>(
    transport: &Transport,
    client: &C,
    payload: P,
    address: impl FnOnce(Address) -> Address + Send,
) -> Result<Option<Receipt>>
where
    C: GenericClient + Sync,
    P: Payload,
{
    let about = payload.proposal();
    let sent = transport.send(client, payload, address(Address::default())).await;
    match (&sent, about) {
        (Ok(Some(receipt)), Some(proposal)) => store::link_messages(client, proposal, &[receipt.id]).await?,
        (Ok(_), _) => {}
        (Err(reason), _) => {
            let proposal_id = about.map(|id| id.to_string());
            tell!(PUBLISH_FAILED, kind = P::TYPE, proposal_id, %reason, "publishing {} failed", P::TYPE);
        }
    }
    sent
}

/// Sends a copy to every live instance; answers how many.
pub(crate) async fn broadcast<C, P>(transport: &Transport, client: &C, payload: P) -> Result<usize>
where
    C: GenericClient + Sync,
    P: Payload,
{
    let about = payload.proposal();
    // In memory: to the one that is here.
    let Some(receipts) = transport.broadcast(client, payload).await? else { return Ok(1) };
    if let Some(proposal) = about {
        let ids: Vec<i64> = receipts.iter().map(|receipt| receipt.id).collect();
        store::link_messages(client, proposal, &ids).await?;
    }
    Ok(receipts.len())
}
