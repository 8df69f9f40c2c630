//! The transports of a process that holds both roles.

use std::process::Command;

use pgflow::{Admin, Config};
use pgflow_actors::instance::InstanceOptions;
use pgflow_actors::messages::CONSENSUS_VOTES;
use pgflow_actors::producers::central::order_learning;
use pgflow_actors::settings::{Role, Settings};
use pgflow_actors::single::Single;
use pgflow_actors::strategy::Strategy;
use pgflow_actors::submit::{read_line, submit};
use pgflow_actors::transport::{Mode, Transport};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::roles::Role as Process;
use crate::solo::{ONE, Solo};
use crate::stage::{CHECK, LIMIT, ORIGINAL, brisk, calm, proposal};
use crate::support::{TestDb, eventually, query_text};

/// Fear: a step of the chain still needs the queue, or never gets its message in memory.
#[tokio::test(flavor = "multi_thread")]
async fn direct_goes_the_whole_way_without_a_message_in_any_queue() {
    let solo = Solo::new(Mode::Direct, brisk).await;
    let id = solo.submit(proposal("a.txt", "better\n")).await;
    solo.until_kept(id).await;
    assert_eq!(solo.bytes("a.txt"), b"better\n");
    solo.until("SELECT status FROM evolution_approved_changes", "succeeded").await;
    solo.until("SELECT source_instances::text FROM evolution_patterns", "{one}").await;
    assert_eq!(solo.ask("SELECT rationale FROM evolution_consensus").await, "approved 1/1, mean 0.93");
    assert_eq!(solo.queued().await, "0");
    assert_eq!(solo.ask("SELECT count(*) FROM evolution_messages").await, "0", "no number, no link");
    solo.end().await;
}

/// Fear: in memory Guardian's order is lost, or the change taken back in part.
#[tokio::test(flavor = "multi_thread")]
async fn direct_takes_a_breach_back_byte_for_byte() {
    let solo = Solo::new(Mode::Direct, brisk).await;
    let id = solo.submit(proposal("a.txt", "bad\n")).await;
    solo.until_status(id, "rolled_back").await;
    assert_eq!(solo.bytes("a.txt"), ORIGINAL);
    solo.until("SELECT status FROM evolution_approved_changes", "rolled_back").await;
    solo.until("SELECT completed_at IS NOT NULL FROM evolution_rollbacks", "t").await;
    assert_eq!(solo.ask("SELECT rollback_reason FROM evolution_proposals").await, "error_rate_breach");
    assert_eq!(solo.queued().await, "0");
    solo.end().await;
}

/// Fear: a rollback waits until the executions before it have ended, or another rollback's check.
#[tokio::test(flavor = "multi_thread")]
async fn direct_lets_no_rollback_wait() {
    let solo = Solo::new(Mode::Direct, calm).await;
    let back = [solo.submit(proposal("a.txt", "better\n")).await, solo.submit(proposal("z.txt", "better\n")).await];
    for id in back {
        solo.until_status(id, "applied").await;
    }
    // From now on no check ends: every worker for executions is busy, and stays so.
    std::fs::write(solo.folder().join(".hold"), "").unwrap();
    for file in ["b.txt", "c.txt", "d.txt", "e.txt"] {
        solo.submit(proposal(file, "good\n")).await;
    }
    solo.until("SELECT count(*) FROM evolution_proposals WHERE status IN ('consensus_reached', 'executing')", "4")
        .await;
    for id in back {
        solo.roll_back(id).await;
    }
    // The files are back at once; the checks after it wait as all do.
    eventually(LIMIT, async || solo.bytes("a.txt") == ORIGINAL && !solo.folder().join("z.txt").exists()).await;
    assert_eq!(solo.ask("SELECT count(*) FROM evolution_proposals WHERE status = 'rolled_back'").await, "0");
    std::fs::remove_file(solo.folder().join(".hold")).unwrap();
    solo.until("SELECT count(*) FROM evolution_proposals WHERE status = 'rolled_back'", "2").await;
    solo.until("SELECT count(*) FROM evolution_proposals WHERE status = 'applied'", "4").await;
    solo.end().await;
}

