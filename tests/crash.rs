//! Deaths: of an instance, of a process by its own message, of the server, and a process that is only stopped.

mod support;

use std::time::Duration;

use pgflow::devpg::StopMode;
use support::{TestDb, connect, eventually, own_cluster, probe::*, query_text, victim::*};

const SOON: Duration = Duration::from_secs(60);

/// Not a test by itself: without its environment it ends at once.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    support::victim::run().await;
}

/// Every message in exactly one place, each done, each effect exactly once.
async fn whole(client: &tokio_postgres::Client, n: i64) {
    let finished = || async {
        query_text(client, "SELECT count(*)::text FROM pgflow_history WHERE status = 'done'").await == [n.to_string()]
    };
    eventually(SOON, finished).await;
    let counts = query_text(client, "SELECT count(*) || ' ' || count(DISTINCT id) FROM pgflow_messages").await;
    assert_eq!(counts, [format!("{n} {n}")], "lost or doubled messages");
    let effects = query_text(client, "SELECT count(*) || ' ' || count(DISTINCT n) FROM fx").await;
    assert_eq!(effects, [format!("{n} {n}")], "lost or doubled effects");
}

/// Fear: kill -9 under load loses a message, or repeats an effect.
#[tokio::test(flavor = "multi_thread")]
async fn kill_dash_nine_under_load_loses_nothing() {
    const N: i64 = 3_000;
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let seen = Seen::new();
    let stays = probing_queue(quick(&db.url(), "stays"), victims_queue(), &seen).await;
    let publishing = {
        let publisher = stays.publisher().clone();
        tokio::spawn(async move {
            for n in 0..N {
                publisher
                    .publish(&Probe { n, act: Act::Effect, key: (n % 3 == 0).then(|| format!("k{}", n % 30)) })
                    .await
                    .unwrap();
            }
        })
    };
    let mut deaths = 0;
    while !publishing.is_finished() || deaths < 3 {
        let name = format!("victim-{deaths}");
        let victim = Victim::start(&db.url(), &name);
        eventually(SOON, || live(&client, &name)).await;
        let busy = format!(
            "SELECT 'x' FROM pgflow_history h JOIN pgflow_instances i USING (session_id) WHERE i.name = '{name}' LIMIT 1"
        );
        if !publishing.is_finished() {
            eventually(SOON, || async { publishing.is_finished() || !query_text(&client, &busy).await.is_empty() })
                .await;
        }
        victim.kill();
        deaths += 1;
    }
    publishing.await.unwrap();
    whole(&client, N).await;
    let overlaps = "SELECT h.id::text FROM (SELECT id, claimed_at, lag(finished_at) OVER (PARTITION BY ordering_key ORDER BY id) AS before \
                    FROM pgflow_history WHERE ordering_key IS NOT NULL) h WHERE h.claimed_at < h.before";
    assert!(query_text(&client, overlaps).await.is_empty(), "two of one key at once, or out of order");
    assert_eq!(stays.found_by_heartbeat(), 0);
    stays.stop(SOON).await.unwrap();
}

/// Fear: a message that ends its process goes round for ever, and takes every instance with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_aborts_its_process_ends_in_the_dlq() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("SELECT pgflow_create_queue('probe')").await.unwrap();
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    publisher.publish(&Probe::act(1, Act::Abort)).await.unwrap();
    let mut deaths = 0;
    loop {
        let name = format!("victim-{deaths}");
        let mut victim = Victim::start(&db.url(), &name);
        let dead = "SELECT error_kind || ' ' || attempt FROM pgflow_dlq";
        let over = eventually(SOON, || {
            let died = victim.0.try_wait().unwrap().is_some();
            let client = &client;
            async move {
                let dead = query_text(client, dead).await;
                if !dead.is_empty() { Some(Some(dead)) } else { died.then_some(None) }
            }
        })
        .await;
        match over {
            Some(dead) => {
                assert_eq!(dead, ["process_died 4"]);
                break;
            }
            None => deaths += 1,
        }
        assert!(deaths <= 4, "it went round");
    }
    assert_eq!(deaths, 4);
}

/// Fear: a stopped process that comes back after its lease settles what another is at work on by now.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_instance_past_its_lease_cannot_settle() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let gate = std::env::temp_dir().join(format!("pgflow-victim-{}-{}", std::process::id(), db.name()));
    let victim = Victim::start_with(&db.url(), "victim", &[("PGFLOW_VICTIM_GATE", gate.to_str().unwrap())]);
    eventually(SOON, || live(&client, "victim")).await;
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    // Its handler has written its effect and waits at the gate: it is in the middle of the message when it is stopped.
    publisher.publish(&Probe::act(1, Act::EffectThenWait)).await.unwrap();
    let in_transaction = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                          AND application_name = 'pgflow handlers' AND state = 'idle in transaction'";
    eventually(SOON, || async { query_text(&client, in_transaction).await == ["1"] }).await;
    victim.signal("-STOP");
    let mut c = quick(&db.url(), "rescuer");
    c.lease_ms = 10_000;
    let seen = Seen::new();
    let rescuer = probing_queue(c, victims_queue(), &seen).await;
    eventually(SOON, || async { query_text(&client, in_transaction).await == ["2"] }).await;
    // The message is active under the rescuer's token when the victim's handler ends well and tries to settle.
    std::fs::write(&gate, "").unwrap();
    victim.signal("-CONT");
    eventually(SOON, || async { query_text(&client, in_transaction).await == ["1"] }).await;
    assert_eq!(
        query_text(&client, "SELECT status FROM pgflow_messages").await,
        ["processing"],
        "it was not its to settle"
    );
    seen.open();
    whole(&client, 1).await;
    let by = "SELECT name FROM pgflow_history JOIN pgflow_instances USING (session_id)";
    assert_eq!(query_text(&client, by).await, ["rescuer"]);
    assert_eq!(query_text(&client, "SELECT event FROM pgflow_attempts").await, ["process_died"]);
    // The victim comes back under its own name.
    eventually(SOON, || live(&client, "victim")).await;
    std::fs::remove_file(&gate).unwrap();
    rescuer.stop(SOON).await.unwrap();
}

