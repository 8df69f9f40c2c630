//! The consumer's side of the wake-up protocol for one group of lanes, as a pure state machine.
//!
//! Rules W1-W5, W7 and W12 of ARCHITECTURE.md; the same phases and rules are checked by the model in `tests/models/wake_model`.
//! Invariant: a group with demand is asleep (Armed or Following) only after a claim that found less than it asked for,
//! issued after its keys were armed or found followed, and with no wake since.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::store::Armed;

/// Between two looks while lingering, in ms (W5).
pub(super) const LINGER_POLL_MS: u64 = 2;
/// The same after a look that found [`STREAM_ROWS`]: a claim costs as much for a few rows as for a dozen.
pub(super) const STREAM_POLL_MS: u64 = 4;
/// A look for normal and low that finds so many prolongs the lingering: that many come, again and again.
pub(super) const STREAM_ROWS: usize = 8;
/// How long to linger after a full claim or two wakes in quick succession, in ms (W5). Not after a claim of one high message, which the
/// reserved worker alone makes full: the next would wait for a look in place of waking us.
pub(super) const LINGER_MS: u64 = 20;
/// Two wakes within so long are in quick succession, in ms. Up to so many a second each publish may notify, which costs publishers
/// nothing yet, and every message is found at once in place of at the next look.
pub(super) const QUICK_WAKES_MS: u64 = 4;
/// First and longest wait between two looks while silent publishers are in flight, in ms (W2).
pub(super) const SILENT_MS: u64 = 2;
pub(super) const SILENT_MS_MAX: u64 = 50;
/// Longest wait between two looks while queueing behind them: those that come later notify (W6), in ms.
pub(super) const QUEUED_MS_MAX: u64 = 1_000;
/// First and longest wait after a claim that failed, in ms.
pub(super) const CLAIM_RETRY_MS: u64 = 50;
pub(super) const CLAIM_RETRY_MS_MAX: u64 = 2_000;

/// Between two looks in poll mode, in ms (W10).
pub(super) const POLL_MS: u64 = 250;

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Publishers need not notify: we look by ourselves.
    Awake,
    /// An arm request is under way.
    Arming,
    /// Silent publishers were in flight when we tried to arm: look, and try again at this time (W2).
    Silent(Instant),
    /// We are sentinel of every key (W1).
    Armed,
    /// Another runtime is sentinel of some key (W2); a wake there means: arm anew.
    Following,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: asleep, or an answer is awaited.
    Rest,
    /// Start a claim now.
    Claim,
    /// Ask to be armed.
    Arm,
    /// Let the keys go (W3).
    Release,
    /// Come back at this time.
    At(Instant),
}

/// One group's state.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) phase: Phase,
    /// Rows may be there that we have not looked for.
    dirty: bool,
    claiming: bool,
    linger_until: Option<Instant>,
    next_look: Option<Instant>,
    last_wake: Option<Instant>,
    /// A wake came between the arm request and its answer: it may have been the disarm of the sentinel that refused us.
    woken_while_arming: bool,
    /// Another is sentinel of some of our keys.
    follows: bool,
    /// We were sentinel of some of our keys when we last armed.
    holds: bool,
    /// Others may sleep because of us: losing our demand, we hand over to one of them (W12).
    duty: bool,
    /// We may be enlisted for some of our lanes.
    enlisted: bool,
    /// Of high messages: none waits for a look where it can wake us.
    high: bool,
    /// Nobody notifies: there are only looks (W10).
    polls: bool,
    /// The number of the last arm request: an answer to an older one says what was.
    asked: u64,
    silent_ms: u64,
    failures: u32,
    /// Counts everything that may have changed what a look would find; tells a lost wake from a late one.
    pub(super) events: u64,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            phase: Phase::Awake,
            dirty: true,
            claiming: false,
            linger_until: None,
            next_look: None,
            last_wake: None,
            woken_while_arming: false,
            follows: false,
            holds: false,
            // Nothing is known of others' sleep.
            duty: true,
            enlisted: false,
            high: false,
            polls: false,
            asked: 0,
            silent_ms: SILENT_MS,
            failures: 0,
            events: 0,
        }
    }
}

impl Gate {
    pub(super) fn high() -> Self {
        Self { high: true, ..Self::default() }
    }

