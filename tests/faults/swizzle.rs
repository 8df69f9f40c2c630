//! F19: deaths, ended backends and a bad network at random, from one seed; for hours, if asked for.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use rand::RngExt as _;

use super::cell::Cell;
use crate::support::query_text;

/// Fear: what each fault alone does not do, two of them do together.
#[tokio::test(flavor = "multi_thread")]
async fn f19_swizzle() {
    let hours: f64 = std::env::var("PGFLOW_FAULTS_HOURS").ok().and_then(|v| v.parse().ok()).unwrap_or(0.0);
    let end = Instant::now() + Duration::from_secs_f64(hours * 3_600.0);
    let mut round = 0;
    // Rounds of a few minutes, each with its own seed and its own verdict: histories stay readable.
    loop {
        let Some(mut cell) = Cell::networked("F19", "swizzle: F1, F4 and F7 at random").await else { return };
        println!("F19 round {round}");
        cell.may_hang();
        swizzle(&mut cell).await;
        cell.finish().await;
        round += 1;
        if Instant::now() >= end {
            return;
        }
        // The next round's seed follows from the first.
        super::cell::next_seed();
    }
}

/// Fear: a leader whose own connections hang one after the other promotes nothing for minutes, though its listener is well.
#[tokio::test(flavor = "multi_thread")]
async fn f19_seed_2_a_leader_whose_connections_hang() {
    let Some(mut cell) = Cell::networked("F19 seed 2", "swizzle: F1, F4 and F7 at random").await else { return };
    cell.may_hang();
    swizzle(&mut cell).await;
    cell.finish().await;
}

async fn swizzle(cell: &mut Cell) {
    let sql = cell.client().await;
    while cell.loading() {
        let at = cell.rng.random_range(0..cell.instances.len());
        let name = cell.instances[at].name.clone();
        match cell.rng.random_range(0..7) {
            0 => cell.kill_one().await,
            1 => {
                cell.note("end listener", Some(&name));
                let end = format!(
                    "SELECT pg_terminate_backend(listener_pid) FROM pgflow_instances WHERE name = '{name}' AND ended_at IS NULL"
                );
                query_text(&sql, &end).await;
            }
            2 => {
                cell.note("end backends", None);
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
                           AND application_name LIKE 'pgflow %' ORDER BY random() LIMIT 5";
                query_text(&sql, end).await;
            }
            3 => {
                cell.note("delays", Some(&name));
                let delay = cell.rng.random_range(0..300);
                cell.weather(&name).delay_ms_max.store(delay, Relaxed);
            }
            4 => {
                cell.note("resets", None);
                cell.everywhere(|w| w.resets_per_mille.store(40, Relaxed));
            }
            5 => {
                cell.note("parted", Some(&name));
                cell.weather(&name).parted.store(true, Relaxed);
            }
            _ => {
                cell.note("half-open", Some(&name));
                cell.weather(&name).swallow_all_so_far();
            }
        }
        let pause = cell.rng.random_range(100..900);
        cell.pause(pause).await;
        cell.snapshot().await;
        if cell.rng.random_bool(0.5) {
            cell.clear_up();
        }
    }
    cell.clear_up();
}

impl Cell {
    /// Fair weather everywhere. What was swallowed stays lost.
    fn clear_up(&self) {
        self.everywhere(|w| {
            w.delay_ms_max.store(0, Relaxed);
            w.resets_per_mille.store(0, Relaxed);
            w.parted.store(false, Relaxed);
        });
    }
}
