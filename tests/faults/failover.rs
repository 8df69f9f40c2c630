//! F9: a primary goes, its standby is promoted by hand, and everybody finds it by a URL of two hosts. Patroni's cells are in `patroni_cells.rs`.

use std::{
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use pgflow::{
    Priority,
    devpg::{DevPg, StopMode},
};
use tokio_postgres::Client;

use super::{
    account::{as_server, give},
    cell::{Cell, Server, asked, run},
    history::Event,
    report,
    traffic::{Act, Load},
};
use crate::support::{connect, eventually, migrated, query_text};

const SOON: Duration = Duration::from_secs(60);
const INSTANCES: usize = 3;
/// Backends whose commit waits for a synchronous standby.
const WAITING: &str = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// Fear: a failover loses what was acknowledged, or instances stay with the server that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn f9_failover_to_a_synchronous_standby() {
    let Some(mut pair) = Pair::new("F9", "primary killed, synchronous standby promoted", true).await else { return };
    pair.cell.start(INSTANCES).await;
    pair.cell.pause(1_500).await;
    pair.cell.note("primary killed", None);
    kill("-9", &[pair.primary_pid]);
    pair.promote().await;
    pair.finish().await;
}

/// Fear: everybody hangs on a primary that is frozen, or trusts it when it goes on: it takes itself for the primary still, and so does the
/// URL. Nothing that it commits has a standby that confirms it, so it can acknowledge nothing.
#[tokio::test(flavor = "multi_thread")]
async fn f9b_the_old_primary_is_frozen_and_goes_on() {
    const FAULT: &str = "primary stopped (SIGSTOP), synchronous standby promoted; the old primary goes on for a while";
    let Some(mut pair) = Pair::new("F9b", FAULT, true).await else { return };
    // What hangs on a frozen server is given up after 15 s at the latest: the load must last longer.
    pair.cell.asked.seconds = pair.cell.asked.seconds.max(30.0);
    pair.cell.start(INSTANCES).await;
    pair.cell.pause(1_500).await;
    pair.cell.note("primary stopped", None);
    let frozen = Frozen::server(pair.primary_pid, &pair.old).await;
    pair.promote().await;
    pair.cell.send_load(Load::new(800_000_000, Act::Effect, 5), Priority::High).await;
    pair.cell.note("the old primary goes on", None);
    drop(frozen);
    // Whoever hung there has a COMMIT that waits now; who comes anew joins them.
    eventually(SOON, || async { query_text(&pair.old, WAITING).await == ["t"] }).await;
    pair.cell.pause(2_000).await;
    pair.cell.note("the old primary is fenced", None);
    kill("-9", &[pair.primary_pid]);
    pair.finish().await;
}

/// Fear: with an asynchronous standby more goes wrong than what is configured. What was confirmed and had not reached it is lost, and nothing
/// else: no message is doubled, none that came over is stuck, what is published from then on is kept.
#[tokio::test(flavor = "multi_thread")]
async fn f9c_failover_to_an_asynchronous_standby_loses_what_is_configured() {
    const FAULT: &str = "asynchronous standby falls behind, primary killed, standby promoted";
    let Some(mut pair) = Pair::new("F9c", FAULT, false).await else { return };
    pair.cell.start(INSTANCES).await;
    pair.cell.pause(1_000).await;
    pair.fall_behind().await;
    pair.cell.pause(700).await;
    pair.cell.note("primary killed", None);
    kill("-9", &[pair.primary_pid]);
    pair.promote().await;
    let facts = pair.finish().await;
    assert!(
        report::lost_as_configured(&facts) > 0,
        "nothing was lost: the standby had it all, and the cell shows nothing"
    );
}

/// A cell on a primary, and the standby that streams from it.
struct Pair {
    cell: Cell,
    primary_pid: u32,
    /// A session of the primary's.
    old: Client,
    standby: DevPg,
}

impl Pair {
    /// None: not asked for, or not possible here.
    async fn new(name: &'static str, fault: &'static str, synchronous: bool) -> Option<Self> {
        let mut asked = asked(name)?;
        // A promotion now and then takes 5 s, in which the standby looks for its primary: the load must outlast it.
        asked.seconds = asked.seconds.max(8.0);
        let (primary, standby) = tokio::task::spawn_blocking(servers).await.expect("no panic");
        migrated(&primary.url()).await;
        let old = connect(&primary.url()).await;
        if synchronous {
            // From here on a commit waits for the standby.
            old.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.expect("a setting");
            query_text(&old, "SELECT pg_reload_conf()").await;
        }
        let state = if synchronous { "sync" } else { "async" };
        let in_step = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'";
        eventually(SOON, || async { query_text(&old, in_step).await == [state] }).await;

        let ports = (port_of(&primary).await, port_of(&standby).await);
        let primary_pid = primary.pid();
        let mut cell = Cell::on(name, fault, asked, Server::Own(Some(primary))).await;
        cell.url = Some(format!(
            "postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write&sslmode=disable",
            ports.0, ports.1
        ));
        Some(Self { cell, primary_pid, old, standby })
    }

