//! Producers: one function a message, each sending as part of the caller's transaction, so that a change of state
//! and the message it causes come together or not at all.
//!
//! The documents let three of them "never fail the caller" and answer `async_failed`. Here a publish that fails fails
//! the transaction, and the handler is tried again with its state unchanged: nothing is reported that did not happen.

pub mod central;
pub mod instance;

use std::error::Error as StdError;
use std::task::Poll;

use pgflow::Receipt;
use tokio_postgres::GenericClient;
use tokio_postgres::error::{DbError, SqlState};
use uuid::Uuid;

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
pub type Result<T, E = PublishError> = std::result::Result<T, E>;

/// Sends, and links the message to the proposal that it is about.
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
    let receipt = publish(transport, client, payload, address).await?;
    if let (Some(proposal), Some(number)) = (about, receipt.and_then(|receipt| receipt.id())) {
        store::link_messages(client, &[(proposal, number)]).await?;
    }
    Ok(receipt)
}

/// Sends all in this order; by the queue alone, without waiting for one before the next is on its way.
pub(crate) async fn send_all<C, P>(
    transport: &Transport,
    client: &C,
    payloads: impl Iterator<Item = P>,
) -> Result<Vec<Option<Receipt>>>
where
    C: GenericClient + Sync,
    P: Payload,
{
    let payloads: Vec<P> = payloads.collect();
    let about: Vec<Option<Uuid>> = payloads.iter().map(Payload::proposal).collect();
    let sends = payloads.into_iter().map(|payload| publish(transport, client, payload, |out| out));
    let receipts: Vec<Option<Receipt>> = if transport.may_overlap() {
        all(in_order(sends).await)?
    } else {
        let mut receipts = Vec::new();
        for send in sends {
            receipts.push(send.await?);
        }
        receipts
    };
    let links: Vec<_> =
        about.iter().zip(&receipts).filter_map(|(about, sent)| Some(((*about)?, sent.as_ref()?.id()?))).collect();
    store::link_messages(client, &links).await?;
    Ok(receipts)
}

/// Sends a message that is yet to be linked, and tells when that fails.
pub(crate) async fn publish<C, P>(
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
    if let Err(reason) = &sent {
        let proposal_id = about.map(|id| id.to_string());
        tell!(PUBLISH_FAILED, kind = P::TYPE, proposal_id, %reason, "publishing {} failed", P::TYPE);
    }
    sent
}

/// What a broadcast came to.
pub(crate) struct Copies {
    /// How many were sent.
    pub(crate) copies: usize,
    /// Those that went by the queue; yet to be linked.
    pub(crate) receipts: Vec<Receipt>,
}

/// Sends a copy to every live instance.
pub(crate) async fn broadcast<C, P>(transport: &Transport, client: &C, payload: P) -> Result<Copies>
where
    C: GenericClient + Sync,
    P: Payload,
{
    // In memory: to the one that is here.
    let receipts = transport.broadcast(client, payload).await?;
    let copies = receipts.as_ref().map_or(1, Vec::len);
    Ok(Copies { copies, receipts: receipts.unwrap_or_default() })
}

/// An error of one of several statements that were on their way at once.
pub(crate) trait Aftermath {
    /// Whether it says no more than that another had aborted the transaction: the other's is the cause.
    fn is_aftermath(&self) -> bool;
}

impl Aftermath for PublishError {
    fn is_aftermath(&self) -> bool {
        met_an_aborted_transaction(self)
    }
}

impl Aftermath for anyhow::Error {
    fn is_aftermath(&self) -> bool {
        met_an_aborted_transaction(self.as_ref())
    }
}

fn met_an_aborted_transaction(error: &(dyn StdError + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source())
        .filter_map(|error| error.downcast_ref::<DbError>())
        .any(|error| *error.code() == SqlState::IN_FAILED_SQL_TRANSACTION)
}

/// What all answered, or the cause of their failing.
pub(crate) fn all<T, E: Aftermath>(answers: Vec<Result<T, E>>) -> Result<Vec<T>, E> {
    let (mut values, mut failed) = (Vec::with_capacity(answers.len()), None);
    for answer in answers {
        match answer {
            Ok(value) => values.push(value),
            Err(error) if failed.as_ref().is_none_or(E::is_aftermath) => failed = Some(error),
            Err(_) => {}
        }
    }
    failed.map_or(Ok(values), Err)
}

/// Both, without waiting for the one before the other is on its way, where sends may overlap.
pub(crate) async fn together<A, B, E>(
    transport: &Transport,
    one: impl Future<Output = Result<A, E>>,
    other: impl Future<Output = Result<B, E>>,
) -> Result<(A, B), E>
where
    E: Aftermath,
{
    if !transport.may_overlap() {
        return Ok((one.await?, other.await?));
    }
    match tokio::join!(one, other) {
        (Err(one), Err(other)) => Err(if one.is_aftermath() { other } else { one }),
        (one, other) => Ok((one?, other?)),
    }
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
