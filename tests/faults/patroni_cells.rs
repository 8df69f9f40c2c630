//! F9p: a cluster that looks after itself. Patroni changes the primary, on request and because it is gone, and sees to the old one.

use std::time::Duration;

use tokio_postgres::Client;

use super::{
    cell::{Cell, Server, asked, skip},
    failover::Frozen,
    history::Event,
    patroni::{self, Patroni},
};
use crate::support::{cluster, connect, eventually, migrated, query_text};

const INSTANCES: usize = 3;
const SOON: Duration = Duration::from_secs(60);

/// Fear: an orderly change of roles, as at every upgrade of a server, loses or doubles something.
#[tokio::test(flavor = "multi_thread")]
async fn f9pa_switchover() {
    let Some(ha) = Ha::new("F9pa", "Patroni: switchover, and back", 20.0).await else { return };
    for _ in 0..2 {
        ha.patroni.settled().await;
        let to = 1 - ha.patroni.leader();
        ha.cell.note("switchover", None);
        ha.patroni.switch_over().await;
        ha.moved(to).await;
    }
    ha.finish().await;
}

/// Fear: a machine that dies takes what was acknowledged with it; or, when it comes back, somebody writes there.
#[tokio::test(flavor = "multi_thread")]
async fn f9pb_leader_killed() {
    const FAULT: &str = "Patroni: leader and its Patroni killed; they come back";
    let Some(mut ha) = Ha::new("F9pb", FAULT, 30.0).await else { return };
    let old = ha.patroni.leader();
    ha.cell.note("leader killed", None);
    ha.patroni.members[old].kill();
    ha.moved(1 - old).await;
    ha.cell.note("the old leader comes back", None);
    ha.patroni.members[old].start();
    ha.refused(old).await;
    ha.finish().await;
}

/// Fear: a machine that stood still for longer than its lock goes on as if nothing had happened, and is believed.
#[tokio::test(flavor = "multi_thread")]
async fn f9pc_leader_frozen_and_goes_on() {
    const FAULT: &str = "Patroni: leader and its Patroni stopped (SIGSTOP) past their lock; they go on";
    let Some(ha) = Ha::new("F9pc", FAULT, 40.0).await else { return };
    let old = ha.patroni.leader();
    ha.cell.note("leader stopped", None);
    let member = &ha.patroni.members[old];
    let session = connect(&member.url()).await;
    let frozen = Frozen::with(vec![member.patroni_pid(), member.postmaster_pid()], &session).await;
    ha.moved(1 - old).await;
    ha.cell.note("the old leader goes on", None);
    drop(frozen);
    ha.refused(old).await;
    ha.finish().await;
}

/// A cell on a cluster of Patroni's.
struct Ha {
    // Before the cluster: what connects goes first.
    cell: Cell,
    patroni: Patroni,
}

impl Ha {
    /// Under load. None: not asked for, or not possible here.
    async fn new(name: &'static str, fault: &'static str, seconds: f64) -> Option<Self> {
        let mut asked = asked(name)?;
        // So long the change takes, with what follows; the load must last.
        asked.seconds = asked.seconds.max(seconds);
        if !patroni::is_installed() {
            skip(&asked, name, fault, "no patroni and etcd here (`make patroni` gets them)");
            return None;
        }
        // By it Patroni makes its replicas.
        if !cluster().bin_dir().join("pg_basebackup").exists() {
            skip(&asked, name, fault, "these binaries have no pg_basebackup");
            return None;
        }
        let patroni = Patroni::start().await;
        migrated(&patroni.members[patroni.leader()].url()).await;
        let mut cell = Cell::on(name, fault, asked, Server::Named(patroni.url())).await;
        cell.start(INSTANCES).await;
        cell.pause(1_500).await;
        Some(Self { cell, patroni })
    }

    /// Waits until the member accepts and all instances are there.
    async fn moved(&self, member: usize) {
        let new = self.patroni.promoted(member).await;
        self.cell.journal.note(Event::Accepts);
        self.cell.moved(&new, INSTANCES).await;
    }

    /// The old leader is a standby, at which nobody of ours stays.
    async fn refused(&self, old: usize) {
        self.patroni.follows(old).await;
        let session: Client = connect(&self.patroni.members[old].url()).await;
        assert_eq!(query_text(&session, "SELECT pg_is_in_recovery()").await, ["t"]);
        let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgflow%'";
        eventually(SOON, || async { query_text(&session, ours).await == ["0"] }).await;
    }

    async fn finish(mut self) {
        while self.cell.loading() {
            self.cell.pause(500).await;
            self.cell.snapshot().await;
        }
        self.cell.finish().await;
    }
}