    pub(super) fn asleep(&self) -> bool {
        matches!(self.phase, Phase::Armed | Phase::Following) && !self.dirty && !self.claiming
    }

    pub(super) fn dirty(&self) -> bool {
        self.dirty
    }

    pub(super) fn claiming(&self) -> bool {
        self.claiming
    }

    /// What to do now, given whether there is demand, whether a worker is free this instant, and whether arming is worth it.
    pub(super) fn step(&self, now: Instant, demand: bool, free: bool, may_arm: bool) -> Step {
        if !demand {
            // A runtime that loses its demand disarms (W3): its lock would make others notify for nothing, or sleep on it.
            return match self.phase {
                Phase::Awake | Phase::Arming => Step::Rest,
                Phase::Silent(_) | Phase::Armed | Phase::Following => Step::Release,
            };
        }
        if self.claiming || !free || self.phase == Phase::Arming {
            return Step::Rest;
        }
        if let Some(at) = self.next_look.filter(|at| *at > now) {
            return Step::At(at);
        }
        if self.dirty {
            return Step::Claim;
        }
        match self.phase {
            Phase::Awake => match self.linger_until {
                Some(until) if now < until => Step::Claim,
                _ if may_arm => Step::Arm,
                _ => Step::Rest,
            },
            Phase::Silent(at) if at <= now => Step::Arm,
            Phase::Silent(at) => Step::At(at),
            Phase::Arming | Phase::Armed | Phase::Following => Step::Rest,
        }
    }

    /// A publisher announced one of the lanes; `holds`: we are sentinel of its key. True: the keys must be let go, and we look
    /// by ourselves for a while (two wakes in quick succession: W5).
    pub(super) fn woken(&mut self, now: Instant, holds: bool) -> bool {
        let quick = self.last_wake.is_some_and(|last| now - last < Duration::from_millis(QUICK_WAKES_MS));
        self.last_wake = Some(now);
        // Nobody else heard it.
        self.duty |= holds;
        self.wake(now);
        let lingers = self.phase == Phase::Armed && quick;
        if lingers {
            self.linger_until = Some(now + Duration::from_millis(LINGER_MS));
            self.phase = Phase::Awake;
        }
        lingers
    }

    /// Another runtime told us of one of the lanes, and counts on us (W12).
    pub(super) fn told(&mut self, now: Instant) {
        self.duty = true;
        self.wake(now);
    }

    fn wake(&mut self, now: Instant) {
        self.events += 1;
        self.dirty = true;
        match self.phase {
            // It may have been the sentinel's disarm (W3): sleep again only after arming anew.
            Phase::Following => self.phase = Phase::Awake,
            Phase::Arming => self.woken_while_arming = true,
            // The same of the one key that we follow, while others are silent.
            Phase::Silent(_) if self.follows => self.phase = Phase::Silent(now),
            Phase::Awake | Phase::Silent(_) | Phase::Armed => {}
        }
    }

    /// Rows may be there for another reason: demand regained, a resume, a reconnect, a takeover.
    pub(super) fn look(&mut self) {
        self.events += 1;
        self.dirty = true;
        self.next_look = None;
    }

    pub(super) fn claim_started(&mut self) {
        self.claiming = true;
        // Cleared before the statement starts: a wake during it asks for another look.
        self.dirty = false;
        self.next_look = None;
    }

    /// A claim answered; `complete`: it looked at every lane of the group to the end.
    /// True: hand over, there is more than we can take (W5, W12).
    pub(super) fn claimed(&mut self, now: Instant, asked: usize, got: usize, complete: bool) -> bool {
        self.claiming = false;
        self.failures = 0;
        if got > 0 {
            self.events += 1;
        }
        if got >= asked {
            self.dirty = true;
            if asked > 1 || !self.high || self.polls {
                self.linger_until = Some(now + Duration::from_millis(LINGER_MS));
            }
            let asleep = matches!(self.phase, Phase::Armed | Phase::Following);
            if asleep {
                self.phase = Phase::Awake;
            }
            return asleep || self.duty;
        }
        self.dirty |= !complete;
        if self.phase == Phase::Following && !self.dirty && !self.holds {
            // Only now: the sentinel need not look at what we were told of.
            self.duty = false;
        }
        let lingers = self.phase == Phase::Awake && self.linger_until.is_some_and(|until| now < until);
        let stream = got >= STREAM_ROWS && !self.high;
        if lingers && stream {
            self.linger_until = Some(now + Duration::from_millis(LINGER_MS));
        }
        if lingers && !self.dirty {
            let wait = if stream { STREAM_POLL_MS } else { LINGER_POLL_MS };
            self.next_look = Some(now + Duration::from_millis(wait));
        }
        false
    }

