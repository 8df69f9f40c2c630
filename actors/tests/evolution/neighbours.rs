//! Several changes in one workspace, whose check counts for all of them.

use pgflow_actors::settings::{Role, Settings};
use pgflow_actors::store;
use pgflow_actors::workspace::Workspace;

use crate::alarms::report;
use crate::stage::{LIMIT, ORIGINAL, Stage, brisk, calm, proposal};
use crate::support::eventually;

/// Watched without end.
fn watched(role: Role) -> Settings {
    let mut settings = brisk(role);
    settings.windows.observation = Some(std::time::Duration::from_secs(3_600));
    settings
}

/// Fear: one bad change has its innocent neighbours rolled back (a known flaw of the first version).
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_is_rolled_back_alone() {
    let stage = Stage::new(1, |role| {
        let mut settings = brisk(role);
        settings.windows.observation = Some(std::time::Duration::from_millis(1_500));
        settings
    })
    .await;
    for file in ["b.txt", "c.txt", "d.txt"] {
        std::fs::write(stage.folder("s1").join(file), ORIGINAL).unwrap();
    }
    let before = stage.submit("s1", &[proposal("b.txt", "good\n")]).await[0];
    stage.until_status(before, "applied").await;
    // All at once: the bad one among good ones, in whatever order.
    let lines = [proposal("c.txt", "good\n"), proposal("a.txt", "bad\n"), proposal("d.txt", "good\n")];
    let ids = stage.submit("s1", &lines).await;
    stage.until_status(ids[1], "rolled_back").await;
    for good in [before, ids[0], ids[2]] {
        let kept = format!(
            "SELECT status || ' ' || (kept_at IS NOT NULL) FROM evolution_proposals WHERE proposal_id = '{good}'"
        );
        stage.until(&kept, "applied true").await;
    }
    stage.until("SELECT count(*) FROM evolution_approved_changes WHERE status = 'succeeded'", "3").await;
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_rollbacks").await, "1");
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    for file in ["b.txt", "c.txt", "d.txt"] {
        assert_eq!(stage.bytes("s1", file).unwrap(), b"good\n");
    }
    stage.end().await;
}

/// Fear: a defect that shows only later rolls back everything that is watched, oldest first.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_defect_is_held_against_the_newest_change() {
    let stage = Stage::new(1, |role| {
        let mut settings = brisk(role);
        settings.windows.observation = Some(std::time::Duration::from_secs(3_600));
        settings.max_retries = 20;
        settings
    })
    .await;
    let older = stage.submit("s1", &[proposal("a.txt", "good\n")]).await[0];
    stage.until_status(older, "applied").await;
    let newer = stage.submit("s1", &[proposal("b.txt", "good\n")]).await[0];
    stage.until_status(newer, "applied").await;
    let unusable = stage.folder("s1").join(".unusable");
    std::fs::write(&unusable, "").unwrap();
    stage.until("SELECT proposal_id::text FROM evolution_rollbacks", &newer.to_string()).await;
    std::fs::remove_file(&unusable).unwrap();
    stage.until_status(newer, "rolled_back").await;
    let seen = "SELECT count(*) > 2 FROM evolution_change_metrics WHERE reported_at > \
                (SELECT completed_at FROM evolution_rollbacks)";
    stage.until(seen, "t").await;
    assert_eq!(stage.status(older).await, "applied");
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_rollbacks").await, "1");
    stage.end().await;
}

/// Fear: the errors of a run that a crash cut short are held against whoever is watched beside it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_cut_short_did_is_held_against_nobody() {
    a_run_is_cut_short(false).await;
}

/// Fear: the same of a run that was cut short when its change had been taken back, and its neighbours not measured yet.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_did_that_was_cut_short_after_its_end_is_held_against_nobody() {
    a_run_is_cut_short(true).await;
}

async fn a_run_is_cut_short(taken_back: bool) {
    let mut stage = Stage::new(1, watched).await;
    let good = stage.submit("s1", &[proposal("b.txt", "good\n")]).await[0];
    stage.until_status(good, "applied").await;
    // Its own check waits; one of its neighbour, at work when it came, would keep it from its turn.
    let (hold, runs) = (stage.folder("s1").join(".hold_better"), stage.folder("s1").join(".runs"));
    std::fs::write(&hold, "").unwrap();
    let other = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    eventually(LIMIT, async || stage.bytes("s1", "a.txt").unwrap() == b"better\n").await;
    stage.kill_instance("s1");
    // What it did before it died: twenty runs of six errors.
    let counted = std::fs::read_to_string(&runs).unwrap();
    std::fs::write(&runs, format!("{counted}{}", "6\n".repeat(20))).unwrap();
    std::fs::remove_file(&hold).unwrap();
    if taken_back {
        let workspace = eventually(LIMIT, async || Workspace::open(stage.folder("s1")).ok()).await;
        workspace.revert(other).unwrap();
    }
    stage.start_instance("s1").await;
    stage.until_status(other, "applied").await;
    let reports = format!("SELECT count(*) FROM evolution_change_metrics WHERE proposal_id = '{good}'");
    let seen: u32 = stage.ask(&reports).await.parse().unwrap();
    stage.until(&format!("SELECT count(*) > {} FROM ({reports}) c(n) WHERE n > {}", 0, seen + 2), "t").await;
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_rollbacks").await, "0");
    assert_eq!(stage.status(good).await, "applied");
    stage.end().await;
}