/// Fear: a message is delivered before its transaction has committed, or though it never does.
#[tokio::test(flavor = "multi_thread")]
async fn direct_delivers_only_what_was_committed() {
    let solo = Solo::new(Mode::Direct, calm).await;
    let [open, broken, later] = [(); 3].map(|()| Uuid::now_v7());
    let (mut first, mut second, third) = (solo.db.client().await, solo.db.client().await, solo.db.client().await);
    let tx = first.transaction().await.unwrap();
    order_learning(solo.transport(), &tx, open).await.unwrap();
    let doomed = second.transaction().await.unwrap();
    order_learning(solo.transport(), &doomed, broken).await.unwrap();
    assert_eq!(doomed.execute("SELECT 1/0", &[]).await.unwrap_err().code(), Some(&SqlState::DIVISION_BY_ZERO));
    doomed.rollback().await.unwrap();
    // Without a transaction of the caller's: the statement is its own.
    order_learning(solo.transport(), &third, later).await.unwrap();
    let runs = "SELECT string_agg(run_id::text, ' ' ORDER BY run_id) FROM evolution_learning_runs";
    // It was given in after the others, which have been looked at by then.
    solo.until(runs, &later.to_string()).await;
    tx.commit().await.unwrap();
    solo.until(runs, &format!("{open} {later}")).await;
    // Nothing begins after a stop.
    let client = solo.db.client().await;
    let _db = solo.end().await;
    assert_eq!(query_text(&client, runs).await, [format!("{open} {later}")]);
}

/// Fear: a killed process takes what was in memory with it for good: a vote never ends, a change is never watched to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_picks_up_what_was_in_memory() {
    started_again(Mode::Direct).await;
}

/// Fear: who goes back to the queues strands what was in memory before.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_queues_picks_up_what_was_in_memory() {
    started_again(Mode::Queue).await;
}

async fn started_again(next: Mode) {
    let mut solo = Solo::new(Mode::Direct, calm).await;
    std::fs::write(solo.folder().join(".hold"), "").unwrap();
    let executing = solo.submit(proposal("a.txt", "better\n")).await;
    solo.until_status(executing, "executing").await;
    solo.kill();
    // As a process leaves it that dies between two messages.
    let mut client = solo.db.client().await;
    let lines =
        ["b.txt", "c.txt", "d.txt", "e.txt"].map(|file| read_line(&proposal(file, "good\n").to_string(), ONE).unwrap());
    let elsewhere = Transport::connect(&Config::new(solo.db.url()).instance("test")).await.unwrap();
    let ids = submit(&elsewhere, &mut client, ONE, lines.into()).await.unwrap();
    solo.client.execute("DELETE FROM pgflow_ready", &[]).await.unwrap();
    // The first waits; the second was sent, the third is voted on, the fourth decided, and nobody heard of it.
    let sent = "UPDATE evolution_proposals SET status = 'sent_for_consensus' WHERE proposal_id = ANY ($1)";
    solo.client.execute(sent, &[&&ids[1..]]).await.unwrap();
    let open_vote = "INSERT INTO evolution_consensus (proposal_id, instance_id, status, rule, similarity, deadline, proposal)
        SELECT proposal_id, instance_id, 'voting', 'two_thirds', 0, clock_timestamp() + interval '20 s', jsonb_build_object(
          'type', 'proposal_for_consensus', 'proposal_id', proposal_id, 'instance_id', instance_id, 'agent_type', agent_type,
          'code_change', code_change, 'impact_score', impact_score, 'risk_score', risk_score,
          'safety_profile', safety_profile, 'timestamp', '2025-01-01T00:00:00Z')
        FROM evolution_proposals WHERE proposal_id = ANY ($1)";
    solo.client.execute(open_vote, &[&&ids[2..]]).await.unwrap();
    let register = "INSERT INTO evolution_approved_changes (proposal_id, instance_id, agent_type, change_type, code_changeset)
        SELECT proposal_id, instance_id, agent_type, change_type, code_change FROM evolution_proposals WHERE proposal_id = ANY ($1)";
    solo.client.execute(register, &[&&ids[2..]]).await.unwrap();
    let decided = "UPDATE evolution_consensus SET status = 'approved', confidence = 0.9, decided_at = clock_timestamp() WHERE proposal_id = $1";
    solo.client.execute(decided, &[&ids[3]]).await.unwrap();
    std::fs::remove_file(solo.folder().join(".hold")).unwrap();
    solo.start(next).await;
    for id in std::iter::once(executing).chain(ids) {
        solo.until_status(id, "applied").await;
    }
    assert_eq!(solo.queued().await == "0", next == Mode::Direct);
    solo.end().await;
}

