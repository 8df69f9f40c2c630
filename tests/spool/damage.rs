//! The folder is not as it was written. What is wrong is told and set aside; the rest is forwarded.

use pgflow::spool::Fate;

use crate::*;

/// A folder with so many records, in one file, closed.
async fn with_records(n: i64) -> Folder {
    let folder = Folder::new();
    let publisher = cut_off(&folder.0).await;
    for n in 0..n {
        publisher.publish(&Note { n }).await.unwrap();
    }
    closed(publisher, &folder).await;
    folder
}

fn fates(folder: &Folder) -> Vec<Fate> {
    folder.inspect().aside.iter().map(|line| line.fate).collect()
}

/// Fear: what a power cut left of the last record takes others along, passes for a record, or stops the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_is_cut_at_every_byte() {
    let whole = with_records(2).await;
    let bytes = std::fs::read(&whole.segments()[0]).unwrap();
    let last = bytes.windows(2).rposition(|pair| pair == [0, 0]).unwrap() + 1;
    for len in last..bytes.len() {
        let folder = whole.copy();
        std::fs::write(&folder.segments()[0], &bytes[..len]).unwrap();
        // Without its closing zero alone the record is whole.
        let there = if len + 1 == bytes.len() { 2 } else { 1 };
        assert_eq!(folder.inspect().spooled.messages, there, "cut at {len}");
        let publisher = cut_off(&folder.0).await;
        publisher.publish(&Note { n: 9 }).await.unwrap();
        assert_eq!(publisher.spooled().unwrap().messages, there + 1, "cut at {len}");
        closed(publisher, &folder).await;
        let torn = if there == 1 && len > last + 1 { vec![Fate::Torn] } else { vec![] };
        assert_eq!((folder.inspect().spooled.messages, fates(&folder)), (there + 1, torn), "cut at {len}");
    }
}

/// Fear: a process dies while it writes a batch, and a part of that is forwarded: it is all or none.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_cut_anywhere_is_gone_as_a_whole() {
    let whole = Folder::new();
    let publisher = cut_off(&whole.0).await;
    publisher.publish(&Note { n: 0 }).await.unwrap();
    let first = publisher.spooled().unwrap().bytes as usize;
    publisher.send_many((1..4).map(note).collect()).await.unwrap();
    closed(publisher, &whole).await;
    let bytes = std::fs::read(&whole.segments()[0]).unwrap();
    for len in first..=bytes.len() {
        let folder = whole.copy();
        std::fs::write(&folder.segments()[0], &bytes[..len]).unwrap();
        // Without its closing zero alone the last record is whole.
        let there = if len + 1 >= bytes.len() { 4 } else { 1 };
        assert_eq!(folder.inspect().spooled.messages, there, "cut at {len}");
        let publisher = cut_off(&folder.0).await;
        publisher.publish(&Note { n: 9 }).await.unwrap();
        closed(publisher, &folder).await;
        assert_eq!(folder.inspect().spooled.messages, there + 1, "cut at {len}");
        assert!(fates(&folder).iter().all(|fate| *fate == Fate::Torn), "cut at {len}: {:?}", fates(&folder));
    }
}

/// Fear: a flipped bit takes a neighbour along, is forwarded as it is, or is told to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_costs_its_record_and_is_told() {
    let whole = with_records(4).await;
    let bytes = std::fs::read(&whole.segments()[0]).unwrap();
    for at in 0..bytes.len() {
        let folder = whole.copy();
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&folder.segments()[0], &flipped).unwrap();
        let found = folder.inspect();
        let told = found.aside.iter().any(|line| line.fate == Fate::Damaged && line.bytes.is_some());
        // The very last zero is needed by nobody.
        let expected = if at + 1 == bytes.len() { (4, false) } else { (3, true) };
        assert_eq!((found.spooled.messages, told), expected, "byte {at}");
    }
}

