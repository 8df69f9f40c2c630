//! `pgflow work Q --exec CMD`.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::program::{LIMIT, Started, is_alive, pgflow, run};
use crate::support::{TestDb, eventually, query_text};

/// Starts it; the heartbeat is far beyond the test's patience, so that nothing is found by luck.
fn work(url: &str, exec: &str, more: &[&str]) -> Started {
    let mut command = pgflow(url);
    Started::new(command.args(["work", "mail", "--heartbeat-ms", "30000", "--exec", exec]).args(more))
}

/// `status|retry_count|error` of the message.
async fn fate(client: &Client, id: &str) -> String {
    let sql = format!("SELECT concat_ws('|', status, retry_count, error) FROM pgflow_messages WHERE id = {id}");
    query_text(client, &sql).await.pop().unwrap_or_default()
}

async fn waits_for(client: &Client, id: &str, expected: &str) {
    let mut last = String::new();
    let reached = tokio::time::timeout(LIMIT, async {
        while last != expected {
            last = fate(client, id).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    if reached.await.is_err() {
        panic!("message {id} is {last:?}, not {expected:?}");
    }
}

/// Waits until the instance sleeps: it has armed the wake-up of all common lanes.
async fn sleeps(client: &Client) {
    let armed = "SELECT count(*) FROM pg_locks k JOIN pgflow_meta m ON k.classid::bigint = m.space \
                 JOIN pgflow_lanes l ON k.objid::bigint = l.lane_id % 1024 AND l.target IS NULL \
                 JOIN pg_database d ON d.oid = k.database AND d.datname = current_database() \
                 WHERE k.locktype = 'advisory' AND k.mode = 'ExclusiveLock' AND k.granted";
    eventually(LIMIT, async || query_text(client, armed).await == ["3"]).await;
}

async fn publish(url: &str, more: &[&str]) -> String {
    let id = run(url, &[&["publish", "mail"], more].concat()).ok();
    id.trim().to_owned()
}

async fn with_queue() -> (TestDb, Client) {
    let db = TestDb::new().await;
    run(&db.url(), &["queue", "create", "mail", "--retry-delay", "1h", "--retry-delay-max", "1h"]).ok();
    let client = db.client().await;
    (db, client)
}

/// Fear: an exit code means another fate than documented, or the operator does not see why.
#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_decides() {
    let (db, client) = with_queue().await;
    let url = db.url();
    let script = "case $PGFLOW_KIND in
        done) exit 0;;
        dead) echo 'no such order' >&2; exit 65;;
        mute) exit 65;;
        fail) echo first >&2; echo 'try again' >&2; exit 3;;
        missing) no-such-command-anywhere;;
        killed) kill -9 $$;;
        long) head -c 5000 /dev/zero | tr '\\0' x >&2; echo END >&2; exit 1;;
        raw) printf 'a\\000b\\377' >&2; exit 1;;
    esac";
    let worker = work(&url, script, &["--workers", "2"]);
    for (kind, expected) in [
        ("done", "done|0"),
        ("dead", "dead|0|no such order"),
        ("mute", "dead|0|exit code 65"),
        ("fail", "scheduled|1|first\ntry again"),
        ("killed", "scheduled|1|killed by signal 9"),
        ("raw", "scheduled|1|a\u{fffd}b\u{fffd}"),
    ] {
        waits_for(&client, &publish(&url, &["{}", "--kind", kind]).await, expected).await;
    }
    let missing = publish(&url, &["{}", "--kind", "missing"]).await;
    eventually(LIMIT, async || fate(&client, &missing).await.contains("no-such-command-anywhere")).await;
    let long = publish(&url, &["{}", "--kind", "long"]).await;
    eventually(LIMIT, async || fate(&client, &long).await.starts_with("scheduled|1|x")).await;
    let error = fate(&client, &long).await;
    assert!(error.ends_with("END") && error.len() <= "scheduled|1|".len() + 2_048, "{} bytes", error.len());
    worker.signal("TERM");
    assert_eq!(worker.ended().code, Some(0));
}

