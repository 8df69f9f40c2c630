//! F10: the disk of the cluster is full, under load.

use std::{fs::File, io::Write as _, path::Path, process::Command};

use pgflow::devpg::{DevPg, StopMode};

use super::{
    cell::{Cell, Server, asked, folder, run, skip},
    history::Event,
};
use crate::support::migrated;

/// Holds a cluster and little else.
const SIZE: &str = "size=192m";

/// A file system in memory of our own; gone when it is dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// None: this user may not mount one.
    fn mount() -> Option<Self> {
        let dir = folder("disk");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&dir).output();
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
    let Some(disk) = SmallDisk::mount() else {
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
