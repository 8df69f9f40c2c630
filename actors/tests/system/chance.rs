//! Chance that can be had again: everything random in a test comes from one number, which a failure prints.

/// A small generator (splitmix64): the same numbers for the same seed, on every machine.
pub struct Chance(u64);

/// Names the seed when the test fails.
pub struct Told(u64);

impl Chance {
    /// From the environment's `SEED`, else from the clock.
    pub fn new() -> (Self, Told) {
        let seed = std::env::var("SEED").map_or_else(
            |_| u64::from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()),
            |text| text.parse().expect("SEED is a number"),
        );
        println!("SEED={seed}");
        (Self(seed), Told(seed))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of the range.
    pub fn within(&mut self, range: std::ops::Range<usize>) -> usize {
        range.start + usize::try_from(self.next() % range.len() as u64).unwrap()
    }

    /// Any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.within(0..last + 1));
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again with: SEED={}", self.0);
        }
    }
}
