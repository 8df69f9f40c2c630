//! The proposal queue as a library and as commands (domain §5.2).

use std::process::Command;

use pgflow_actors::proposal::State;
use pgflow_actors::queue::{
    QueueError, Refusal, apply_proposal, check_consensus_result, get_status, list_awaiting_consensus, list_executing,
    list_pending, next_proposal, send_for_consensus,
};
use serde_json::Value;
use uuid::Uuid;

use crate::stage::{Stage, calm, hopeless, proposal};

fn refusal<T: std::fmt::Debug>(result: Result<T, QueueError>) -> Refusal {
    match result.unwrap_err() {
        QueueError::Refused(why) => why,
        other => panic!("{other}"),
    }
}

/// Fear: the queue answers something else than documented, or sends two changes to one target.
#[tokio::test(flavor = "multi_thread")]
async fn the_queue_answers_in_the_documented_words() {
    let mut stage = Stage::new(0, calm).await;
    let mut client = stage.db.client().await;
    assert_eq!(refusal(next_proposal(&client, "s1").await), Refusal::NoProposals);
    let (mut better, worse) = (proposal("a.txt", "x\n"), proposal("a.txt", "y\n"));
    better["impact_score"] = 10.0.into();
    let ids = stage.submit("s1", &[worse, better]).await;
    assert_eq!(next_proposal(&client, "s1").await.unwrap().proposal_id, ids[1], "the best score");
    let pending = list_pending(&client, Some("s1")).await.unwrap();
    assert_eq!(pending.iter().map(|p| (p.proposal_id, p.score)).collect::<Vec<_>>(), [(ids[1], 4.75), (ids[0], 3.8)]);
    assert_eq!(refusal(check_consensus_result(&client, ids[1]).await), Refusal::ConsensusPending);

    send_for_consensus(&stage.transport, &mut client, ids[1]).await.unwrap();
    assert_eq!(get_status(&client, ids[1]).await.unwrap(), State::SentForConsensus);
    assert_eq!(list_awaiting_consensus(&client, None).await.unwrap().len(), 1);
    stage
        .until("SELECT count(*) FROM pgflow_messages WHERE kind = 'proposal_for_consensus' AND status = 'done'", "1")
        .await;
    assert_eq!(refusal(send_for_consensus(&stage.transport, &mut client, ids[0]).await), Refusal::TargetBusy);
    assert_eq!(refusal(next_proposal(&client, "s1").await), Refusal::NoProposals, "its target is held");
    assert_eq!(refusal(send_for_consensus(&stage.transport, &mut client, ids[1]).await), Refusal::NotPending);
    assert_eq!(refusal(send_for_consensus(&stage.transport, &mut client, Uuid::nil()).await), Refusal::NotFound);
    assert_eq!(refusal(check_consensus_result(&client, ids[1]).await), Refusal::ConsensusPending);

    stage.add_instance().await;
    let rejected = stage.submit("s1", &[hopeless("b.txt")]).await[0];
    stage.until_status(rejected, "consensus_failed").await;
    assert_eq!(refusal(check_consensus_result(&client, rejected).await), Refusal::ConsensusRejected);
    assert_eq!(refusal(apply_proposal(&stage.transport, &client, rejected).await), Refusal::ConsensusRejected);
    assert!(list_executing(&client, None).await.unwrap().is_empty());
    let applied = stage.submit("s1", &[proposal("c.txt", "z\n")]).await[0];
    stage.until_status(applied, "applied").await;
    assert_eq!(check_consensus_result(&client, applied).await.unwrap().status, State::Applied);
    // A second order to apply finds it done.
    apply_proposal(&stage.transport, &client, applied).await.unwrap();
    stage.until("SELECT count(*) FROM pgflow_messages WHERE kind = 'execute_proposal' AND status <> 'done'", "0").await;
    stage
        .until("SELECT count(*) FROM pgflow_messages WHERE kind = 'execution_metrics' AND status <> 'done'", "0")
        .await;
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_change_metrics WHERE status = 'applied'").await, "1");
    stage.end().await;
}

