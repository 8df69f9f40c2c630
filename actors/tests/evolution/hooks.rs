//! What an agent is told of its changes, and asked.

use std::sync::{Arc, Mutex};

use pgflow_actors::hooks::{Agent, Agents, Approved, TakenBack};
use pgflow_actors::json::Object;
use pgflow_actors::profile::Profile;
use uuid::Uuid;

use crate::stage::{LIMIT, Stage, brisk, proposal};
use crate::support::eventually;

#[derive(Clone, Default)]
struct Told {
    heard: Arc<Mutex<Vec<String>>>,
    own: Profile,
}

impl Told {
    fn note(&self, what: String) {
        self.heard.lock().unwrap().push(what);
    }
}

impl Agent for Told {
    fn agent_type(&self) -> &str {
        "BugFixerAgent"
    }

    fn on_change_proposed(&self, _: Uuid, change: &Object, _: &Object) {
        self.note(format!("proposed {}", change["file"]));
    }

    fn on_change_approved(&self, approved: &Approved) {
        self.note(format!("approved by {} with {}", approved.approved_by.join(" "), approved.consensus_score));
    }

    fn on_rollback_triggered(&self, back: &TakenBack) {
        self.note(format!("taken back for {}", back.reason));
    }

    fn on_pattern_learned(&self, pattern_type: &str, _: &Object) {
        self.note(format!("learned {pattern_type}"));
    }

    fn safety_profile(&self, _: &Object) -> Option<Profile> {
        Some(self.own.clone())
    }
}

/// Fear: an agent never hears what became of its change.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_hears_what_becomes_of_its_changes() {
    let mut stage = Stage::new(0, brisk).await;
    let told = Told::default();
    stage.agents = Agents::default().with(told.clone());
    stage.add_instance().await;
    let bad = stage.submit("s1", &[proposal("a.txt", "bad\n")]).await[0];
    stage.until_status(bad, "rolled_back").await;
    // Eight more good ones would outweigh it; one more confident claim does too.
    let mut line = proposal("b.txt", "good\n");
    line["safety_profile"]["success_rate"] = 1.0.into();
    stage.submit("s1", &[line]).await;
    eventually(LIMIT, async || told.heard.lock().unwrap().iter().any(|what| what == "learned bug_fix")).await;
    let heard = told.heard.lock().unwrap().clone();
    assert_eq!(heard[..3], ["proposed \"a.txt\"", "approved by s1 with 0.93", "taken back for error_rate_breach"]);
    assert_eq!(heard[3], "proposed \"b.txt\"");
    stage.end().await;
}

/// Fear: an agent's own limits are not asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_limits_tighten_what_is_watched() {
    let mut stage = Stage::new(0, |role| {
        let mut settings = brisk(role);
        settings.windows.observation = None;
        settings
    })
    .await;
    let own = Profile { observation_window_seconds: Some(4_000), ..Profile::default() };
    stage.agents = Agents::default().with(Told { own, ..Told::default() });
    stage.add_instance().await;
    let id = stage.submit("s1", &[proposal("a.txt", "good\n")]).await[0];
    stage.until_status(id, "applied").await;
    let window = "SELECT extract(epoch FROM observed_until - execution_completed_at)::int BETWEEN 3990 AND 4010 FROM evolution_proposals";
    assert_eq!(stage.ask(window).await, "t", "longer than the documented 300 s");
    stage.end().await;
}
