//! F9: a primary dies, its synchronous standby is promoted, and everybody finds it by a URL of two hosts.

use std::{
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    process::Command,
    time::Duration,
};

use pgflow::devpg::DevPg;

use super::{
    cell::{Cell, Server, asked, run, skip},
    history::Event,
};
use crate::support::{cluster, connect, eventually, migrated, query_text};

const SOON: Duration = Duration::from_secs(60);

/// Fear: a failover loses what was acknowledged, or instances stay with the server that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn f9_failover_to_a_synchronous_standby() {
    const FAULT: &str = "primary killed, synchronous standby promoted";
    let Some(asked) = asked("F9") else { return };
    if !cluster().bin_dir().join("pg_basebackup").exists() {
        return skip(&asked, "F9", FAULT, "these binaries have no pg_basebackup");
    }
    let (primary, standby) = tokio::task::spawn_blocking(pair).await.expect("no panic");
    migrated(&primary.url()).await;
    let admin = connect(&primary.url()).await;
    // From here on a commit waits for the standby.
    admin.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.expect("a setting");
    query_text(&admin, "SELECT pg_reload_conf()").await;
    let in_step = "SELECT sync_state FROM pg_stat_replication";
    eventually(SOON, || async { query_text(&admin, in_step).await == ["sync"] }).await;

    let ports = (port_of(&primary).await, port_of(&standby).await);
    let (primary_pid, standby_url) = (primary.pid(), standby.url());
    let mut cell = Cell::on("F9", FAULT, asked, Server::Own(Some(primary))).await;
    cell.url = Some(format!(
        "postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write&sslmode=disable",
        ports.0, ports.1
    ));
    cell.start(3).await;
    cell.pause(1_500).await;
    cell.note("primary killed", None);
    run(Command::new("kill").args(["-9", &primary_pid.to_string()]));
    let promote = connect(&standby_url).await;
    // The standby needs nobody's agreement from now on.
    promote.batch_execute("SELECT pg_promote(); ").await.expect("promoted");
    promote.batch_execute("ALTER SYSTEM SET synchronous_standby_names = ''").await.expect("a setting");
    query_text(&promote, "SELECT pg_reload_conf()").await;
    cell.journal.note(Event::Accepts);
    while cell.loading() {
        cell.pause(500).await;
        cell.snapshot().await;
    }
    cell.finish().await;
    let root = standby.root().to_owned();
    drop(standby);
    std::fs::remove_dir_all(root).expect("the standby's folder goes");
}

async fn port_of(server: &DevPg) -> String {
    query_text(&connect(&server.url()).await, "SHOW port").await.remove(0)
}

/// A primary, and a standby that streams from it.
fn pair() -> (DevPg, DevPg) {
    let one = free_port();
    let settings =
        |builder: pgflow::devpg::Builder| builder.setting("max_connections", "120").setting("wal_level", "replica");
    let primary = settings(DevPg::builder()).port(Some(one)).start().unwrap_or_else(|e| panic!("{e}"));
    let root = super::cell::folder("standby");
    let owner = std::fs::metadata(primary.root().join("data")).expect("the cluster");
    chown(&root, Some(owner.uid()), Some(owner.gid())).expect("the server's user owns it");
    let mut copy = Command::new(primary.bin_dir().join("pg_basebackup"));
    copy.args(["-D", &root.join("data").to_string_lossy(), "-R", "-X", "stream", "-c", "fast", "-d"]);
    copy.arg(format!("postgresql://postgres@127.0.0.1:{one}"));
    // Only root may, and must, become the server's user.
    if owner.uid() != std::fs::metadata(std::env::temp_dir()).map_or(0, |m| m.uid()) || owner.uid() == 0 {
        copy.uid(owner.uid()).gid(owner.gid());
    }
    copy.current_dir(&root);
    run(&mut copy);
    let standby = settings(DevPg::builder()).bin_dir(primary.bin_dir()).data_dir(&root).port(Some(free_port()));
    (primary, standby.start().unwrap_or_else(|e| panic!("{e}")))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}
