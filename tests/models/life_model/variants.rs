//! The design of a claimed message's life, and the simplifications of it that lose, double or reorder.

/// Which rule, if any, is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Design,
    /// A settle matches the id alone.
    SettleUnfenced,
    /// A message has one token for all its claims: who takes it back leaves the token as it is.
    RescueKeepsToken,
    /// Tokens are counted, and a crash that forgets a claim forgets the number.
    TokenCounted,
    /// A hand-back matches the id alone.
    HandBackUnfenced,
    /// A session is rescued though its liveness lock is held and its lease is not over.
    RescueUnasked,
    /// A session is rescued when its lock is free, also just after a crash of the server, when all are.
    RescueWithoutGrace,
    /// A rescue does not count the try.
    RescueCostsNothing,
    /// A message that a rescue puts among the dead keeps its key.
    RescueKeepsKey,
    /// A claim of a message with a key does not wait for the disk.
    KeyedClaimVolatile,
    /// Claims go on not to wait for the disk after a crash of the server.
    NeverWary,
    /// The key is freed when the handler has ended, before its settle is written.
    KeyFreedEarly,
    /// The key is freed by a transaction of its own, after the settle's.
    KeyFreedApart,
    /// The effect is committed before the settle, not with it.
    EffectApart,
    /// A message whose handler's COMMIT was not answered is taken for done.
    UnknownCommitDone,
    /// The orphan check hands back what is in our name, whoever answers for it.
    OrphansWithoutLedger,
    /// Nobody looks for claims whose answer was lost.
    OrphansUnsought,
    /// An answer that comes after its rows were handed back is taken as any other.
    LateAnswerTaken,
}
