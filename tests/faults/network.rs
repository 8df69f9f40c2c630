//! Cells in which the network fails: F7 in its kinds, F8.

use std::{
    collections::HashMap,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::{
    cell::Cell,
    check::Limits,
    history::{Event, Line},
    proxy::Weather,
};
use crate::support::{eventually, query_text};

/// A half-open connection is found within this.
const FOUND_US_MAX: i64 = 15_000_000;
/// And its instance handles messages again within this, whatever hung: a claim is waited for 15 s, a handler's COMMIT 30 s.
const WORKING_AGAIN: Duration = Duration::from_secs(50);

impl Cell {
    /// Every process of the cell reaches the server through a network of its own.
    pub async fn networked(name: &'static str, fault: &'static str) -> Option<Self> {
        let mut cell = Self::shared(name, fault).await?;
        cell.proxies = Some(HashMap::new());
        cell.start(3).await;
        Some(cell)
    }

    pub fn weather(&self, name: &str) -> &Weather {
        &self.proxies.as_ref().expect("a networked cell")[name].weather
    }

    pub fn everywhere(&self, set: impl Fn(&Weather)) {
        self.proxies.as_ref().expect("a networked cell").values().for_each(|proxy| set(&proxy.weather));
    }

    /// On every instance; the publishers' network stays well, so that there is something to handle.
    fn on_instances(&self, set: impl Fn(&Weather)) {
        self.instances.iter().for_each(|instance| set(self.weather(&instance.name)));
    }

    /// Where connections are half open until the end: what hangs on one then is let go only when its limit is over.
    pub fn may_hang(&mut self) {
        self.limits = Limits { high_ms: 20_000, wake_ms: 20_000, late_ms: 20_000 };
    }

    fn done(&self) -> u64 {
        self.proxies.as_ref().expect("a networked cell").values().map(|proxy| proxy.weather.done.load(Relaxed)).sum()
    }

    async fn wait_for_the_load(&mut self) {
        while self.loading() {
            self.pause(400).await;
            self.snapshot().await;
        }
    }
}

/// Fear: what relies on answers being quick breaks when they are not.
#[tokio::test(flavor = "multi_thread")]
async fn f7a_delays() {
    let Some(mut cell) = Cell::networked("F7a", "each piece delayed 0–500 ms, publishers' 0–20 ms").await else {
        return;
    };
    cell.note("delays", None);
    cell.on_instances(|w| w.delay_ms_max.store(500, Relaxed));
    // Publishers wait for each answer: with as much they would send next to nothing.
    cell.weather("publishers").delay_ms_max.store(20, Relaxed);
    cell.wait_for_the_load().await;
    cell.everywhere(|w| w.delay_ms_max.store(0, Relaxed));
    cell.finish().await;
}

/// Fear: a line so thin that answers take longer than our limits makes every statement repeat its act.
#[tokio::test(flavor = "multi_thread")]
async fn f7b_a_thin_line() {
    let Some(mut cell) = Cell::networked("F7b", "instances at 1 KB/s").await else { return };
    cell.note("1 KB/s", None);
    cell.on_instances(|w| w.bytes_per_s.store(1_024, Relaxed));
    cell.wait_for_the_load().await;
    cell.on_instances(|w| w.bytes_per_s.store(0, Relaxed));
    cell.finish().await;
}

/// Fear: a COMMIT whose answer is lost is taken for none, and its act done again.
#[tokio::test(flavor = "multi_thread")]
async fn f7c_resets_in_place_of_the_answer_to_a_commit() {
    let Some(mut cell) = Cell::networked("F7c", "reset in place of the answer to COMMIT or INSERT").await else {
        return;
    };
    cell.note("resets", None);
    cell.everywhere(|w| w.resets_per_mille.store(60, Relaxed));
    cell.wait_for_the_load().await;
    cell.everywhere(|w| w.resets_per_mille.store(0, Relaxed));
    assert!(cell.done() > 10, "hardly a connection was reset");
    let facts = cell.finish().await;
    assert!(facts.lines.iter().any(|l| matches!(l.event, Event::Info { .. })), "no publish was in doubt");
}

/// Fear: a connection that is open here and gone there keeps an instance deaf, its claims and outcomes waiting, or its stop, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn f7d_half_open_connections() {
    let Some(mut cell) = Cell::networked("F7d", "half-open: one instance's connections swallow all").await else {
        return;
    };
    cell.pause(1_000).await;
    let name = cell.instances[1].name.clone();
    cell.note("half-open", Some(&name));
    cell.weather(&name).swallow_all_so_far();
    let begun = Instant::now();
    // For this instance alone: no other can handle it in its place.
    cell.send_to(&name, 1).await;
    cell.wait_for_the_load().await;
    let sql = cell.client().await;
    let waiting = "SELECT count(*)::text FROM pgflow_messages WHERE status NOT IN ('done', 'dead')";
    eventually(WORKING_AGAIN, || async { query_text(&sql, waiting).await == ["0"] }).await;
    println!("F7d: working again after {:?}", begun.elapsed());
    // Once more, and a stop instead of a wait.
    cell.may_hang();
    cell.weather(&name).swallow_all_so_far();
    let facts = cell.finish().await;
    let from = |is: &dyn Fn(&Line) -> bool| facts.lines.iter().find(|l| is(l)).map(|l| l.at);
    let begun = from(&|l| matches!(&l.event, Event::Fault { what, .. } if what == "half-open")).expect("the fault");
    let found =
        from(&|l| l.by == name && l.at > begun && l.event == Event::Listening { up: false }).expect("it was found");
    assert!(found - begun < FOUND_US_MAX, "found after {} µs", found - begun);
}

