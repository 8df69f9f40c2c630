//! Consumers: one file a message. Each takes a valid payload and answers the documented tag.

pub(crate) mod central;
pub(crate) mod instance;

use pgflow::{Context, Failure, Handler};

use crate::messages::Payload;
use crate::wire::Wire;

/// Takes the messages of one type.
pub(crate) trait Consume: Send + 'static {
    /// Which.
    type Payload: Payload;

    /// Takes one; answers what became of it, in the documented word. `?` means: again, later.
    fn consume(
        &mut self,
        message: Self::Payload,
        cx: &Context<'_>,
    ) -> impl Future<Output = Result<&'static str, Failure>> + Send;
}

/// A consumer as pgflow calls it.
pub(crate) struct Consumer<C>(pub(crate) C);

impl<C: Consume> Handler for Consumer<C> {
    type Message = Wire<C::Payload>;

    async fn handle(&mut self, message: Self::Message, cx: &mut Context<'_>) -> Result<(), Failure> {
        let payload = message.into_payload().map_err(Failure::dead)?;
        let tag = self.0.consume(payload, cx).await?;
        tracing::debug!(target: "evolution", kind = C::Payload::TYPE, id = cx.id(), tag, "consumed");
        Ok(())
    }
}

/// The tag of a repeat.
pub(crate) const ALREADY_PROCESSED: &str = "already_processed";
/// The tag of something that has no effect any more.
pub(crate) const NOT_APPLICABLE: &str = "not_applicable";
