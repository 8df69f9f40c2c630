//! `pgflow serve` and `pgflow work --listen`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::program::{LIMIT, Started, keys, nobody_reads, pgflow, run};
use crate::support::{TestDb, eventually, own_cluster};

/// Status and body of a GET.
fn get(site: &str, path: &str) -> (u16, String) {
    let address = site.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"), body.to_owned())
}

/// Fear: the page or a scrape is empty or wrong, or another site can make it load something.
#[tokio::test(flavor = "multi_thread")]
async fn the_site_shows_queues_dead_letters_and_instances() {
    let db = TestDb::new().await;
    let url = db.url();
    run(&url, &["queue", "create", "mail"]).ok();
    run(&url, &["publish", "mail", "{\"secret\": 1}", "--kind", "order"]).ok();
    let admin = pgflow::Admin::connect(&pgflow::Config::new(&url)).await.expect("an admin");
    admin.raise_alert("shop", "no_stock", "tea", pgflow::admin::AlertLevel::Page, "none left").await.expect("raised");
    let site = Started::new(pgflow(&url).args(["serve", "--listen", "127.0.0.1:0", "--json"]));
    let said: Value = serde_json::from_str(&site.line()).expect("JSON");
    let at = said["url"].as_str().expect("its address");
    let (status, page) = get(at, "/");
    assert_eq!(status, 200);
    assert!(page.contains("<h2>Queues</h2>") && !page.contains("//cdn"), "{page}");
    for asset in ["/page.js", "/page.css"] {
        assert_eq!(get(at, asset).0, 200);
    }
    assert_eq!(get(at, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(at, "/nothing").0, 404);
    let state: Value = serde_json::from_str(&get(at, "/api/state").1).expect("JSON");
    assert_eq!(keys(&state), ["alerts", "dlq", "instances", "queues"]);
    assert_eq!(state["queues"][0]["pending"], 1);
    // The page shows no figure of a queue that nobody sends.
    let script = get(at, "/page.js").1;
    for part in script.split("q.").skip(1) {
        let figure = part.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default();
        assert!(keys(&state["queues"][0]).contains(&figure), "page.js shows q.{figure}");
    }
    let (_, metrics) = get(at, "/metrics");
    assert!(metrics.contains("\npgflow_queue_pending{queue=\"mail\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\npgflow_queue_oldest_pending_seconds{queue=\"mail\"} 0."), "{metrics}");
    assert!(metrics.contains("\npgflow_alerts_standing{alert=\"no_stock\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\npgflow_database_up 1\n"), "{metrics}");
    site.signal("TERM");
    assert_eq!(site.ended().code, Some(0));
}

/// Fear: what this process measured is nowhere to be scraped.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_serves_its_own_metrics() {
    let db = TestDb::new().await;
    let url = db.url();
    let worker = Started::new(pgflow(&url).args(["work", "mail", "--exec", "echo done", "--listen", "127.0.0.1:0"]));
    let at = worker.line();
    run(&url, &["publish", "mail", "{}"]).ok();
    assert_eq!(worker.line(), "done");
    let wanted =
        ["pgflow_start_latency_seconds_bucket{queue=\"mail\",le=\"1\"} 1", "pgflow_instances 1", "pgflow_listening 1"];
    eventually(LIMIT, async || {
        let (_, metrics) = get(&at, "/metrics");
        wanted.iter().all(|line| metrics.lines().any(|l| l == *line))
    })
    .await;
    worker.signal("TERM");
    assert_eq!(worker.ended().code, Some(0));
}

/// Fear: an outage takes the site down, or is reported as health.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_said_and_survived() {
    let mut server = own_cluster(true).await;
    let url = server.url();
    let site = Started::new(pgflow(&url).args(["serve", "--listen", "127.0.0.1:0"]));
    let at = site.line();
    assert_eq!(get(&at, "/healthz").0, 200);
    server.stop_keep(pgflow::devpg::StopMode::Immediate).expect("stopped");
    let (status, reason) = get(&at, "/healthz");
    assert_eq!((status, reason.lines().count()), (503, 1), "{reason}");
    assert_eq!(get(&at, "/api/state").0, 503);
    let (status, metrics) = get(&at, "/metrics");
    assert!(status == 200 && metrics.contains("\npgflow_database_up 0\n"), "{metrics}");
    server.restart(pgflow::devpg::StopMode::Immediate).expect("back again");
    eventually(LIMIT, async || get(&at, "/healthz").0 == 200).await;
}

/// Fear: an address that is taken ends in a panic.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_is_one_line() {
    let db = TestDb::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let line = run(&db.url(), &["serve", "--listen", &address]).fault(1);
    assert!(line.contains(&address), "{line}");
}

/// Killed when the test ends.
struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fear: a service whose stdout nobody reads ends at once, and says that all went well; or it panics when its log's reader leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_address_nobody_reads_is_served() {
    let db = TestDb::new().await;
    for arguments in [&["serve"][..], &["work", "mail", "--exec", "true"]] {
        let mut command = pgflow(&db.url());
        command.args(arguments).args(["--listen", "127.0.0.1:0"]).stdout(nobody_reads()).stderr(Stdio::piped());
        let mut site = Unread(command.spawn().expect("it starts"));
        let log = BufReader::new(site.0.stderr.take().expect("a pipe"));
        let said = log.lines().map_while(Result::ok).find(|line| line.contains("http://")).expect("the log has it");
        let at = said.split('"').find(|part| part.starts_with("http://")).expect("in quotes");
        assert_eq!(get(at, "/healthz"), (200, "ok\n".to_owned()), "{arguments:?}");
    }
}
