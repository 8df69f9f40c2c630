//! What a measurement says: figures, each with its floor, and the machine they hold for.

use serde::Serialize;
use tokio_postgres::Client;

use super::arena::failed;
use crate::Result;

/// A measurement's outcome.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Where it was measured.
    pub machine: Machine,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// Settings without which a figure says nothing.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Machine {
    /// The server's version.
    pub server: String,
    /// The server's `fsync`.
    pub fsync: String,
    /// The server's `synchronous_commit`, as our connections get it.
    pub synchronous_commit: String,
    /// The server's `shared_buffers`.
    pub shared_buffers: String,
    /// Cores that this process may use; a local server shares them.
    pub cores: usize,
    /// `release` or `debug`: a debug build says little.
    pub build: &'static str,
}

impl Machine {
    /// Asks the server that this connection leads to.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ask(client: &Client) -> Result<Self> {
        let sql = "SELECT current_setting('server_version'), current_setting('fsync'), \
                   current_setting('synchronous_commit'), current_setting('shared_buffers')";
        let row = client.query_one(sql, &[]).await.map_err(failed)?;
        Ok(Self {
            server: row.get(0),
            fsync: row.get(1),
            synchronous_commit: row.get(2),
            shared_buffers: row.get(3),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        })
    }
}

/// One quantity, ours and the floor's.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Each round, in order.
    pub rounds: Vec<Round>,
    /// The median of the rounds' floors.
    pub floor: Amount,
    /// The median of the rounds' own.
    pub pgflow: Amount,
    /// The median of the rounds' ratios, pgflow / floor: of p50 for a time and of a cost (1 from above is best), of the rate (from
    /// below).
    pub ratio: f64,
}

/// One round of a figure.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Round {
    /// What plain SQL needed.
    pub floor: Amount,
    /// What pgflow needed.
    pub pgflow: Amount,
}

/// A time, a rate or a cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Amount {
    /// A time in µs. Below zero: the handler started before the publisher was told of its commit.
    Time {
        /// Half of the samples are not above it.
        p50_us: i64,
        /// 99 of 100 samples are not above it.
        p99_us: i64,
    },
    /// Messages a second.
    Rate {
        /// How many.
        per_s: i64,
    },
    /// What something takes, in the unit that the figure's name ends with.
    Cost {
        /// How much.
        amount: f64,
    },
}

impl Amount {
    pub(super) fn rate(messages: usize, seconds: f64) -> Self {
        Self::Rate { per_s: (messages as f64 / seconds).round() as i64 }
    }

    pub(super) fn cost(amount: f64) -> Self {
        Self::Cost { amount: shown(amount) }
    }

    fn p99(self) -> Option<f64> {
        if let Self::Time { p99_us, .. } = self { Some(p99_us as f64) } else { None }
    }

    /// What a ratio is made of.
    fn main(self) -> f64 {
        match self {
            Self::Time { p50_us, .. } => p50_us as f64,
            Self::Rate { per_s } => per_s as f64,
            Self::Cost { amount } => amount,
        }
    }

    fn median(amounts: &[Self]) -> Self {
        // Whole numbers far below 2^53: they come back as they went in.
        let whole = |of: fn(&Self) -> i64| median(amounts.iter().map(|a| of(a) as f64).collect()) as i64;
        let tail = |a: &Self| a.p99().unwrap_or_default() as i64;
        let main = |a: &Self| a.main() as i64;
        match amounts.first() {
            Some(Self::Time { .. }) => Self::Time { p50_us: whole(main), p99_us: whole(tail) },
            Some(Self::Cost { .. }) => Self::Cost { amount: median(amounts.iter().map(|a| a.main()).collect()) },
            _ => Self::Rate { per_s: whole(main) },
        }
    }
}

impl Round {
    pub(super) fn new(pgflow: Amount, floor: Amount) -> Self {
        Self { floor, pgflow }
    }

    fn ratio(self) -> f64 {
        ratio(self.pgflow.main(), self.floor.main())
    }
}

impl Figure {
    pub(super) fn new(name: impl Into<String>, rounds: Vec<Round>) -> Self {
        let amounts = |of: fn(&Round) -> Amount| rounds.iter().map(of).collect::<Vec<_>>();
        Self {
            name: name.into(),
            floor: Amount::median(&amounts(|r| r.floor)),
            pgflow: Amount::median(&amounts(|r| r.pgflow)),
            ratio: shown(median(rounds.iter().map(|r| r.ratio()).collect())),
            rounds,
        }
    }

    /// Of a time, the median of the rounds' ratios of p99, pgflow / floor.
    pub fn p99_ratio(&self) -> Option<f64> {
        let each: Option<Vec<f64>> = self.rounds.iter().map(|r| Some(ratio(r.pgflow.p99()?, r.floor.p99()?))).collect();
        each.filter(|each| !each.is_empty()).map(|each| shown(median(each)))
    }
}

/// A floor of nothing at all (a cost too small to be seen) is taken for the smallest that is shown.
fn ratio(pgflow: f64, floor: f64) -> f64 {
    pgflow / floor.max(0.001)
}

/// To three digits behind the point.
fn shown(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The middle one, the lower of two; 0 of none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: one disturbed round moves the figure.
    #[test]
    fn a_figure_is_the_median_of_its_rounds() {
        let round = |own, floor| Round::new(Amount::Rate { per_s: own }, Amount::Rate { per_s: floor });
        let figure = Figure::new("x", vec![round(50, 100), round(1, 90), round(80, 100)]);
        assert_eq!((figure.pgflow, figure.floor), (Amount::Rate { per_s: 50 }, Amount::Rate { per_s: 100 }));
        assert_eq!(figure.ratio, 0.5);
        let json = serde_json::to_value(&figure).unwrap();
        assert_eq!(json["rounds"][2], serde_json::json!({"floor": {"per_s": 100}, "pgflow": {"per_s": 80}}));
    }

    /// Fear: the tail's ratio is that of two rounds, one of them disturbed.
    #[test]
    fn the_tails_ratio_is_the_median_of_its_rounds() {
        let round = |own, floor| {
            let time = |p99_us| Amount::Time { p50_us: 1, p99_us };
            Round::new(time(own), time(floor))
        };
        let figure = Figure::new("x", vec![round(20, 10), round(90, 1), round(10, 10)]);
        assert_eq!(figure.p99_ratio(), Some(2.0));
        let rate = Amount::Rate { per_s: 1 };
        assert_eq!(Figure::new("x", vec![Round::new(rate, rate)]).p99_ratio(), None);
    }
}
