//! Whom servers run as: root must become somebody else for them, as `DevPg` does, and nobody else can.

use std::{
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use crate::support::cluster;

/// Runs the program as the user of the run's own server.
pub fn as_server(command: &mut Command) -> &mut Command {
    let owner = server();
    // A temporary folder of one's own, as on macOS, says that we are that user.
    if owner.uid() != std::fs::metadata(std::env::temp_dir()).map_or(0, |m| m.uid()) || owner.uid() == 0 {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command
}

/// Gives the folder to that user.
pub fn give(path: &Path) {
    chown(path, Some(server().uid()), Some(server().gid())).expect("the server's user owns it");
}

fn server() -> std::fs::Metadata {
    std::fs::metadata(cluster().root().join("data")).expect("the cluster")
}
