//! Cells in which the server fails or refuses: F4, F5, F6, F14.

use std::time::{Duration, Instant};

use pgflow::devpg::{DevPg, StopMode};
use rand::{RngExt as _, seq::IndexedRandom as _};

use super::{
    cell::{Cell, Server},
    history::Event,
    report::Recovery,
};
use crate::support::query_text;

/// A listener that lost its backend listens again within this; the aim is one second, on a machine of its own.
const LISTENING_US_MAX: i64 = 4_000_000;

/// Fear: ended backends leave a claim, a settle or a wake behind that nobody answers for.
#[tokio::test(flavor = "multi_thread")]
async fn f4_backends_terminated() {
    let Some(mut cell) = Cell::shared("F4", "pg_terminate_backend 10 times a second, random ones and listeners").await
    else {
        return;
    };
    cell.start(3).await;
    let sql = cell.client().await;
    while cell.loading() {
        let listener = cell.rng.random_bool(0.3);
        if listener {
            let name = cell.instances.choose(&mut cell.rng).expect("three").name.clone();
            let end = format!(
                "SELECT pg_terminate_backend(listener_pid) FROM pgflow_instances WHERE name = '{name}' AND ended_at IS NULL"
            );
            cell.note("end listener", Some(&name));
            let _ = sql.simple_query(&end).await;
        } else {
            let end = "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                       AND pid <> pg_backend_pid() AND application_name NOT LIKE 'faults snapshot%' ORDER BY random() LIMIT 1) one";
            cell.note("end backend", None);
            let _ = sql.simple_query(end).await;
        }
        cell.pause(100).await;
    }
    cell.snapshot().await;
    let facts = cell.finish().await;
    let times = Recovery::of(&facts).listening;
    assert!(!times.is_empty() && times.iter().all(|us| *us < LISTENING_US_MAX), "listening again after {times:?} µs");
}

impl Cell {
    /// Stops the server, waits, and starts it again.
    async fn restart(&mut self, mode: StopMode, down: Duration) {
        let Server::Own(slot) = &mut self.server else { unreachable!("a server of its own") };
        let mut server = slot.take().expect("it runs");
        let restarted = tokio::task::spawn_blocking(move || {
            server.stop_keep(mode).and_then(|()| {
                std::thread::sleep(down);
                server.restart(mode)
            })?;
            Ok::<DevPg, pgflow::Error>(server)
        });
        *slot = Some(restarted.await.expect("no panic").unwrap_or_else(|e| panic!("{e}")));
        self.journal.note(Event::Accepts);
    }
}

/// Fear: a crash of the server loses what was acknowledged, or runs an effect twice. Without a spool: while the server is away a publish
/// fails, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn f5_immediate_stops() {
    let Some(mut cell) = Cell::own("F5", "stop -m immediate, down 0 s, 2 s", true, &[]).await else { return };
    cell.start(3).await;
    for down in [0, 2_000].into_iter().cycle() {
        cell.pause(700).await;
        if !cell.loading() {
            break;
        }
        cell.note("immediate stop", None);
        cell.restart(StopMode::Immediate, Duration::from_millis(down)).await;
        cell.snapshot().await;
    }
    cell.finish().await;
}

/// Fear: what was acknowledged as spooled while the server was away is forwarded never, twice, or behind what came after it.
#[tokio::test(flavor = "multi_thread")]
async fn f5s_immediate_stops_with_a_spool() {
    let Some(mut cell) =
        Cell::own("F5s", "stop -m immediate, down 0 s and longer; publishers with a spool", true, &[]).await
    else {
        return;
    };
    cell.spool = Some(cell.dir.join("spool"));
    let downs_ms: &[u64] = match cell.asked.seconds {
        short if short < 10.0 => &[0, 2_000],
        long if long < 120.0 => &[0, 5_000],
        _ => &[0, 5_000, 60_000],
    };
    cell.start(3).await;
    for down in downs_ms.iter().cycle() {
        cell.pause(700).await;
        if !cell.loading() {
            break;
        }
        cell.note("immediate stop", None);
        cell.restart(StopMode::Immediate, Duration::from_millis(*down)).await;
        cell.snapshot().await;
    }
    let facts = cell.finish().await;
    let spooled = facts.lines.iter().filter(|l| matches!(l.event, Event::Spooled { .. })).count();
    assert!(spooled > 50, "hardly a message was spooled: {spooled}");
}

/// Fear: an orderly restart is worse than a crash: sessions that are told to go, or a server that takes no new ones.
#[tokio::test(flavor = "multi_thread")]
async fn f6_fast_and_smart_stops() {
    let Some(mut cell) = Cell::own("F6", "stop -m smart, then fast; restart", true, &[]).await else { return };
    cell.start(3).await;
    for smart in [true, false].into_iter().cycle() {
        cell.pause(900).await;
        if !cell.loading() {
            break;
        }
        if smart {
            cell.note("smart stop", None);
            let Server::Own(Some(server)) = &cell.server else { unreachable!("its own") };
            // Takes no new session and waits for the old ones, which stay.
            super::cell::run(std::process::Command::new("kill").args(["-TERM", &server.pid().to_string()]));
            cell.pause(1_000).await;
        }
        cell.note("fast stop", None);
        cell.restart(StopMode::Fast, Duration::ZERO).await;
        cell.snapshot().await;
    }
    cell.finish().await;
}

/// Fear: with no connection to be had, one part holds what another waits for, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn f14_connections_exhausted() {
    let settings = [("max_connections", "45"), ("superuser_reserved_connections", "3")];
    let Some(mut cell) = Cell::own("F14", "max_connections reached, small pools", false, &settings).await else {
        return;
    };
    cell.connections = 2;
    cell.start(3).await;
    let sql = cell.client().await;
    sql.batch_execute("CREATE ROLE hog LOGIN").await.expect("a role");
    let url = cell.direct_url().replace("postgres@", "hog@");
    while cell.loading() {
        cell.note("all connections taken", None);
        let mut hogs = Vec::new();
        while let Ok(hog) = pgflow::connect(&url, "hog").await {
            hogs.push(hog);
        }
        // A backend that is ended now cannot be replaced while all places are taken.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgflow %' ORDER BY random() LIMIT 4";
        query_text(&sql, end).await;
        let _ = pgflow::connect(&url, "hog").await.map(|hog| hogs.push(hog));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(900) {
            hogs.extend(pgflow::connect(&url, "hog").await);
            cell.pause(20).await;
        }
        drop(hogs);
        cell.pause(900).await;
        cell.snapshot().await;
    }
    cell.finish().await;
}
