//! How much it takes, and who may use it.

use std::os::unix::fs::PermissionsExt;

use crate::*;

/// Fear: the limit is off by one, drops what is too much, or stays reached when there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn the_ten_thousandth_is_kept_and_the_next_is_an_error() {
    let folder = Folder::new();
    let publisher = cut_off(&folder.0).await;
    let batch: Vec<Outgoing> = (0..9_999).map(note).collect();
    assert_eq!(publisher.send_many(batch).await.unwrap().len(), 9_999);
    // A batch is all or nothing.
    assert!(publisher.send_many(vec![note(1), note(2)]).await.unwrap_err().is_spool_full());
    publisher.publish(&Note { n: 9_999 }).await.unwrap();
    let full = publisher.publish(&Note { n: 10_000 }).await.unwrap_err();
    let text = full.to_string();
    assert!(full.is_spool_full() && !full.is_closed() && text.contains("10000 of 10000 messages"), "{text}");
    assert!(text.contains(folder.0.to_str().unwrap()), "{text}");
    assert_eq!(publisher.spooled().unwrap().messages, 10_000);
    closed(publisher, &folder).await;
    assert_eq!(folder.inspect().spooled.messages, 10_000);
    // Still full after a start.
    assert!(cut_off(&folder.0).await.publish(&Note { n: 1 }).await.unwrap_err().is_spool_full());
}

/// Fear: many small messages or one large one pass the limit of bytes.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_byte_is_taken_and_no_more() {
    let folder = Folder::new();
    let sized = |bytes: usize| Outgoing::json("notes", "note", &format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
    let one = {
        let publisher = cut_off(&folder.0).await;
        publisher.send(sized(1_000)).await.unwrap();
        let bytes = publisher.spooled().unwrap().bytes;
        closed(publisher, &folder).await;
        bytes
    };
    let mut settings = config(NOWHERE, &folder.0);
    settings.spool_bytes_max = 8 * one;
    let publisher = Publisher::connect(&settings).await.unwrap();
    for _ in 0..7 {
        publisher.send(sized(1_000)).await.unwrap();
    }
    assert_eq!(publisher.spooled().unwrap().bytes, 8 * one);
    let full = publisher.send(sized(2)).await.unwrap_err();
    assert!(full.is_spool_full() && full.to_string().contains(&format!("{0} of {0} bytes", 8 * one)), "{full}");
    closed(publisher, &folder).await;
    settings.spool_bytes_max = 8 * one - 1;
    assert!(Publisher::connect(&settings).await.unwrap().send(sized(2)).await.unwrap_err().is_spool_full());
}

/// Fear: two processes write into one folder, and each takes the other's records for its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_user_of_the_folder_is_refused() {
    let folder = Folder::new();
    let first = cut_off(&folder.0).await;
    first.publish(&Note { n: 1 }).await.unwrap();
    // The lock is the file's, so that another process meets the same.
    let error = Publisher::connect(&config(NOWHERE, &folder.0)).await.unwrap_err().to_string();
    assert!(error.contains(folder.0.to_str().unwrap()), "{error}");
    assert!(error.contains(&format!("process {} uses this folder", std::process::id())), "{error}");
    let shown = folder.inspect();
    assert!(shown.in_use && shown.spooled.messages == 1, "looking is allowed");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.0), 0o700);
    for file in std::fs::read_dir(&folder.0).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600, "messages may be secret");
    }
    closed(first, &folder).await;
    assert_eq!(cut_off(&folder.0).await.spooled().unwrap().messages, 1);
}

/// Fear: a setting that cannot work is found out at the first outage.
#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_at_once() {
    let folder = Folder::new();
    let mut settings = config(NOWHERE, &folder.0);
    settings.spool_messages_max = 0;
    assert!(Publisher::connect(&settings).await.unwrap_err().is_config());
    std::fs::write(&folder.0, "a file").unwrap();
    assert!(Publisher::connect(&config(NOWHERE, &folder.0)).await.is_err());
    std::fs::remove_file(&folder.0).unwrap();
}
