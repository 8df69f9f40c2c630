//! Word that rows were scheduled, on its way from the listener to the sweeper.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether word that rows were scheduled is on its way to the sweeper: a flood of notifications is one look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announced(Arc<AtomicBool>);

impl Announced {
    /// Whether it must be sent on. If not, a look that begins later will see those rows, too.
    pub(crate) fn is_news(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }

    /// A look begins; or a new sweeper has come, to whom nothing is on its way.
    pub(crate) fn taken(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: each row that is scheduled asks for a look of its own, and deaths wait behind all of them; or one that comes while a look is
    /// under way is not looked for.
    #[test]
    fn a_flood_is_one_look_and_what_comes_during_it_another() {
        let announced = Announced::default();
        let told = (0..1_000).filter(|_| announced.is_news()).count();
        assert_eq!(told, 1);
        announced.taken();
        assert_eq!([announced.is_news(), announced.is_news()], [true, false]);
    }
}
