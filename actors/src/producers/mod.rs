//! Producers: one function a message, each publishing as part of the caller's transaction, so that a change of state
//! and the message it causes come together or not at all.
//!
//! The documents let three of them "never fail the caller" and answer `async_failed`. Here a publish that fails fails
//! the transaction, and the handler is tried again with its state unchanged: nothing is reported that did not happen.

pub mod central;
pub mod instance;

use std::task::Poll;

use pgflow::{Outgoing, Publisher, Receipt};
use tokio_postgres::GenericClient;
use uuid::Uuid;

use crate::events::{PUBLISH_FAILED, tell};
use crate::messages::Payload;
use crate::store;
use crate::wire::Wire;

/// Why a message was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// pgflow refused it, or could not.
    #[error(transparent)]
    Publish(#[from] pgflow::Error),
    /// What goes with it could not be written.
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
}

/// The result of a producer.
pub type Result<T> = std::result::Result<T, PublishError>;

/// Publishes.
pub(crate) async fn send<C, P>(
    publisher: &Publisher,
    client: &C,
    payload: P,
    address: impl FnOnce(Outgoing) -> Outgoing + Send,
) -> Result<Receipt>
where
    C: GenericClient + Sync,
    P: Payload,
{
    let about = payload.proposal();
    let receipt = publish(publisher, client, payload, address).await?;
    if let Some(proposal) = about {
        store::link_messages(client, &[(proposal, receipt.id)]).await?;
    }
    Ok(receipt)
}

/// Publishes all in this order, without waiting for one before the next is on its way.
pub(crate) async fn send_all<C, P>(
    publisher: &Publisher,
    client: &C,
    payloads: impl Iterator<Item = P>,
) -> Result<Vec<Receipt>>
where
    C: GenericClient + Sync,
    P: Payload,
{
    let payloads: Vec<P> = payloads.collect();
    let about: Vec<Option<Uuid>> = payloads.iter().map(Payload::proposal).collect();
    let sends = payloads.into_iter().map(|payload| publish(publisher, client, payload, |out| out));
    let receipts: Vec<Receipt> = in_order(sends).await.into_iter().collect::<Result<_>>()?;
    let links: Vec<_> = about.iter().zip(&receipts).filter_map(|(about, sent)| Some(((*about)?, sent.id))).collect();
    store::link_messages(client, &links).await?;
    Ok(receipts)
}

/// Publishes a message that is yet to be linked, and tells when that fails.
pub(crate) async fn publish<C, P>(
    publisher: &Publisher,
    client: &C,
    payload: P,
    address: impl FnOnce(Outgoing) -> Outgoing + Send,
) -> Result<Receipt>
where
    C: GenericClient + Sync,
    P: Payload,
{
    let about = payload.proposal();
    let sent = match Wire::outgoing(payload) {
        Ok(out) => publisher.send_in(client, address(out)).await,
        Err(refused) => Err(refused),
    };
    if let Err(reason) = &sent {
        let proposal_id = about.map(|id| id.to_string());
        tell!(PUBLISH_FAILED, kind = P::TYPE, proposal_id, %reason, "publishing {} failed", P::TYPE);
    }
    Ok(sent?)
}

/// Publishes a copy to every live instance; the copies are yet to be linked.
pub(crate) async fn broadcast<C, P>(publisher: &Publisher, client: &C, payload: P) -> Result<Vec<Receipt>>
where
    C: GenericClient + Sync,
    P: Payload,
{
    Ok(publisher.broadcast_in(client, &Wire::of(payload)).await?)
}

/// Starts all, in this order, and waits for all. What each sends first is on the connection in this order, which the server
/// keeps to.
pub(crate) async fn in_order<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        let mut waits = false;
        for (one, answer) in all.iter_mut().filter(|(_, answer)| answer.is_none()) {
            match one.as_mut().poll(cx) {
                Poll::Ready(it) => *answer = Some(it),
                Poll::Pending => waits = true,
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    all.into_iter().filter_map(|(_, answer)| answer).collect()
}
