//! The design, and the simplifications of it that lose wake-ups.

/// Which rule, if any, is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// All of W1-W9.
    Design,
    /// W1: a row flag in place of the advisory lock; the publisher reads it under its snapshot.
    RowFlag,
    /// W1: the row flag, and the scan waits for all transactions that had an xid when it was set.
    RowFlagAndXip,
    /// W1: lock and scan in one statement: its snapshot is older than the lock.
    LockAndScanInOne,
    /// W1: a wake that arrives while the gate is not asleep is dropped.
    WakeDroppedWhileAwake,
    /// W1: the woken bit is cleared when the scan is sent, not when the arm statement is.
    WakeClearedAtScan,
    /// W2: a refused exclusive try counts as "another is sentinel" without the shared try.
    RefusedMeansSentinel,
    /// W2: a woken follower scans again but does not try to arm again.
    FollowerOnlyRescans,
    /// W3: disarm is an unlock alone.
    DisarmWithoutNotify,
    /// W3: free slots on a key which stayed armed for another lane cause no scan.
    RegainedDemandWithoutScan,
    /// W4: demand is judged by the normal workers alone.
    HighSlotIgnored,
    /// W6: the queued waiter is granted, or gives up, without a notify.
    WaiterWithoutNotify,
    /// W7: after a reconnect the full scan comes before LISTEN.
    ScanBeforeListen,
    /// W7: resume does not notify ctl.
    ResumeWithoutNotify,
    /// W8: a refused takeover stays asleep without the shared try of W2.
    TakeoverWithoutProbe,
    /// W8: the heartbeat only takes over; it counts no claimable rows.
    HeartbeatWithoutCount,
    /// W9: only the sentinel's death excuses a find; a claimer's death does not.
    ClaimerDeathUnexcused,
    /// W9: a death excuses one heartbeat, although its count may be older than its refusal.
    OneBeatExcused,
    /// W12: the sentinel drops what was announced for lanes which it does not serve.
    RelayOwnLanesOnly,
    /// W12: the sentinel drops what was announced for lanes which it serves and has no worker for.
    UnwantedDropped,
    /// W12: no worker is left for a lane whose key stays held, or was let go while lingering, and nobody is told.
    SaturationUntold,
    /// W12: who stops tells only when it is on duty.
    StopUntold,
    /// W12: a disarm tells of the lanes that it served, and not of the others on the key.
    DisarmTellsOwnLanesOnly,
    /// W12: a disarm looks for followers before it unlocks.
    ToldBeforeUnlock,
    /// W12: a follower enlists after its shared try.
    EnlistedLate,
    /// W12: the new sentinel tells nobody of the lanes it does not look at, once it LISTENs.
    HeardUntold,
    /// W12: the new sentinel LISTENs after its scan.
    HeardLate,
    /// W12: who is refused by a sentinel is off duty before it has looked.
    RefusedOffDuty,
    /// W5: who lets a key go to linger tells nobody of the lanes that are not its own.
    LingerTellsNobody,
    /// W5: who lets a key go to linger does not hand over when its workers are taken.
    LingerOffDuty,
    /// W12: all are told where one would do.
    EverybodyTold,
    /// Postgres: the lock is released before the commit is visible.
    UnlockBeforeVisible,
    /// Claim: locks every row it reads and takes some of them.
    ClaimLocksMoreThanItTakes,
    /// Claim: a failed claim is scanned again by the same runtime, and by nobody else.
    FailedClaimOnlyRescans,
    /// Claim: a failed claim counts as an empty scan.
    FailedClaimSleeps,
}