/// Fear: the timers of an applied change, or an ordered rollback, end with the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_picks_up_timers_and_rollbacks() {
    let mut solo = Solo::new(Mode::Direct, calm).await;
    let ids = [solo.submit(proposal("a.txt", "better\n")).await, solo.submit(proposal("b.txt", "good\n")).await];
    for id in ids {
        solo.until_status(id, "applied").await;
    }
    solo.until("SELECT count(*) FROM evolution_approved_changes WHERE first_report_at IS NOT NULL", "2").await;
    // Their observation was to go on for an hour: it is over while nobody runs.
    solo.kill();
    solo.client.execute("UPDATE evolution_proposals SET observed_until = clock_timestamp()", &[]).await.unwrap();
    let ordered = "INSERT INTO evolution_rollbacks (proposal_id, rollback_id, instance_id, reason, breach, strategy)
        VALUES ($1, gen_random_uuid(), 'one', 'manual', '{}', $2)";
    let plan = serde_json::to_value(Strategy::for_change_type("bug_fix")).unwrap();
    solo.client.execute(ordered, &[&ids[1], &plan]).await.unwrap();
    solo.start(Mode::Direct).await;
    solo.until_kept(ids[0]).await;
    solo.until_status(ids[1], "rolled_back").await;
    // The minute's batch, whose minute is not over: what was measured before goes out now.
    solo.until("SELECT count(*) > 0 FROM evolution_agent_metrics", "t").await;
    solo.until("SELECT completed_at IS NOT NULL FROM evolution_rollbacks", "t").await;
    assert_eq!(solo.queued().await, "0");
    solo.end().await;
}

/// Fear: the last report of a change is lost with the process, and central's case of it stays open for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_closes_what_central_was_not_told_of() {
    let mut solo = Solo::new(Mode::Direct, brisk).await;
    let kept = solo.submit(proposal("a.txt", "better\n")).await;
    solo.until_kept(kept).await;
    let bad = solo.submit(proposal("b.txt", "bad\n")).await;
    solo.until_status(bad, "rolled_back").await;
    solo.until("SELECT count(*) FROM evolution_approved_changes WHERE closed_at IS NULL", "0").await;
    solo.kill();
    solo.client
        .execute("UPDATE evolution_approved_changes SET status = 'active', closed_at = NULL", &[])
        .await
        .unwrap();
    solo.start(Mode::Direct).await;
    solo.until(&format!("SELECT status FROM evolution_approved_changes WHERE proposal_id = '{bad}'"), "rolled_back")
        .await;
    // This one by the look that is taken of every open case.
    solo.until(&format!("SELECT status FROM evolution_approved_changes WHERE proposal_id = '{kept}'"), "succeeded")
        .await;
    solo.end().await;
}

/// Fear: with nothing wrong, `auto` goes round the queue, and what it promises is not durable after all.
#[tokio::test(flavor = "multi_thread")]
async fn auto_uses_only_the_queue_while_that_takes_messages() {
    let solo = Solo::new(Mode::Auto, brisk).await;
    let id = solo.submit(proposal("a.txt", "better\n")).await;
    solo.until_kept(id).await;
    solo.until("SELECT status FROM evolution_approved_changes", "succeeded").await;
    let kinds = "SELECT string_agg(DISTINCT kind, ' ' ORDER BY kind) FROM pgflow_messages m JOIN evolution_messages e ON e.message_id = m.id
        WHERE status = 'done' AND kind NOT IN ('consensus_deadline', 'watch_change')";
    let all = "consensus_result consensus_vote execute_proposal execution_metrics observe_change proposal_for_consensus voting_request";
    solo.until(kinds, all).await;
    solo.end().await;
}