/// Fear: those that are sent together are not the best, not in the order of their scores, or two to one target.
#[tokio::test(flavor = "multi_thread")]
async fn many_are_sent_at_once_the_best_first_and_one_a_target() {
    let mut stage = Stage::new(0, calm).await;
    let lines: Vec<Value> = (0..60_i32)
        .map(|n| {
            let mut line = proposal(&format!("n{}.txt", n % 40), "x\n");
            line["impact_score"] = (5.0 + f64::from(n * 7 % 60) / 12.0).into();
            line
        })
        .collect();
    stage.submit("s1", &lines).await;
    stage.add_instance().await;
    stage.until("SELECT count(*) FROM evolution_proposals WHERE status = 'applied'", "40").await;
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_proposals WHERE status = 'pending'").await, "20");
    let better_waits = "SELECT count(*) FROM evolution_proposals waits JOIN evolution_proposals sent USING (target_key) \
         WHERE waits.status = 'pending' AND sent.status = 'applied' AND waits.priority > sent.priority";
    assert_eq!(stage.ask(better_waits).await, "0");
    let out_of_order = "SELECT count(*) FILTER (WHERE priority > before) || ' of ' || count(*) FROM ( \
         SELECT p.priority, lag(p.priority) OVER (ORDER BY m.id) AS before FROM evolution_proposals p \
         JOIN evolution_messages about USING (proposal_id) JOIN pgflow_messages m ON m.id = about.message_id \
         WHERE m.kind = 'proposal_for_consensus') sent";
    assert_eq!(stage.ask(out_of_order).await, "0 of 40");
    stage.end().await;
}

/// Fear: a command shows something else than the library answers, or fails without saying why.
#[tokio::test(flavor = "multi_thread")]
async fn commands_show_the_queue() {
    let stage = Stage::new(0, calm).await;
    let run = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let url = stage.db.url();
        tokio::task::spawn_blocking(move || {
            let out = Command::new(env!("CARGO_BIN_EXE_evolution"))
                .env("PGFLOW_DATABASE_URL", url)
                .env("RUST_LOG", "off")
                .args(arguments)
                .output()
                .unwrap();
            (out.status.code(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
        })
    };
    let (code, _, why) = run(&["next", "--instance", "s1"]).await.unwrap();
    assert_eq!((code, why.as_str()), (Some(1), "evolution: no_proposals: nothing of s1 can be sent now\n"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", proposal("a.txt", "x\n"))).unwrap();
    let (code, id, why) = run(&["submit", "--instance", "s1", "--file", file.path().to_str().unwrap()]).await.unwrap();
    assert_eq!((code, why.as_str()), (Some(0), ""));
    let id = id.trim();
    let (_, next, _) = run(&["next", "--instance", "s1", "--json"]).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&next).unwrap()["proposal_id"], id);
    let (_, status, _) = run(&["status", id]).await.unwrap();
    assert!(status.lines().any(|l| l.split_whitespace().eq(["status", "pending"])), "{status}");
    let (_, listed, _) = run(&["list", "--status", "pending,executing", "--json"]).await.unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed["status"], &listed["score"]), (&"pending".into(), &3.8.into()));
    let (code, _, why) = run(&["list", "--status", "waiting"]).await.unwrap();
    assert!(code == Some(1) && why.contains("no state is called `waiting`"), "{why}");
    let (code, _, why) = run(&["status", &Uuid::nil().to_string()]).await.unwrap();
    assert!(code == Some(1) && why.contains("not_found"), "{why}");
    let (code, seen, _) = run(&["doctor"]).await.unwrap();
    assert!(seen.lines().any(|line| line == "ok    alerts       none"), "{code:?} {seen}");
}

/// Fear: a database that nobody made ready answers with an error of SQL, and not with the way out.
#[tokio::test]
async fn a_database_without_tables_names_init() {
    let db = crate::support::TestDb::empty().await;
    for arguments in [&["list"][..], &["status", "00000000-0000-0000-0000-000000000000"], &["patterns"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evolution"));
        command.env("PGFLOW_DATABASE_URL", db.url()).env("RUST_LOG", "off").args(arguments);
        let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let why = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.code() == Some(1) && why.ends_with("run `evolution init`\n"), "{arguments:?}: {why}");
    }
}
