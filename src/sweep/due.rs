//! Rows that wait for a time: the leader's timer, and what it promotes.

use std::time::{Duration, Instant};

use ractor::ActorRef;

use super::{Msg, SWEEP_BATCH_MAX, State, Sweeper};
use crate::Result;

/// Wait before a promotion that failed is tried again, in ms.
const PROMOTE_RETRY_MS: u64 = 500;

/// One timer at a time, the earliest asked for: each heartbeat that finds rows due, and each failure, would else add one of its own.
fn wake_at(myself: &ActorRef<Msg>, wait: Duration, state: &mut State) {
    let at = Instant::now() + wait;
    if state.due_at.is_none_or(|earlier| at < earlier) {
        state.due_at = Some(at);
        myself.send_after(wait, move || Msg::DueNow(at));
    }
}

impl Sweeper {
    /// A row was scheduled that may fall due before the timer.
    pub(super) async fn due(&self, myself: &ActorRef<Msg>, state: &mut State) -> Result<()> {
        self.wiring.announced.taken();
        if !state.leads {
            return Ok(());
        }
        let next = async { self.wiring.store.next_due(&self.connection().await?).await };
        if let Some(due_ms) = self.answered("next due", next).await? {
            self.set_timer(myself, due_ms, state).await?;
        }
        Ok(())
    }

    /// Promotes at once what is due, else sets the timer when it is due before a heartbeat would tell again.
    pub(super) async fn set_timer(&self, myself: &ActorRef<Msg>, due_ms: f64, state: &mut State) -> Result<()> {
        if due_ms <= 0.0 {
            return self.promote(myself, state).await;
        }
        if due_ms > 2.0 * self.wiring.config.heartbeat_ms as f64 {
            return Ok(());
        }
        // Rounded up: a timer that fires a fraction too early would find nothing.
        wake_at(myself, Duration::from_secs_f64(due_ms / 1_000.0) + Duration::from_millis(1), state);
        Ok(())
    }

    pub(super) async fn promote(&self, myself: &ActorRef<Msg>, state: &mut State) -> Result<()> {
        if !state.leads {
            return Ok(());
        }
        let next = async {
            let c = self.connection().await?;
            while self.wiring.store.promote(&c, SWEEP_BATCH_MAX).await? >= SWEEP_BATCH_MAX as u64 {}
            self.wiring.store.next_due(&c).await
        };
        match self.answered("promote", next).await {
            Ok(Some(due_ms)) => {
                let wait = Duration::from_secs_f64(due_ms.max(0.0) / 1_000.0) + Duration::from_millis(1);
                if wait <= 2 * self.wiring.config.heartbeat() {
                    wake_at(myself, wait, state);
                }
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(e) => {
                wake_at(myself, Duration::from_millis(PROMOTE_RETRY_MS), state);
                Err(e)
            }
        }
    }
}
