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
    /// Postgres: the lock is released before the commit is visible.
    UnlockBeforeVisible,
    /// Claim: locks every row it reads and takes some of them.
    ClaimLocksMoreThanItTakes,
    /// Claim: a failed claim is scanned again by the same runtime, and by nobody else.
    FailedClaimOnlyRescans,
    /// Claim: a failed claim counts as an empty scan.
    FailedClaimSleeps,
}
