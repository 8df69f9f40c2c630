//! Wake-up model.
mod wake_model {
    pub(crate) mod check;
    pub(crate) mod claim;
    pub(crate) mod demand;
    pub(crate) mod gate;
    pub(crate) mod model;
    pub(crate) mod postgres;
    pub(crate) mod properties;
    pub(crate) mod publisher;
    pub(crate) mod runtime;
    pub(crate) mod scenario;
    pub(crate) mod state;
    pub(crate) mod variants;
}
use wake_model::check::verify;
use wake_model::scenario::{Class, Isolation, Scenario};
use Isolation::{ReadCommitted as RC, RepeatableRead as RR};

#[test]
fn one_lane() {
    verify(Scenario::new("one lane").publisher(0, RC).publisher(0, RR).runtime(&[0], 1, 0).runtime(&[0], 1, 0).rolling_back());
}