/// Fear: an instance that is cut off and comes back settles what others have taken over.
#[tokio::test(flavor = "multi_thread")]
async fn f7e_one_instance_parted() {
    let Some(mut cell) = Cell::networked("F7e", "one instance parted for longer than its statements may take").await
    else {
        return;
    };
    cell.pause(1_000).await;
    let name = cell.instances[1].name.clone();
    cell.note("parted", Some(&name));
    cell.weather(&name).parted.store(true, Relaxed);
    for _ in 0..14 {
        cell.pause(500).await;
        cell.snapshot().await;
    }
    cell.weather(&name).parted.store(false, Relaxed);
    cell.wait_for_the_load().await;
    cell.finish().await;
}

/// Fear: a listener whose socket nobody empties keeps its backend in a write, with vacuum's horizon pinned, and others waiting.
#[tokio::test(flavor = "multi_thread")]
async fn f8_a_listener_that_reads_nothing() {
    let Some(mut cell) = Cell::networked("F8", "a listener's socket is not read, under a flood for it").await else {
        return;
    };
    cell.pause(500).await;
    let name = cell.instances[1].name.clone();
    let sql = cell.client().await;
    let old = query_text(&sql, &format!("SELECT listener_pid::text FROM pgflow_instances WHERE name = '{name}'"))
        .await
        .remove(0);
    cell.note("deaf", Some(&name));
    cell.weather(&name).deaf_listener.store(true, Relaxed);
    // Payloads that differ, on a channel that every listener hears: megabytes that the deaf one does not take.
    let flood = "SELECT pg_notify('pgflow_' || space || '_ctl', repeat('x', 7000) || i) FROM pgflow_meta, generate_series(1, 300) i";
    let begun = std::time::Instant::now();
    let gone =
        format!("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {old} AND backend_xmin IS NOT NULL)");
    for _ in 0..5 {
        sql.simple_query(flood).await.expect("the flood");
    }
    // Its statement runs out, its end closes the socket, and the backend's write fails.
    let another = format!("SELECT listener_pid <> {old} FROM pgflow_instances WHERE name = '{name}'");
    cell.weather(&name).deaf_listener.store(true, Relaxed);
    loop {
        if query_text(&sql, &gone).await == ["t"] && query_text(&sql, &another).await == ["t"] {
            break;
        }
        assert!(begun.elapsed().as_secs() < 30, "the horizon is pinned");
        // The next connection is a healthy one.
        if begun.elapsed().as_secs() >= 7 {
            cell.weather(&name).deaf_listener.store(false, Relaxed);
        }
        cell.pause(100).await;
    }
    cell.weather(&name).deaf_listener.store(false, Relaxed);
    cell.wait_for_the_load().await;
    cell.finish().await;
}