/// Fear: a program cannot tell which message it has, or sees a key that another message had.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_gets_payload_and_environment() {
    let (db, _client) = with_queue().await;
    let url = db.url();
    let script =
        r#"echo "$PGFLOW_ID|$PGFLOW_QUEUE|$PGFLOW_KIND|$PGFLOW_ATTEMPT|${PGFLOW_KEY-unset}|$(cat)|$PGFLOW_MESSAGE_ID""#;
    let worker = Started::new(pgflow(&url).env("PGFLOW_KEY", "outer").args(["work", "mail", "--exec", script]));
    let id = publish(&url, &["{\"n\": 1}", "--kind", "order", "--key", "k1"]).await;
    let line = worker.line();
    let (told, message_id) = line.rsplit_once('|').expect("fields");
    assert_eq!(told, format!("{id}|mail|order|1|k1|{{\"n\": 1}}"));
    assert_eq!(message_id.len(), 36, "{message_id}");
    let id = publish(&url, &["[2]", "--kind", "other"]).await;
    assert!(worker.line().starts_with(&format!("{id}|mail|other|1|unset|[2]|")));
}

/// Fear: what travels beside the payload cannot be read; or a message with more of it than the kernel passes on is never handled.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_gets_headers_priority_and_source() {
    let (db, client) = with_queue().await;
    let url = db.url();
    let script = r#"echo "$PGFLOW_PRIORITY|${PGFLOW_SOURCE-unset}|${PGFLOW_HEADERS-unset}""#;
    let outer = Started::new(pgflow(&url).env("PGFLOW_HEADERS", "outer").args(["work", "mail", "--exec", script]));
    publish(&url, &["{}", "--headers", "{\"trace\": \"é 7\"}", "--priority", "high"]).await;
    let line = outer.line();
    assert!(line.starts_with("high|") && line.ends_with("|{\"trace\":\"é 7\"}"), "{line}");
    // No way to publish takes so much: somebody wrote it into the table.
    run(&url, &["queue", "pause", "mail"]).ok();
    let large = "SELECT pgflow_publish('mail', '{}', headers => '{}', priority => -10);
        UPDATE pgflow_ready SET headers = jsonb_build_object('x', repeat('y', 200000))";
    client.batch_execute(large).await.expect("published");
    run(&url, &["queue", "resume", "mail"]).ok();
    assert_eq!(outer.line(), "low|sql|unset");
}

/// Fear: a program that ignores its stdin fails for it, or a large payload blocks it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_read_is_done() {
    let (db, client) = with_queue().await;
    let large = format!("\"{}\"", "x".repeat(900_000));
    let file = std::env::temp_dir().join(format!("pgflow-large-{}", std::process::id()));
    std::fs::write(&file, large).expect("a file");
    let path = file.to_str().expect("UTF-8");
    let _worker = work(&db.url(), "if [ $PGFLOW_KIND = closes ]; then exec <&-; fi; exit 0", &[]);
    for kind in ["ignores", "closes"] {
        let id = publish(&db.url(), &["--file", path, "--kind", kind]).await;
        waits_for(&client, &id, "done|0").await;
    }
    std::fs::remove_file(file).expect("it is ours");
}

/// Fear: a program that left something in the background holds its worker for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_background_process_does_not_hold_the_worker() {
    let (db, client) = with_queue().await;
    let worker = work(&db.url(), "sleep 600 & echo $!", &[]);
    let id = publish(&db.url(), &["{}"]).await;
    waits_for(&client, &id, "done|0").await;
    let background = worker.line();
    assert!(is_alive(&background));
    assert!(std::process::Command::new("kill").arg(&background).status().expect("kill runs").success());
}

/// Fear: a hung program keeps its worker, or what it started outlives the deadline and writes beside the retry.
#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_kills_the_whole_group() {
    let (db, client) = with_queue().await;
    let worker = work(&db.url(), "sleep 600 & echo $!; trap '' TERM; wait; sleep 600", &["--deadline", "300ms"]);
    for priority in ["normal", "high"] {
        let id = publish(&db.url(), &["{}", "--priority", priority]).await;
        let inner = worker.line();
        waits_for(&client, &id, "scheduled|1|ran past its deadline of 300 ms").await;
        eventually(LIMIT, async || !is_alive(&inner)).await;
    }
}

