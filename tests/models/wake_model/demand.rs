//! Who could start what now: lanes, classes and free workers.

use super::scenario::{Class, Scenario};
use super::state::{Mask, Runtime, State, bit, has};
use super::variants::Variant;

impl Scenario {
    /// The wake key that publisher `p` touches.
    pub(crate) fn key_of(&self, p: usize) -> usize {
        self.lanes[self.publishers[p].lane].key
    }

    pub(crate) fn serves(&self, r: usize, lane: usize) -> bool {
        has(self.instances[r].serves, lane)
    }

    pub(crate) fn serves_key(&self, r: usize, k: usize) -> bool {
        self.lanes_of(k).any(|lane| self.serves(r, lane))
    }

    pub(crate) fn lanes_of(&self, k: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.lanes.len()).filter(move |&lane| self.lanes[lane].key == k)
    }

    pub(crate) fn uses_row_flag(&self) -> bool {
        self.is(Variant::RowFlag) || self.is(Variant::RowFlagAndXip)
    }

    /// Has `r` a free worker for a message of `lane`?
    pub(crate) fn slot_free(&self, r: usize, runtime: &Runtime, lane: usize) -> bool {
        let normal = runtime.busy_normal < self.instances[r].normal_slots;
        let high = runtime.busy_high < self.instances[r].high_slots;
        normal || (high && self.lanes[lane].class == Class::High)
    }

    /// Does `r` think that it wants messages of `lane`? W4: a free high-only worker is demand for
    /// high, whatever the normal workers do.
    pub(crate) fn wants(&self, state: &State, r: usize, lane: usize) -> bool {
        let runtime = &state.runtimes[r];
        if self.is(Variant::HighSlotIgnored) && runtime.busy_normal == self.instances[r].normal_slots {
            return false;
        }
        self.serves(r, lane)
            && !runtime.stopping
            && !(lane == 0 && runtime.paused_view)
            && self.slot_free(r, runtime, lane)
    }

    /// Ought it to want them, by what the database says?
    pub(crate) fn ought_to_want(&self, state: &State, r: usize, lane: usize) -> bool {
        let runtime = &state.runtimes[r];
        self.serves(r, lane)
            && runtime.alive
            && !runtime.stopping
            && !(lane == 0 && state.paused)
            && self.slot_free(r, runtime, lane)
    }

    /// The lanes that `r` wants.
    pub(crate) fn demand(&self, state: &State, r: usize) -> Mask {
        let wanted = (0..self.lanes.len()).filter(|&lane| self.wants(state, r, lane));
        wanted.fold(0, |mask, lane| mask | bit(lane))
    }

    /// The lanes of key `k`.
    pub(crate) fn mask_of(&self, k: usize) -> Mask {
        self.lanes_of(k).fold(0, |mask, lane| mask | bit(lane))
    }

    /// The lanes of key `k` that `r` wants.
    pub(crate) fn wanted(&self, state: &State, r: usize, k: usize) -> Mask {
        self.demand(state, r) & self.mask_of(k)
    }

    /// Does `r` want any lane of key `k`?
    pub(crate) fn wants_key(&self, state: &State, r: usize, k: usize) -> bool {
        self.lanes_of(k).any(|lane| self.wants(state, r, lane))
    }
}
