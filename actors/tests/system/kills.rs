//! Roles are killed with SIGKILL at random moments, and started again.

use std::time::Duration;

use tokio_postgres::Client;

use crate::chance::Chance;
use crate::ledger;
use crate::processes::Processes;
use crate::script::{INSTANCES, name};
use crate::support::eventually;

/// How long the next moment may let itself be waited for.
const MOMENT_LIMIT: Duration = Duration::from_secs(60);
/// The longest that a role is away. How long it is, is part of what is tried.
const AWAY_MS_MAX: usize = 1_500;

/// A kill to come: once so many changes of state have been seen.
pub struct Kill {
    at: usize,
    who: String,
    away: Duration,
}

/// Central twice, and two instances twice each, in any order.
pub fn write(chance: &mut Chance, central: &str, states: usize) -> Vec<Kill> {
    let mut instances: Vec<usize> = (0..INSTANCES).collect();
    chance.shuffle(&mut instances);
    let (one, other) = (name(instances[0]), name(instances[1]));
    let mut who = vec![central.to_owned(), central.to_owned(), one.clone(), one, other.clone(), other];
    chance.shuffle(&mut who);
    let mut moments: Vec<usize> = who.iter().map(|_| chance.within(INSTANCES..states)).collect();
    moments.sort_unstable();
    let away = |chance: &mut Chance| Duration::from_millis(chance.within(0..AWAY_MS_MAX) as u64);
    moments.into_iter().zip(who).map(|(at, who)| Kill { at, who, away: away(chance) }).collect()
}

/// Does all of them, in order.
pub async fn kill_all(processes: &mut Processes, client: &Client, kills: &[Kill]) {
    for Kill { at, who, away } in kills {
        eventually(MOMENT_LIMIT, async || ledger::states(client).await >= *at).await;
        processes.assert_all_run();
        println!("{who} is killed after {} states, for {away:?}", ledger::states(client).await);
        processes.kill(who).await;
        tokio::time::sleep(*away).await;
        processes.start_again(who);
    }
}
