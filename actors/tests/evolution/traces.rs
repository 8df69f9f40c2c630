//! `evolution trace`: the whole story, and soon.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::{Stage, brisk, proposal};

/// Fear: the story has holes where something went wrong, or takes for ever beside a long history.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollbacks_story_is_complete_in_order_and_told_soon() {
    let stage = Stage::new(1, brisk).await;
    let noise = "SELECT count(pgflow_publish('learning_loop_completed_queue', jsonb_build_object('n', n), delay => '1 day')) FROM generate_series(1, 20000) n";
    stage.ask(noise).await;
    let id = stage.submit("s1", &[proposal("a.txt", "bad\n")]).await[0];
    stage.until_status(id, "rolled_back").await;
    stage.until("SELECT status FROM evolution_approved_changes", "rolled_back").await;
    let url = stage.db.url();
    let (told, took) = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let out = Command::new(env!("CARGO_BIN_EXE_evolution"))
            .env("PGFLOW_DATABASE_URL", url)
            .args(["trace", "--json", &id.to_string()])
            .output()
            .unwrap();
        (String::from_utf8(out.stdout).unwrap(), begun.elapsed())
    })
    .await
    .unwrap();
    println!("trace beside 20,000 messages: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let story: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place =
        |word: &str| story.iter().position(|h| h["what"] == word).unwrap_or_else(|| panic!("{word} is not in\n{told}"));
    let order = [
        "submitted",
        "sent_for_consensus",
        "vote",
        "approved",
        "execution_started",
        "metrics",
        "rollback_ordered",
        "rollback_requested",
        "rollback_confirmed",
    ];
    let places: Vec<usize> = order.iter().map(|word| place(word)).collect();
    assert!(places.is_sorted(), "{places:?}\n{told}");
    for kind in [
        "proposal_for_consensus",
        "voting_request",
        "consensus_vote",
        "consensus_result",
        "execute_proposal",
        "execution_metrics",
        "rollback_trigger",
    ] {
        let about = format!("kind \"{kind}\"");
        let published = story.iter().filter(|h| h["what"] == "message published");
        assert!(published.into_iter().any(|h| h["detail"].as_str().unwrap().contains(&about)), "{kind}\n{told}");
    }
    let done = story.iter().filter(|h| h["what"] == "message done").count();
    assert!(done >= 7, "{told}");
    stage.end().await;
}