    /// The standby gets nothing from here on.
    async fn fall_behind(&self) {
        self.cell.note("standby cut off", None);
        self.cell.journal.note(Event::Behind);
        let standby = connect(&self.standby.url()).await;
        // What was confirmed before that line must be over there.
        let flushed = query_text(&self.old, "SELECT pg_current_wal_flush_lsn()").await.remove(0);
        let received = format!("SELECT pg_last_wal_receive_lsn() >= '{flushed}'");
        eventually(SOON, || async { query_text(&standby, &received).await == ["t"] }).await;
        standby.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await.expect("a setting");
        query_text(&standby, "SELECT pg_reload_conf()").await;
        let streams = "SELECT count(*) FROM pg_stat_replication";
        eventually(SOON, || async { query_text(&self.old, streams).await == ["0"] }).await;
    }

    /// Returns when all instances are at the new primary.
    async fn promote(&self) {
        let new = connect(&self.standby.url()).await;
        new.batch_execute("SELECT pg_promote()").await.expect("promoted");
        // It needs nobody's agreement from now on.
        new.batch_execute("ALTER SYSTEM SET synchronous_standby_names = ''").await.expect("a setting");
        query_text(&new, "SELECT pg_reload_conf()").await;
        self.cell.journal.note(Event::Accepts);
        self.cell.moved(&new, INSTANCES).await;
    }

    async fn finish(mut self) -> super::check::Facts {
        while self.cell.loading() {
            self.cell.pause(500).await;
            self.cell.snapshot().await;
        }
        let facts = self.cell.finish().await;
        let root = self.standby.root().to_owned();
        drop(self.standby);
        std::fs::remove_dir_all(root).expect("the standby's folder goes");
        facts
    }
}

impl Cell {
    /// Waits until so many instances listen at this server, and writes that down: the failover is over.
    pub async fn moved(&self, new: &Client, instances: usize) {
        let here = "SELECT count(*) FROM pgflow_instances i JOIN pg_stat_activity a ON a.pid = i.listener_pid WHERE ended_at IS NULL";
        eventually(SOON, || async { query_text(new, here).await == [instances.to_string()] }).await;
        self.journal.note(Event::Moved);
    }
}

/// All processes of a server, stopped; they go on when this is dropped.
pub struct Frozen(Vec<u32>);

impl Frozen {
    async fn server(postmaster: u32, session: &Client) -> Self {
        Self::with(vec![postmaster], session).await
    }

    /// With those who start others, or watch over them: first, so that the others are all.
    pub async fn with(first: Vec<u32>, session: &Client) -> Self {
        let mut frozen = Self(first);
        kill("-STOP", &frozen.0);
        let all = query_text(session, "SELECT pid FROM pg_stat_activity").await;
        let others: Vec<u32> = all.iter().map(|pid| pid.parse().expect("a pid")).collect();
        frozen.0.extend(&others);
        kill("-STOP", &others);
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        kill("-CONT", &self.0);
    }
}

pub fn kill(signal: &str, pids: &[u32]) {
    run(Command::new("kill").arg(signal).args(pids.iter().map(u32::to_string)));
}

async fn port_of(server: &DevPg) -> String {
    query_text(&connect(&server.url()).await, "SHOW port").await.remove(0)
}

/// A primary, and a standby that streams from it. It begins as a copy of the primary's folder while that is stopped: not all binaries have
/// pg_basebackup.
fn servers() -> (DevPg, DevPg) {
    let one = free_port();
    let settings =
        |builder: pgflow::devpg::Builder| builder.setting("max_connections", "120").setting("wal_level", "replica");
    let mut primary = settings(DevPg::builder()).port(Some(one)).start().unwrap_or_else(|e| panic!("{e}"));
    let root = super::cell::folder("standby");
    give(&root);
    primary.stop_keep(StopMode::Fast).expect("stopped");
    let data = root.join("data");
    run(as_server(Command::new("cp").arg("-a").arg(primary.root().join("data")).arg(&data)).current_dir(&root));
    primary.restart(StopMode::Fast).expect("started");
    let follow = format!("primary_conninfo = 'host=127.0.0.1 port={one} user=postgres'\n");
    for (file, text) in [("standby.signal", ""), ("postgresql.auto.conf", &follow)] {
        std::fs::write(data.join(file), text).expect("written");
        give(&data.join(file));
    }
    let standby = settings(DevPg::builder()).bin_dir(primary.bin_dir()).data_dir(&root).port(Some(free_port()));
    (primary, standby.start().unwrap_or_else(|e| panic!("{e}")))
}

/// Below the ports that outgoing connections get (from 32768 on): one of those would take the place of a server that is down, even a client
/// that connects to that very port.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(rand::random_range(15_000..30_000)));
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (0..2_000).map(|_| next.fetch_add(1, Ordering::Relaxed)).find(is_free).expect("a port")
}
