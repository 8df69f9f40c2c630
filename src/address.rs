//! Addresses inside the tree: where a message to an actor goes, across the actor's restarts.
//!
//! ractor's `ActorRef` dies with its actor. A supervised actor writes itself into its [`Address`] when it starts, so that
//! nobody has to be told of a restart. An [`Outlet`] is an address seen from below: a lower file states the type it
//! sends up and never names the actor above (invariant: no upward import).

use std::sync::{Arc, RwLock};

use ractor::ActorRef;

/// Where the current incarnation of an actor is reached.
pub(crate) struct Address<M: 'static> {
    current: Arc<RwLock<Option<ActorRef<M>>>>,
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { current: self.current.clone() }
    }
}

impl<M> Default for Address<M> {
    fn default() -> Self {
        Self { current: Arc::default() }
    }
}

impl<M: ractor::Message> Address<M> {
    /// Called by an actor as it starts.
    pub(crate) fn occupy(&self, actor: ActorRef<M>) {
        *self.current.write().unwrap_or_else(|e| e.into_inner()) = Some(actor);
    }

    /// Sends; gives the message back when nobody lives there now.
    pub(crate) fn cast(&self, message: M) -> Result<(), M> {
        let current = self.current.read().unwrap_or_else(|e| e.into_inner());
        match &*current {
            None => Err(message),
            Some(actor) => match actor.cast(message) {
                Ok(()) => Ok(()),
                Err(ractor::MessagingErr::SendErr(message)) => Err(message),
                // Neither can happen to a typed reference that never was a channel's receiving end.
                Err(ractor::MessagingErr::ChannelClosed | ractor::MessagingErr::InvalidActorType) => Ok(()),
            },
        }
    }

    /// Sends a signal whose loss does not matter: a restarted actor looks at everything anyway.
    pub(crate) fn signal(&self, message: M) {
        let _ = self.cast(message);
    }

    /// The same place, seen by a lower file as a taker of `T`.
    pub(crate) fn outlet<T: 'static>(&self, wrap: impl Fn(T) -> M + Send + Sync + 'static) -> Outlet<T> {
        let to = self.clone();
        Outlet(Arc::new(move |value| to.signal(wrap(value))))
    }
}

/// Takes values of one type upward.
pub(crate) struct Outlet<T>(Arc<dyn Fn(T) + Send + Sync>);

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Outlet<T> {
    #[cfg(test)]
    pub(crate) fn new(take: impl Fn(T) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    pub(crate) fn send(&self, value: T) {
        (self.0)(value);
    }
}