/// Fear: a start of `auto` takes what the queue holds for lost, and every timer runs twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_of_auto_doubles_nothing_that_the_queue_holds() {
    let mut solo = Solo::new(Mode::Auto, calm).await;
    let id = solo.submit(proposal("a.txt", "better\n")).await;
    solo.until_status(id, "applied").await;
    let timers =
        "SELECT string_agg(kind || ' ' || n, ', ' ORDER BY kind) FROM (SELECT kind, count(*) n FROM pgflow_messages m
        JOIN evolution_messages e ON e.message_id = m.id WHERE status = 'scheduled' GROUP BY kind) k";
    let once = "consensus_deadline 1, observe_change 1, watch_change 2";
    solo.until(timers, once).await;
    solo.kill();
    solo.start(Mode::Auto).await;
    assert_eq!(solo.ask(timers).await, once);
    // As if the timer had been in memory.
    solo.kill();
    solo.client.execute("DELETE FROM pgflow_scheduled WHERE kind = 'observe_change'", &[]).await.unwrap();
    solo.start(Mode::Auto).await;
    solo.until(timers, once).await;
    solo.end().await;
}

/// Fear: one queue that is gone stops everything, or takes the transaction that sends with it.
#[tokio::test(flavor = "multi_thread")]
async fn auto_goes_on_in_memory_where_a_queue_was_deleted() {
    let solo = Solo::new(Mode::Auto, brisk).await;
    let admin = Admin::connect(&Config::new(solo.db.url())).await.unwrap();
    admin.delete_queue(CONSENSUS_VOTES).await.unwrap();
    let id = solo.submit(proposal("a.txt", "better\n")).await;
    solo.until_kept(id).await;
    assert_eq!(solo.ask("SELECT count(*) FROM pgflow_messages WHERE kind = 'consensus_vote'").await, "0");
    assert_eq!(solo.ask("SELECT count(*) FROM evolution_consensus_votes").await, "1");
    assert_eq!(solo.ask("SELECT count(*) FROM pgflow_messages WHERE kind = 'consensus_result'").await, "1");
    solo.end().await;
}

/// Fear: pgflow's own tables are broken, and nothing goes on though all that it needs is in others.
#[tokio::test(flavor = "multi_thread")]
async fn auto_and_direct_go_on_without_pgflows_tables() {
    let mut solo = Solo::new(Mode::Auto, brisk).await;
    solo.client.batch_execute("ALTER TABLE pgflow_lanes RENAME TO pgflow_broken").await.unwrap();
    let id = solo.submit(proposal("a.txt", "better\n")).await;
    solo.until_kept(id).await;
    // Nor is a start held up: where messages are taken and nobody can read them, and where not even queues can be made.
    solo.kill();
    let nobody_registers = "ALTER TABLE pgflow_broken RENAME TO pgflow_lanes; DROP TABLE pgflow_instances CASCADE";
    let no_queues = "ALTER TABLE pgflow_queues RENAME TO pgflow_broken";
    for (broken, mode, file) in
        [(nobody_registers, Mode::Auto, "b.txt"), (no_queues, Mode::Auto, "c.txt"), ("", Mode::Direct, "d.txt")]
    {
        solo.client.batch_execute(broken).await.unwrap();
        solo.start(mode).await;
        assert!(solo.single().runtimes().is_none());
        let id = solo.submit(proposal(file, "better\n")).await;
        solo.until_kept(id).await;
        solo.kill();
    }
    let refused = solo.try_start(Mode::Queue).await.err().map(|why| format!("{why:#}"));
    assert!(refused.is_some(), "the transport queue has nothing to go on");
}

