//! Producers: one function a message, each publishing as part of the caller's transaction, so that a change of state
//! and the message it causes come together or not at all.
//!
//! The documents let three of them "never fail the caller" and answer `async_failed`. Here a publish that fails fails
//! the transaction, and the handler is tried again with its state unchanged: nothing is reported that did not happen.

pub mod central;
pub mod instance;

use pgflow::{Outgoing, Publisher, Receipt, Result};
use tokio_postgres::GenericClient;

use crate::events::{PUBLISH_FAILED, tell};
use crate::messages::Payload;
use crate::wire::Wire;

/// Publishes, and tells when that fails.
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
    let sent = match Wire::outgoing(payload) {
        Ok(out) => publisher.send_in(client, address(out)).await,
        Err(refused) => Err(refused),
    };
    if let Err(reason) = &sent {
        tell!(PUBLISH_FAILED, kind = P::TYPE, %reason, "publishing {} failed", P::TYPE);
    }
    sent
}
