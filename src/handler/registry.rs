//! Which handlers a queue has, and how one is called whose message type is no longer visible.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use super::{AnyHandler, Context, Failure, Handler};
use crate::{Error, Result, codec::Encoded, message::Message};

/// What a call of a handler ended with.
pub(crate) enum Judgement {
    Done,
    Failed(Failure),
    /// Another instance may be able to decode it.
    Undecodable(String),
    /// Nobody can: the error kind and why.
    Malformed(&'static str, String),
}

type Called<'a> = Pin<Box<dyn Future<Output = Judgement> + Send + 'a>>;

/// A handler whose message type is no longer visible.
pub(crate) trait Erased: Send {
    fn call<'a>(&'a mut self, cx: &'a mut Context<'_>) -> Called<'a>;
}

struct Typed<H>(H);

impl<H: Handler> Erased for Typed<H> {
    fn call<'a>(&'a mut self, cx: &'a mut Context<'_>) -> Called<'a> {
        Box::pin(handle(&mut self.0, cx))
    }
}

/// A typed handler that stays its caller's.
pub(crate) struct Borrowed<'h, H>(pub(crate) &'h mut H);

impl<H: Handler> Erased for Borrowed<'_, H> {
    fn call<'a>(&'a mut self, cx: &'a mut Context<'_>) -> Called<'a> {
        Box::pin(handle(self.0, cx))
    }
}

/// Decode, validate, handle.
async fn handle<H: Handler>(handler: &mut H, cx: &mut Context<'_>) -> Judgement {
    let incoming = cx.incoming();
    let encoded = Encoded { version: incoming.version, codec: incoming.codec, body: &incoming.body };
    let message = match <H::Message as Message>::decode(encoded) {
        Ok(message) => message,
        Err(e) if e.is_unsupported() => return Judgement::Undecodable(e.to_string()),
        Err(e) => return Judgement::Malformed("invalid_format", format!("invalid_format: {e}")),
    };
    if let Err(why) = message.validate() {
        return Judgement::Malformed("invalid_message", why);
    }
    handler.handle(message, cx).await.map_or_else(Judgement::Failed, |()| Judgement::Done)
}

struct Any<H>(H);

impl<H: AnyHandler> Erased for Any<H> {
    fn call<'a>(&'a mut self, cx: &'a mut Context<'_>) -> Called<'a> {
        Box::pin(async move { self.0.handle(cx).await.map_or_else(Judgement::Failed, |()| Judgement::Done) })
    }
}

/// Builds a worker's own handler.
pub(crate) type Factory = Arc<dyn Fn() -> Box<dyn Erased> + Send + Sync>;

/// Which handlers a queue has.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    by_kind: HashMap<&'static str, (u16, Factory)>,
    any: Option<Factory>,
}

impl Registry {
    pub(crate) fn add<H: Handler>(&mut self, build: impl Fn() -> H + Send + Sync + 'static) -> Result<()> {
        let kind = <H::Message as Message>::KIND;
        let factory: Factory = Arc::new(move || Box::new(Typed(build())));
        match self.by_kind.insert(kind, (H::Message::VERSION, factory)) {
            None => Ok(()),
            Some(_) => Err(Error::config(
                format!("queue \"{}\"", <H::Message as Message>::QUEUE),
                format!("two handlers for kind \"{kind}\""),
            )),
        }
    }

    pub(crate) fn add_any<H: AnyHandler>(&mut self, build: impl Fn() -> H + Send + Sync + 'static) {
        self.any = Some(Arc::new(move || Box::new(Any(build()))));
    }

    pub(crate) fn find(&self, kind: &str) -> Option<&Factory> {
        self.by_kind.get(kind).map(|(_, f)| f).or(self.any.as_ref())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_kind.is_empty() && self.any.is_none()
    }

    /// `{"kind": newest version}`, as an instance advertises it.
    pub(crate) fn decodes(&self) -> serde_json::Value {
        let mut map: serde_json::Map<String, serde_json::Value> =
            self.by_kind.iter().map(|(kind, (version, _))| ((*kind).to_owned(), (*version).into())).collect();
        if self.any.is_some() {
            map.insert("*".into(), u16::MAX.into());
        }
        map.into()
    }
}