/// Fear: a rescue lets go of the keys of what it takes back, and the next one overtakes a message that was only interrupted.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_head_keeps_its_key() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let victim = Victim::start(&db.url(), "victim");
    eventually(SOON, || live(&client, "victim")).await;
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    for n in 1..=3 {
        publisher.publish(&Probe { n, act: Act::EffectThenWait, key: Some("k".into()) }).await.unwrap();
    }
    eventually(SOON, || async { query_text(&client, "SELECT id::text FROM pgflow_active").await.len() == 1 }).await;
    victim.kill();
    let seen = Seen::new();
    let rescuer = probing_queue(quick(&db.url(), "rescuer"), victims_queue(), &seen).await;
    eventually(SOON, || async { seen.running() > 0 }).await;
    let statuses = query_text(&client, "SELECT status FROM pgflow_messages ORDER BY id").await;
    assert_eq!(statuses, ["processing", "parked", "parked"]);
    seen.open();
    whole(&client, 3).await;
    let starts: Vec<_> = seen.starts().iter().map(|s| (s.n, s.attempt)).collect();
    assert_eq!(starts, [(1, 2), (2, 1), (3, 1)]);
    rescuer.stop(SOON).await.unwrap();
}

/// Fear: a dead instance counts as dealt with though one of its messages was locked during the rescue, and that one stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_locked_during_the_rescue_is_rescued_later() {
    let db = TestDb::new().await;
    let (client, mut theirs) = (db.client().await, db.client().await);
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let victim = Victim::start(&db.url(), "victim");
    eventually(SOON, || live(&client, "victim")).await;
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    publisher.publish_many(&[Probe::act(1, Act::EffectThenWait), Probe::act(2, Act::EffectThenWait)]).await.unwrap();
    eventually(SOON, || async { query_text(&client, "SELECT id::text FROM pgflow_active").await.len() == 2 }).await;
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("SELECT 1 FROM pgflow_active ORDER BY id LIMIT 1 FOR UPDATE").await.unwrap();
    victim.kill();
    let seen = Seen::new();
    seen.open();
    let rescuer = probing_queue(quick(&db.url(), "rescuer"), victims_queue(), &seen).await;
    eventually(SOON, || async { seen.ended() == 1 }).await;
    tx.rollback().await.unwrap();
    whole(&client, 2).await;
    assert_eq!(seen.ns(), [2, 1]);
    rescuer.stop(SOON).await.unwrap();
}

/// Fear: a server that stops at once and comes back loses what was settled, or runs it again.
#[tokio::test(flavor = "multi_thread")]
async fn an_immediate_server_restart_under_load_loses_and_repeats_nothing() {
    let mut server = own_cluster(true).await;
    let url = server.url();
    let client = connect(&url).await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let seen = Seen::new();
    let mut c = quick(&url, "a");
    c.rescue_grace_ms = 1_000;
    let a = probing_queue(c, victims_queue(), &seen).await;
    let publishing = {
        let publisher = a.publisher().clone();
        tokio::spawn(async move {
            // An answer that was lost leaves the outcome unknown: those may or may not be there.
            let (mut acknowledged, mut unknown) = (Vec::new(), Vec::new());
            for n in 0..4_000 {
                match publisher.publish(&Probe::act(n, Act::Effect)).await {
                    Ok(_) => acknowledged.push(n),
                    Err(e) if e.is_closed() => {
                        unknown.push(n);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(e) => panic!("{e}"),
                }
            }
            (acknowledged, unknown)
        })
    };
    eventually(SOON, || async { seen.count() > 200 }).await;
    let server = tokio::task::spawn_blocking(move || {
        server.restart(StopMode::Immediate).unwrap();
        server
    })
    .await
    .unwrap();
    let (acknowledged, unknown) = publishing.await.unwrap();
    let client = connect(&url).await;
    let waiting = "SELECT count(*)::text FROM pgflow_messages WHERE status NOT IN ('done', 'dead')";
    eventually(SOON, || async { query_text(&client, waiting).await == ["0"] }).await;
    let there: std::collections::HashSet<i64> =
        client.query("SELECT n FROM fx", &[]).await.unwrap().iter().map(|r| r.get(0)).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|n| !there.contains(n)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(there.iter().all(|n| acknowledged.contains(n) || unknown.contains(n)));
    let n = i64::try_from(there.len()).unwrap();
    whole(&client, n).await;
    assert!(a.is_listening());
    a.stop(SOON).await.unwrap();
    drop(server);
}