/// Fear: what central refuses is sent in memory all the same; or a second process runs beside the first.
#[tokio::test(flavor = "multi_thread")]
async fn auto_sends_no_refused_message_and_no_second_one_starts() {
    let solo = Solo::new(Mode::Auto, calm).await;
    let mut client = solo.db.client().await;
    let huge = read_line(&proposal("a.txt", &"x".repeat(2 << 20)).to_string(), ONE).unwrap();
    submit(solo.transport(), &mut client, ONE, vec![huge]).await.unwrap();
    // Over the queue's limit: `send_proposals` fails and is dead in the end, as by the queue alone.
    solo.until("SELECT count(*) FROM pgflow_dlq WHERE kind = 'send_proposals'", "1").await;
    assert_eq!(solo.ask("SELECT status FROM evolution_proposals").await, "pending");
    let other = tempfile::tempdir().unwrap();
    for mode in [Mode::Direct, Mode::Auto, Mode::Queue] {
        let settings = |role| Settings { transport: mode, ..calm(role) };
        let options = InstanceOptions::new("two", other.path(), "true");
        let both = (settings(Role::Central), settings(Role::Instance));
        let refused = Single::start(Config::new(solo.db.url()), both, options).await.err();
        let why = refused.map(|why| format!("{why:#}")).unwrap_or_default();
        assert!(why.contains("a live instance has this name"), "{mode:?}: {why}");
    }
    solo.end().await;
}

/// Fear: the program knows the transports by other names, or one of them does not run as a process.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_runs_each_of_them() {
    for mode in ["queue", "direct", "auto"] {
        let db = TestDb::new().await;
        let (url, folder) = (db.url(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("a.txt"), ORIGINAL).unwrap();
        let settings = [
            ("PGFLOW_DATABASE_URL", url.as_str()),
            ("EVOLUTION_REPORT_S", "0.2"),
            ("EVOLUTION_OBSERVATION_S", "0.5"),
            ("EVOLUTION_TRANSPORT", mode),
            ("EVOLUTION_CHECK", CHECK),
            ("EVOLUTION_WORKSPACE", folder.path().to_str().unwrap()),
            ("INSTANCE_ID", ONE),
        ];
        let process = Process::start(&["single", "--json"], &settings);
        let client = db.client().await;
        let live = "SELECT count(*) FROM pgflow_instances WHERE ended_at IS NULL AND name IN ('central', 'one')";
        eventually(LIMIT, async || {
            let ready =
                client.query_opt("SELECT FROM pg_class WHERE relname = 'evolution_proposals'", &[]).await.unwrap();
            ready.is_some() && query_text(&client, live).await == ["2"]
        })
        .await;
        let file = folder.path().join(".proposals");
        std::fs::write(&file, proposal("a.txt", "better\n").to_string()).unwrap();
        let submitted = Command::new(env!("CARGO_BIN_EXE_evolution"))
            .arg("submit")
            .arg("--file")
            .arg(&file)
            .envs(settings)
            .output()
            .unwrap();
        assert!(submitted.status.success(), "{mode}: {}", String::from_utf8_lossy(&submitted.stderr));
        process.event("evolution.pgflow.pattern_received").await;
        assert_eq!(std::fs::read(folder.path().join("a.txt")).unwrap(), b"better\n", "{mode}");
        let kinds = query_text(&client, "SELECT DISTINCT kind FROM pgflow_messages ORDER BY kind").await;
        // What comes from another process comes by the queue.
        assert_eq!(kinds == ["send_proposals"], mode == "direct", "{mode}: {kinds:?}");
    }
}

/// Fear: a role that is alone in its process sends to nobody.
#[test]
fn a_role_alone_knows_only_the_queue() {
    for role in [&["central"][..], &["instance", "--workspace", ".", "--check", "true"]] {
        let refused = Command::new(env!("CARGO_BIN_EXE_evolution"))
            .args(role)
            .args(["--transport", "direct", "--database-url", "postgresql://nowhere/x"])
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && why.contains("--transport is for `single`"), "{why}");
    }
}
