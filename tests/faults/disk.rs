//! F10: the disk of the cluster is full, under load; or the disk of the publishers' spool, while Postgres is away.

use std::{
    collections::HashMap, fs::File, io::Write as _, path::Path, process::Command, sync::atomic::Ordering::Relaxed,
};

use pgflow::devpg::{DevPg, StopMode};

use super::{
    cell::{Cell, Server, asked, folder, run, skip},
    history::Event,
};
use crate::support::{TestDb, migrated, query_text};

/// Holds a cluster and little else.
const CLUSTER: &str = "size=192m";
/// Holds some hundred spooled messages.
const SPOOL: &str = "size=256k";

/// A file system in memory of our own; gone when it is dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// None: this user may not mount one.
    fn mount(size: &str) -> Option<Self> {
        let dir = folder("disk");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&dir).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        std::fs::remove_dir(&dir).expect("an empty folder");
        None
    }

    /// Leaves no byte.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("a file");
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Fear: with no space left a message is taken and not kept, or nothing goes on when there is space again.
#[tokio::test(flavor = "multi_thread")]
async fn f10_a_full_disk() {
    const FAULT: &str = "the cluster's disk is full";
    let Some(asked) = asked("F10") else { return };
    let Some(disk) = SmallDisk::mount(CLUSTER) else {
        return skip(&asked, "F10", FAULT, "mounting a small disk needs root");
    };
    let server = start(&disk.0).await;
    migrated(&server.url()).await;
    let mut cell = Cell::on("F10", FAULT, asked, Server::Own(Some(server))).await;
    cell.start(3).await;
    cell.pause(1_000).await;
    cell.note("disk full", None);
    let ballast = disk.fill();
    cell.pause(1_500).await;
    std::fs::remove_file(ballast).expect("space again");
    // Without room for its log the server ends itself; then it is started again, as its keeper would.
    let Server::Own(slot) = &mut cell.server else { unreachable!("its own") };
    let mut server = slot.take().expect("it is ours");
    let restarted = tokio::task::spawn_blocking(move || {
        let ended = !server.is_running();
        if ended {
            server.restart(StopMode::Immediate)?;
        }
        Ok::<(DevPg, bool), pgflow::Error>((server, ended))
    });
    let (server, ended) = restarted.await.expect("no panic").unwrap_or_else(|e| panic!("{e}"));
    *slot = Some(server);
    if ended {
        cell.journal.note(Event::Accepts);
    }
    cell.finish().await;
    drop(disk);
}

/// Fear: with no space left for the spool a message is acknowledged and not kept, or is kept though its publish failed; or space that is
/// there again is not used.
#[tokio::test(flavor = "multi_thread")]
async fn f10s_a_full_disk_of_the_spool() {
    const FAULT: &str = "Postgres is away from the publishers, and the disk of their spool is full";
    let Some(asked) = asked("F10s") else { return };
    let Some(disk) = SmallDisk::mount(SPOOL) else {
        return skip(&asked, "F10s", FAULT, "mounting a small disk needs root");
    };
    let mut cell = Cell::on("F10s", FAULT, asked, Server::Shared(TestDb::new().await)).await;
    cell.proxies = Some(HashMap::new());
    cell.spool = Some(disk.0.join("spool"));
    cell.start(3).await;
    cell.pause(1_000).await;
    cell.part_publishers(true).await;
    cell.pause(500).await;
    cell.note("disk full", None);
    let ballast = disk.fill();
    cell.pause(1_000).await;
    std::fs::remove_file(ballast).expect("space again");
    cell.pause(500).await;
    cell.part_publishers(false).await;
    let facts = cell.finish().await;
    drop(disk);
    let count = |is: fn(&Event) -> bool| facts.lines.iter().filter(|l| is(&l.event)).count();
    let (spooled, refused) =
        (count(|e| matches!(e, Event::Spooled { .. })), count(|e| matches!(e, Event::Fail { .. })));
    assert!(spooled > 50 && refused > 10, "{spooled} spooled, {refused} refused");
}

impl Cell {
    /// Postgres is away from the publishers, and from nobody else; or it is back.
    pub async fn part_publishers(&self, away: bool) {
        self.note(if away { "away" } else { "back" }, Some("publishers"));
        self.weather("publishers").refuses.store(away, Relaxed);
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'pgflow publish'";
        if away {
            query_text(&self.client().await, end).await;
        }
    }
}

async fn start(dir: &Path) -> DevPg {
    let root = dir.join("pg");
    run(Command::new("chmod").arg("755").arg(dir));
    let settings =
        [("max_connections", "100"), ("shared_buffers", "16MB"), ("max_wal_size", "64MB"), ("min_wal_size", "32MB")];
    let mut builder = DevPg::builder().data_dir(root);
    for (name, value) in settings {
        builder = builder.setting(name, value);
    }
    tokio::task::spawn_blocking(move || builder.start()).await.expect("no panic").unwrap_or_else(|e| panic!("{e}"))
}