/// Fear: a change that waits for its file, or for its next try, has everything that happens meanwhile held against nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_waits_for_its_file_excuses_nobody() {
    let stage = Stage::new(1, watched).await;
    std::fs::create_dir(stage.folder("s1").join("src")).unwrap();
    std::fs::write(stage.folder("s1").join("src/tax.sh"), ORIGINAL).unwrap();
    let first = stage.submit("s1", &[proposal("src/tax.sh", "good\n")]).await[0];
    stage.until_status(first, "applied").await;
    // The same file by another name: it is found out only when it is to be written.
    let mut line = proposal("", "better\n");
    line["code_change"] = serde_json::json!({ "type": "bug_fix", "target_module": "tax", "content": "better\n" });
    let second = stage.submit("s1", &[line]).await[0];
    stage.until("SELECT count(*) > 1 FROM pgflow_attempts WHERE event = 'snoozed'", "t").await;
    assert_eq!(stage.status(second).await, "executing");
    // A defect of the first one: twenty runs of six errors.
    let runs = stage.folder("s1").join(".runs");
    let counted = std::fs::read_to_string(&runs).unwrap();
    std::fs::write(&runs, format!("{counted}{}", "6\n".repeat(20))).unwrap();
    stage.until_status(first, "rolled_back").await;
    stage.until_status(second, "applied").await;
    assert_eq!(stage.bytes("s1", "src/tax.sh").unwrap(), b"better\n");
    stage.end().await;
}

/// Fear: a change is called succeeded though its last report passed a limit, because that was held against a neighbour.
#[tokio::test(flavor = "multi_thread")]
async fn a_last_report_that_was_only_shadowed_is_no_success() {
    // The instance reports once; the rest is said here.
    let stage = Stage::new(1, |role| if role == Role::Central { brisk(role) } else { calm(role) }).await;
    let id = stage.submit("s1", &[proposal("a.txt", "good\n")]).await[0];
    stage.until_status(id, "applied").await;
    report(&stage, id, serde_json::json!({ "error_rate": 0.5 }), &["error_rate"]).await;
    stage.until("SELECT status FROM evolution_approved_changes WHERE stale_alerted_at IS NOT NULL", "active").await;
    report(&stage, id, serde_json::json!({ "error_rate": 0.0 }), &[]).await;
    stage.until("SELECT status FROM evolution_approved_changes", "succeeded").await;
    stage.end().await;
}

/// Fear: a change whose rollback was given up hides its neighbours' defects for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_rollback_was_given_up_hides_nobody() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "good\n")]).await[0];
    stage.until_status(id, "applied").await;
    assert_eq!(store::watched(&stage.client, "s1").await.unwrap().len(), 1);
    let given_up = "INSERT INTO evolution_rollbacks (proposal_id, rollback_id, instance_id, reason, strategy, failed_at) \
                    SELECT proposal_id, gen_random_uuid(), 's1', 'manual', '{}', clock_timestamp() FROM evolution_proposals";
    stage.client.execute(given_up, &[]).await.unwrap();
    assert_eq!(store::watched(&stage.client, "s1").await.unwrap(), []);
    stage.end().await;
}

/// Fear: rollbacks that end at once lock one another's changes, and one of them is a deadlock's victim.
#[tokio::test(flavor = "multi_thread")]
async fn rollbacks_that_end_at_once_wait_for_one_another() {
    let stage = Stage::new(1, |role| {
        let mut settings = calm(role);
        settings.workers.rollback = 2;
        settings
    })
    .await;
    let ids = stage.submit("s1", &[proposal("b.txt", "good\n"), proposal("c.txt", "good\n")]).await;
    for id in &ids {
        stage.until_status(*id, "applied").await;
    }
    let hold = stage.folder("s1").join(".hold");
    std::fs::write(&hold, "").unwrap();
    for id in &ids {
        stage.roll_back(*id).await;
    }
    stage.until("SELECT count(rollback_requested_at) FROM evolution_proposals", "2").await;
    // Both come to their end, and meet there.
    let mut other = stage.db.client().await;
    let tx = other.transaction().await.unwrap();
    tx.execute("SELECT FROM evolution_proposals FOR UPDATE", &[]).await.unwrap();
    std::fs::remove_file(&hold).unwrap();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    stage.until(waiting, "2").await;
    tx.commit().await.unwrap();
    for id in &ids {
        stage.until_status(*id, "rolled_back").await;
    }
    assert_eq!(stage.ask("SELECT count(*) FROM pgflow_attempts WHERE event = 'failed'").await, "0");
    stage.end().await;
}

/// Fear: the errors of a run whose check fails, and so counts nothing, are held against whoever is watched beside it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_did_whose_check_failed_is_held_against_nobody() {
    let stage = Stage::new(1, watched).await;
    let good = stage.submit("s1", &[proposal("b.txt", "good\n")]).await[0];
    stage.until_status(good, "applied").await;
    let ruinous = stage.submit("s1", &[proposal("a.txt", "ruinous\n")]).await[0];
    stage.until_status(ruinous, "failed").await;
    let reports = format!("SELECT count(*) FROM evolution_change_metrics WHERE proposal_id = '{good}'");
    let seen: u32 = stage.ask(&reports).await.parse().unwrap();
    stage.until(&format!("SELECT n > {} FROM ({reports}) c(n)", seen + 2), "t").await;
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_rollbacks").await, "0");
    assert_eq!(stage.status(good).await, "applied");
    stage.end().await;
}
