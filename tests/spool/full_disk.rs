//! The disk is full.

use std::process::Command;

use crate::*;

/// A file system of 256 KiB, for whoever may mount one.
struct Small(Folder);

impl Small {
    fn mount() -> Option<Self> {
        let folder = Folder::new();
        std::fs::create_dir_all(&folder.0).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&folder.0).output();
        mounted.is_ok_and(|ran| ran.status.success()).then(|| Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0.0).status();
    }
}

/// Fear: a full disk passes for a spooled message, leaves half a record behind that spoils those after it, or stays full for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_passes() {
    let Some(small) = Small::mount() else {
        println!(
            "skipped: only root can mount a small file system (`pgflow publish` meets a full disk in tests/cli, too)"
        );
        return;
    };
    let dir = small.0.0.join("spool");
    let filler = small.0.0.join("filler");
    std::fs::write(&filler, vec![1; 150_000]).unwrap();
    let publisher = cut_off(&dir).await;
    let sized = || Outgoing::json("notes", "note", &format!("\"{}\"", "x".repeat(10_000))).unwrap();
    let mut kept = 0;
    let error = loop {
        match publisher.send(sized()).await {
            Ok(_) => kept += 1,
            Err(e) => break e,
        }
    };
    let text = error.to_string();
    assert!(
        kept >= 3 && !error.is_spool_full() && text.contains("No space left") && text.contains(".seg"),
        "{kept}: {text}"
    );
    assert_eq!(publisher.spooled().unwrap().messages, kept, "what failed is not counted");
    // A small one may still fit; either way it is as it was said.
    kept += u64::from(publisher.send(note(1)).await.is_ok());
    assert!(publisher.send_many((0..2_000).map(note).collect()).await.is_err());
    // Whole records of the batch were written before it failed: none of them is there.
    assert_eq!(pgflow::spool::inspect(&dir).unwrap().spooled.messages, kept);
    std::fs::remove_file(&filler).unwrap();
    for _ in 0..5 {
        publisher.send(sized()).await.unwrap();
    }
    drop(publisher);
    let folder = Folder(dir);
    eventually(SOON, || async { !folder.inspect().in_use }).await;
    let found = folder.inspect();
    assert_eq!((found.spooled.messages, found.aside.len()), (kept + 5, 0), "{found:?}");
}