/// Fear: the damage is seen by whoever looks, and the forwarder stops at it, or forgets to keep it.
#[tokio::test(flavor = "multi_thread")]
async fn the_rest_is_forwarded_and_the_damage_kept() {
    let scene = Scene::new().await;
    let made = with_records(10).await;
    scene.folder.take_from(&made);
    let segment = &scene.folder.segments()[0];
    let mut bytes = std::fs::read(segment).unwrap();
    let record = bytes.len() / 10;
    bytes[4 * record + record / 2] ^= 0x10;
    std::fs::write(segment, &bytes).unwrap();
    let publisher = scene.publisher().await;
    drained(&publisher).await;
    let others: Vec<i64> = (0..10).filter(|n| *n != 4).collect();
    assert_eq!(scene.ns().await, others);
    closed(publisher, &scene.folder).await;
    let found = scene.folder.inspect();
    assert_eq!(found.aside.len(), 1, "{found:?}");
    let line = &found.aside[0];
    assert_eq!((line.fate, line.first, line.last), (Fate::Damaged, 5, 5));
    assert!(line.bytes.as_ref().unwrap().len() > record, "the bytes are kept");
}

/// Fear: a bit is flipped while the process runs, after all of the folder was read.
#[tokio::test(flavor = "multi_thread")]
async fn damage_under_a_running_process_is_found_when_it_is_read() {
    let scene = Scene::new().await;
    let publisher = scene.publisher().await;
    scene.proxy.set(proxy::Mode::Down);
    for n in 0..10 {
        publisher.publish(&Note { n }).await.unwrap();
    }
    let segment = &scene.folder.segments()[0];
    let bytes = std::fs::read(segment).unwrap();
    let at = (3 * bytes.len() / 10 + bytes.len() / 20) as u64;
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[bytes[at as usize] ^ 1], at).unwrap();
    scene.proxy.set(proxy::Mode::Up);
    drained(&publisher).await;
    assert_eq!(scene.ns().await, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!(fates(&scene.folder), [Fate::Damaged]);
}

/// Fear: a deleted file is missed by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_segment_is_missed() {
    let folder = Folder::new();
    // Each start writes a file of its own.
    for start in 0..3 {
        let publisher = cut_off(&folder.0).await;
        publisher.send_many((0..4).map(|n| note(10 * start + n)).collect()).await.unwrap();
        closed(publisher, &folder).await;
    }
    let files = folder.segments();
    assert_eq!(files.len(), 3);
    for (deleted, first, last) in [(0, 1, 4), (1, 5, 8), (2, 9, 9)] {
        let scene = Scene::new().await;
        scene.folder.take_from(&folder);
        std::fs::remove_file(scene.folder.0.join(files[deleted].file_name().unwrap())).unwrap();
        let publisher = scene.publisher().await;
        publisher.publish(&Note { n: 99 }).await.unwrap();
        drained(&publisher).await;
        let mut expected: Vec<i64> =
            (0..3).filter(|s| *s != deleted as i64).flat_map(|s| (0..4).map(move |n| 10 * s + n)).collect();
        expected.push(99);
        assert_eq!(scene.ns().await, expected);
        closed(publisher, &scene.folder).await;
        let aside = scene.folder.inspect().aside;
        let told: Vec<_> = aside.iter().map(|line| (line.fate, line.first, line.last)).collect();
        assert_eq!(told, [(Fate::Missing, first, last)]);
    }
}

/// Fear: without the file that says how far it was forwarded, all is forwarded again, or none.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_state_each_message_is_looked_for() {
    for damaged in [false, true] {
        let scene = Scene::new().await;
        scene.spools(0..5).await;
        let before = scene.folder.copy();
        scene.forwards().await;

        scene.folder.take_from(&before);
        let state = scene.folder.0.join("state");
        if damaged {
            std::fs::write(&state, "nonsense").unwrap();
        } else {
            std::fs::remove_file(&state).unwrap();
        }
        scene.spools(5..7).await;
        scene.forwards().await;
        assert_eq!(scene.ns().await, (0..7).collect::<Vec<_>>());
    }
}

/// Fear: the whole folder is deleted under a running process, and `Ok` is said for what nobody keeps.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_deleted_under_a_running_process_is_not_written_on() {
    let folder = Folder::new();
    let publisher = cut_off(&folder.0).await;
    publisher.publish(&Note { n: 1 }).await.unwrap();
    std::fs::remove_file(&folder.segments()[0]).unwrap();
    publisher.publish(&Note { n: 2 }).await.unwrap();
    assert_eq!(folder.inspect().spooled.messages, 1);
    std::fs::remove_dir_all(&folder.0).unwrap();
    let error = publisher.publish(&Note { n: 3 }).await.unwrap_err().to_string();
    assert!(error.starts_with("spool: ") && error.contains(folder.0.to_str().unwrap()), "{error}");
}