    /// A claim failed: look again after a while, whatever happens.
    pub(super) fn claim_failed(&mut self, now: Instant) {
        self.claiming = false;
        self.dirty = true;
        // Others may have skipped the rows that it had locked.
        self.duty = true;
        let wait = (CLAIM_RETRY_MS << self.failures.min(6)).min(CLAIM_RETRY_MS_MAX);
        self.failures += 1;
        self.next_look = Some(now + Duration::from_millis(wait));
    }

    /// Instead of arming, in the mode where nobody notifies: look again after a while (W10).
    pub(super) fn poll(&mut self, now: Instant) {
        self.dirty = true;
        self.polls = true;
        self.next_look = Some(now + Duration::from_millis(POLL_MS));
    }

    /// An arm request of this number goes out.
    pub(super) fn arming(&mut self, number: u64) {
        self.phase = Phase::Arming;
        self.polls = false;
        self.asked = number;
        self.woken_while_arming = false;
    }

    /// Whether the answer to the arm request of this number is awaited.
    pub(super) fn awaits(&self, number: u64) -> bool {
        self.phase == Phase::Arming && self.asked == number
    }

    /// The arm request answered, with this for the most wakeful of its keys; `holds`: we are sentinel of some of them; `follows`:
    /// another is. The scan comes after it, as a later statement (W1).
    pub(super) fn armed(&mut self, now: Instant, answer: Armed, holds: bool, follows: bool) {
        self.dirty = true;
        self.follows = follows;
        self.holds = holds;
        self.enlisted |= answer != Armed::Held;
        self.duty |= holds;
        let mut silent = |most: u64| {
            let wait = self.silent_ms.min(most);
            self.silent_ms = (wait * 2).min(most);
            // The refusal of the key that we follow is older than the wake: ask again at once.
            let wait = if follows && self.woken_while_arming { 0 } else { wait };
            Phase::Silent(now + Duration::from_millis(wait))
        };
        self.phase = match answer {
            Armed::Silent => silent(SILENT_MS_MAX),
            Armed::Queued => silent(QUEUED_MS_MAX),
            Armed::Held => Phase::Armed,
            // The refusal is older than the wake: nobody may be sentinel any more, so arm anew after the scan (W2).
            Armed::Followed if self.woken_while_arming => Phase::Awake,
            Armed::Followed => Phase::Following,
        };
        if matches!(answer, Armed::Held | Armed::Followed) {
            self.silent_ms = SILENT_MS;
        }
    }

    /// A turn in the lock queue of one of our keys is over (W6): look, and arm anew, and soon again if it is still silent.
    pub(super) fn turned(&mut self) {
        self.silent_ms = SILENT_MS;
        if matches!(self.phase, Phase::Silent(_) | Phase::Following) {
            self.phase = Phase::Awake;
        }
        self.look();
    }

    /// Whether a claim that failed is waited after: nothing is claimed meanwhile.
    pub(super) fn retries(&self, now: Instant) -> bool {
        self.failures > 0 && self.next_look.is_some_and(|at| at > now)
    }

    /// The keys were let go, or lost with the connection.
    pub(super) fn released(&mut self) {
        self.phase = Phase::Awake;
    }

    /// Others may sleep because of us from now on.
    pub(super) fn take_duty(&mut self) {
        self.duty = true;
    }

    /// We took a key over from a sentinel that is gone.
    pub(super) fn took_over(&mut self) {
        self.look();
        (self.holds, self.duty) = (true, true);
    }

    /// Gives duty and place on the lists up. Answers whether others sleep because of us, and whether there is anything to give up.
    pub(super) fn hand_over(&mut self) -> (bool, bool) {
        let duty = std::mem::take(&mut self.duty);
        (duty, std::mem::take(&mut self.enlisted) || duty)
    }
}
