//! A process that spools is killed.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

use pgflow::devpg::StopMode;

use crate::{
    support::{connect, own_cluster},
    *,
};

const MESSAGES: i64 = 1_000;

/// Not a test by itself: without its environment it ends at once. Publishes message 0, then on each line of stdin as many as it says.
#[tokio::test(flavor = "multi_thread")]
async fn spooler() {
    let Ok(url) = std::env::var("PGFLOW_SPOOLER_URL") else { return };
    let dir = PathBuf::from(std::env::var("PGFLOW_SPOOLER_DIR").unwrap());
    let publisher = Publisher::connect(&config(&url, &dir)).await.unwrap();
    println!("ready");
    let mut next = 1;
    for line in std::io::stdin().lines() {
        let until = next + line.unwrap().parse::<i64>().unwrap();
        while next < until {
            let receipt = publisher.publish(&Note { n: next }).await.unwrap();
            println!("{} {}", next, if is_spooled(&receipt) { "spooled" } else { "postgres" });
            next += 1;
        }
    }
}

struct Spooler {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Spooler {
    fn start(url: &str, dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::spooler", "--nocapture", "--test-threads=1"])
            .env("PGFLOW_SPOOLER_URL", url)
            .env("PGFLOW_SPOOLER_DIR", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut started = Self { child, lines };
        started.line("ready");
        started
    }

    fn publish(&mut self, n: i64) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{n}").unwrap();
    }

    /// The next line that ends so.
    fn line(&mut self, end: &str) -> String {
        self.lines.by_ref().map(Result::unwrap).find(|line| line.ends_with(end)).expect("it runs")
    }
}

impl Drop for Spooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fear: what was said to be spooled dies with the process or the machine's caches, comes in another order, or twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_outlive_the_server_and_kill_dash_nine() {
    let mut server = own_cluster(true).await;
    let url = server.url();
    connect(&url).await.batch_execute("SELECT pgflow_create_queue('notes')").await.unwrap();
    let folder = Folder::new();
    let mut spooler = Spooler::start(&url, &folder.0);
    spooler.publish(1);
    assert!(spooler.line("postgres").starts_with("1 "));
    server.stop_keep(StopMode::Immediate).unwrap();
    spooler.publish(MESSAGES);
    for n in 2..=MESSAGES + 1 {
        assert_eq!(spooler.line("spooled"), format!("{n} spooled"));
    }
    // SIGKILL; nothing of it is left but the folder.
    drop(spooler);
    assert_eq!(folder.inspect().spooled.messages, MESSAGES as u64);
    assert!(!folder.inspect().in_use);
    server.restart(StopMode::Immediate).unwrap();
    let _spooler = Spooler::start(&url, &folder.0);
    eventually(SOON, || async { folder.inspect().spooled.messages == 0 }).await;
    assert_eq!(ns(&connect(&url).await).await, (1..=MESSAGES + 1).collect::<Vec<_>>());
    assert!(folder.inspect().aside.is_empty());
}

/// Fear: a process that is killed again and again while it forwards publishes a batch twice, or skips one.
#[tokio::test(flavor = "multi_thread")]
async fn kills_while_it_is_forwarded_repeat_nothing() {
    let scene = Scene::new().await;
    let publisher = cut_off(&scene.folder.0).await;
    for chunk in 0..8 {
        publisher.send_many((0..1_000).map(|n| note(1_000 * chunk + n)).collect()).await.unwrap();
    }
    closed(publisher, &scene.folder).await;
    for rounds in 1..=6 {
        let _spooler = Spooler::start(&scene.url(), &scene.folder.0);
        // Killed at a place that depends on the machine: between two looks at the table.
        let count =
            || async { query_text(&scene.sql, "SELECT count(*) FROM pgflow_ready").await[0].parse::<i64>().unwrap() };
        eventually(SOON, || async { count().await >= 1_000 * rounds }).await;
    }
    let publisher = scene.publisher().await;
    drained(&publisher).await;
    assert_eq!(scene.ns().await, (0..8_000).collect::<Vec<_>>());
}
