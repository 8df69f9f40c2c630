//! The README's example is the one that is compiled, and it runs.
#![cfg(all(feature = "devpg", unix))]

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use support::{TestDb, eventually};

const SOON: std::time::Duration = std::time::Duration::from_secs(20);

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The text of the first block of this language.
fn block(text: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let (_, rest) = text.split_once(&fence).unwrap_or_else(|| panic!("no {language} block"));
    rest.split_once("```").expect("the block ends").0.to_owned()
}

/// Fear: the README shows a program that no longer compiles.
#[test]
fn the_readme_shows_the_example_as_it_is() {
    let example = read("examples/embed.rs");
    let shown = example.strip_prefix("//!").and_then(|rest| rest.split_once('\n')).expect("one line says what it is").1;
    assert_eq!(block(&read("README.md"), "rust"), shown, "copy examples/embed.rs into the README");
}

/// Fear: a map of the docs that leads nowhere.
#[test]
fn links_between_the_docs_lead_somewhere() {
    for page in ["README.md", "ARCHITECTURE.md", "docs/OPERATIONS.md"] {
        let text = read(page);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|t| !t.starts_with("http") && !t.starts_with('#')) {
            let file = target.split('#').next().unwrap_or_default();
            assert!(folder.with_file_name(file).exists(), "{page} links to {target}");
        }
    }
}

/// Where cargo puts examples: beside the folder of this test's binary.
fn example() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let path = own.ancestors().nth(2).expect("target/<profile>/deps").join("examples/embed");
    assert!(path.exists(), "not built: `cargo test` builds the examples, `cargo test --test readme` does not");
    path
}

struct Killed(Child);
impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the system tells: a signal sent before the handler stands would kill it.
fn catches_interrupt(pid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
    mask.and_then(|hex| u64::from_str_radix(hex, 16).ok()).is_none_or(|mask| mask & 0b10 != 0)
}

/// Fear: it compiles, and does not do what the README says.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_handles_its_message_and_stops() {
    let db = TestDb::empty().await;
    let child = Command::new(example()).env("DATABASE_URL", db.url()).stdout(Stdio::piped()).spawn();
    let mut child = Killed(child.expect("it starts"));
    let client = db.client().await;
    let done = "SELECT 1 FROM pgflow_messages WHERE kind = 'send_receipt' AND status = 'done'";
    eventually(SOON, async || client.query(done, &[]).await.is_ok_and(|rows| rows.len() == 1)).await;
    eventually(SOON, async || catches_interrupt(child.0.id())).await;
    let asked = Command::new("kill").args(["-INT", &child.0.id().to_string()]).status().expect("kill runs");
    assert!(asked.success());
    let status = tokio::task::block_in_place(|| child.0.wait()).expect("it ends");
    assert!(status.success(), "{status}");
    let said = std::io::read_to_string(child.0.stdout.take().expect("piped")).expect("text");
    assert_eq!(said, "receipt for order 1, try 1\n");
}