/// Fear: a deployment's SIGTERM cuts work that would have ended in its grace.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_the_command_end() {
    let (db, client) = with_queue().await;
    let gate = std::env::temp_dir().join(format!("pgflow-gate-{}", std::process::id()));
    let script = format!("echo started; while [ ! -e {} ]; do sleep 0.01; done", gate.display());
    let worker = work(&db.url(), &script, &["--grace", "60s"]);
    let running = publish(&db.url(), &["{}"]).await;
    assert_eq!(worker.line(), "started");
    worker.signal("TERM");
    std::fs::write(&gate, "").expect("a file");
    let ran = worker.ended();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(fate(&client, &running).await, "done|0");
    std::fs::remove_file(gate).expect("it is ours");
}

/// Fear: past the grace a program runs on beside its own second delivery, or the stop costs the message a try.
#[tokio::test(flavor = "multi_thread")]
async fn past_the_grace_it_is_killed_and_handed_back() {
    let (db, client) = with_queue().await;
    let worker = work(&db.url(), "echo $$; sleep 600", &["--grace", "100ms"]);
    let mut running = Vec::new();
    for priority in ["normal", "high"] {
        let id = publish(&db.url(), &["{}", "--priority", priority]).await;
        running.push((id, worker.line()));
    }
    worker.signal("INT");
    assert_eq!(worker.ended().code, Some(0));
    for (id, pid) in running {
        assert_eq!(fate(&client, &id).await, "pending|0");
        eventually(LIMIT, async || !is_alive(&pid)).await;
    }
}

/// Fear: a producer in plain SQL waits for somebody's poll. With a heartbeat of 30 s, only the wake-up can do it in 10.
#[tokio::test(flavor = "multi_thread")]
async fn plain_sql_wakes_an_idle_worker() {
    let (db, client) = with_queue().await;
    let worker = work(&db.url(), "cat; echo", &[]);
    sleeps(&client).await;
    let begun = Instant::now();
    let woken = async {
        let sql = "INSERT INTO pgflow_messages (queue_name, payload) VALUES ('mail', '{\"by\": \"insert\"}')";
        client.batch_execute(sql).await.expect("published");
        assert_eq!(worker.line(), "{\"by\": \"insert\"}");
        sleeps(&client).await;
        client.batch_execute("SELECT pgflow_publish('mail', '{\"by\": \"function\"}')").await.expect("published");
        assert_eq!(worker.line(), "{\"by\": \"function\"}");
        sleeps(&client).await;
        let urgent = "SELECT pgflow_publish('mail', '{\"by\": \"urgent\"}', priority => 10)";
        client.batch_execute(urgent).await.expect("published");
        assert_eq!(worker.line(), "{\"by\": \"urgent\"}");
    };
    woken.await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// Fear: two workers under one name take each other's addressed messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_once() {
    let (db, client) = with_queue().await;
    let worker = work(&db.url(), "cat; echo", &["--instance", "east"]);
    sleeps(&client).await;
    let arguments = ["work", "mail", "--exec", "true", "--instance", "east"];
    let line = run(&db.url(), &arguments);
    assert_eq!(line.code, Some(1), "{line:?}");
    assert!(line.stderr.contains("a live instance has this name"), "{line:?}");
    publish(&db.url(), &["{\"to\": \"east\"}", "--target", "east"]).await;
    assert_eq!(worker.line(), "{\"to\": \"east\"}");
}

/// Fear: a slip of the pen in a queue's name makes another one, and its worker waits for ever without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_work_makes_is_said() {
    let (db, client) = with_queue().await;
    for (queue, made) in [("mial", true), ("mial", false), ("mail", false)] {
        let worker = Started::new(pgflow(&db.url()).args(["work", queue, "--exec", "true"]));
        let lives = "SELECT count(*) FROM pgflow_instances WHERE ended_at IS NULL";
        eventually(LIMIT, async || query_text(&client, lives).await == ["1"]).await;
        worker.signal("TERM");
        let ran = worker.ended();
        let said = ran.stderr.lines().any(|line| line.contains("queue made") && line.contains("mial"));
        assert_eq!((ran.code, said), (Some(0), made), "{ran:?}");
        eventually(LIMIT, async || query_text(&client, lives).await == ["0"]).await;
    }
}
