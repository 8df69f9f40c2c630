//! What a folder remembers over starts that no Postgres has seen.

use super::*;
use crate::Outgoing;

fn entry() -> Vec<u8> {
    Journal::encode(&Entry::new(&Outgoing::json("mail", "k", "1").unwrap(), "me", false)).unwrap()
}

/// Fear: numbers that were given since the last meeting with Postgres are lost with the folder's end, come again, and pass for those
/// that Postgres knows.
#[test]
fn numbers_that_come_again_are_unmet() {
    let dir = std::env::temp_dir().join(format!("pgflow-journal-{}", std::process::id()));
    let mut journal = Journal::open(&dir).unwrap();
    journal.met();
    journal.append(&[entry(), entry(), entry()]).unwrap();
    drop(journal);
    let journal = Journal::open(&dir).unwrap();
    assert_eq!((journal.next, journal.state.unmet_from), (4, Some(4)));
    drop(journal);
    let segment = folder::segment_path(&dir, 1);
    let file = File::options().write(true).open(&segment).unwrap();
    file.set_len(file.metadata().unwrap().len() - 2).unwrap();
    let journal = Journal::open(&dir).unwrap();
    assert_eq!((journal.next, journal.state.unmet_from), (3, Some(3)));
    drop(journal);
    std::fs::remove_dir_all(&dir).unwrap();
}
