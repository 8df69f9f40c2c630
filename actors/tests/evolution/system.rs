//! The system as processes, killed at random: every proposal ends as its content demands (the issue's own test).

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::roles::Role;
use crate::stage::{ORIGINAL, hopeless, proposal};
use crate::support::{TestDb, eventually, query_text};

const INSTANCES: [&str; 5] = ["s1", "s2", "s3", "s4", "s5"];
const LIMIT: Duration = Duration::from_secs(240);

/// As the stage's: forty executions a run, six errors while a file holds `bad`; one count, whoever asks.
const CHECK: &str = r#"
errors=0
if cat *.txt | grep -q bad; then errors=6; fi
echo "$errors" >> .runs
awk '{ e += $1 } END { printf "{\"error_count\":%d,\"execution_count\":%d}\n", e, NR * 40 }' .runs
"#;

/// What a proposal asks for, and how it must end.
struct Expected {
    instance: usize,
    file: String,
    content: &'static str,
    end: &'static str,
}

/// A hundred: of each instance's twenty, twelve good, two bad, two vetoed, four in conflict two by two.
fn expected() -> Vec<Expected> {
    let mut all = Vec::new();
    for n in 0..20 {
        for instance in 0..INSTANCES.len() {
            let one = |file: String, content, end| Expected { instance, file, content, end };
            all.push(match n {
                0..12 => one(format!("good{n}.txt"), "good\n", "applied"),
                12 | 13 => one(format!("spoilt{n}.txt"), "bad\n", "rolled_back"),
                14 | 15 => one(format!("vetoed{n}.txt"), "never\n", "consensus_failed"),
                16 => one("both1.txt".to_owned(), "first\n", "applied"),
                17 => one("both1.txt".to_owned(), "second\n", "applied"),
                18 => one("both2.txt".to_owned(), "first\n", "applied"),
                _ => one("both2.txt".to_owned(), "second\n", "applied"),
            });
        }
    }
    all
}

fn line(of: &Expected) -> Value {
    let mut line = if of.end == "consensus_failed" { hopeless(&of.file) } else { proposal(&of.file, of.content) };
    line["code_change"]["content"] = of.content.into();
    if of.end == "rolled_back" {
        // Or its record would count against the good ones.
        line["agent_type"] = format!("Careless{}", of.file).into();
    }
    line
}

struct Farm {
    url: String,
    folders: Vec<TempDir>,
    central: Option<Role>,
    instances: Vec<Option<Role>>,
}

impl Farm {
    async fn start_central(&mut self) {
        self.central = None;
        self.central = Some(Role::running(&["central", "--json"], &self.environment(0)).await);
    }

    async fn start(&mut self, n: usize) {
        self.instances[n] = None;
        self.instances[n] = Some(Role::running(&["instance", "--json"], &self.environment(n)).await);
    }

    fn environment(&self, n: usize) -> Vec<(&str, &str)> {
        let folder: &Path = self.folders[n].path();
        vec![
            ("PGFLOW_DATABASE_URL", &self.url),
            ("INSTANCE_ID", INSTANCES[n]),
            ("EVOLUTION_WORKSPACE", folder.to_str().unwrap()),
            ("EVOLUTION_CHECK", CHECK),
            ("EVOLUTION_VOTE_S", "120"),
            ("EVOLUTION_REPORT_S", "2"),
            ("EVOLUTION_OBSERVATION_S", "4"),
            ("EVOLUTION_AUTO_APPROVE", "off"),
            ("RUST_LOG", "warn,evolution=info"),
        ]
    }
}

async fn count(client: &Client, sql: &str) -> i64 {
    query_text(client, sql).await[0].parse().unwrap()
}

/// Fear: under load and deaths a proposal is lost, executed twice, rolled back for another, or ends in the wrong state.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_mixed_proposals_survive_the_deaths_of_central_and_instances() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let folders: Vec<TempDir> = INSTANCES.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let all = expected();
    for of in &all {
        std::fs::write(folders[of.instance].path().join(&of.file), ORIGINAL).unwrap();
    }
    let mut farm = Farm { url: db.url(), folders, central: None, instances: INSTANCES.iter().map(|_| None).collect() };
    farm.start_central().await;
    for n in 0..INSTANCES.len() {
        farm.start(n).await;
    }
    let begun = Instant::now();
    let publisher = pgflow::Publisher::connect(&pgflow::Config::new(db.url()).instance("test")).await.unwrap();
    let mut submits = tokio::task::JoinSet::new();
    for (n, of) in all.iter().enumerate() {
        let (text, instance, publisher, url) =
            (line(of).to_string(), INSTANCES[of.instance], publisher.clone(), db.url());
        submits.spawn(async move {
            let mut client = pgflow::connect(&url, "submit").await.unwrap();
            let line = pgflow_actors::submit::read_line(&text, instance).unwrap();
            (n, pgflow_actors::submit::submit(&publisher, &mut client, instance, vec![line]).await.unwrap()[0])
        });
    }
    let mut ids = vec![Uuid::nil(); all.len()];
    for (n, id) in submits.join_all().await {
        ids[n] = id;
    }
    for poison in [json!({"type": "execution_metrics"}), json!({"type": "consensus_vote", "vote": 7})] {
        let queue =
            if poison["type"] == "consensus_vote" { "consensus_votes_queue" } else { "metrics_to_guardian_queue" };
        client.execute("SELECT pgflow_publish($1, $2::text::jsonb)", &[&queue, &poison.to_string()]).await.unwrap();
    }
    // Deaths at moments that differ from run to run, in the thick of it.
    let done = "SELECT count(*) FROM evolution_proposals WHERE status IN ('applied', 'failed', 'rolled_back', 'consensus_failed')";
    let seed = begun.elapsed().subsec_nanos() as usize;
    for (death, victim) in [seed % 5, (seed / 5 + 1 + seed % 5) % 5].into_iter().enumerate() {
        let moment = i64::try_from(10 + 25 * death + seed % 10).unwrap();
        eventually(LIMIT, async || count(&client, done).await >= moment).await;
        farm.start(victim).await;
        farm.start_central().await;
    }
    let open = "SELECT count(*) FROM evolution_proposals WHERE status NOT IN ('applied', 'failed', 'rolled_back', 'consensus_failed') \
                OR (status = 'applied' AND kept_at IS NULL)";
    let mut last = (-1, Instant::now());
    loop {
        let left = count(&client, open).await;
        if left == 0 {
            break;
        }
        if left != last.0 {
            last = (left, Instant::now());
        }
        if last.1.elapsed() > Duration::from_secs(60) || begun.elapsed() > LIMIT {
            let stuck = query_text(&client, "SELECT concat_ws(' ', instance_id, target_key, status, execution_error, consensus_rationale) FROM evolution_proposals \
                WHERE status NOT IN ('applied', 'failed', 'rolled_back', 'consensus_failed') OR (status = 'applied' AND kept_at IS NULL)").await;
            let messages = query_text(&client, "SELECT concat_ws(' ', kind, target, status, run_at, error) FROM pgflow_messages WHERE status <> 'done' LIMIT 30").await;
            panic!("{left} do not end:\n{stuck:#?}\n{messages:#?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("100 proposals, two deaths of central and of an instance each: {:?}", begun.elapsed());

    let settled = "SELECT count(*) FROM pgflow_messages WHERE status IN ('pending', 'processing', 'parked')";
    eventually(LIMIT, async || count(&client, settled).await == 0).await;
    for (of, id) in all.iter().zip(&ids) {
        let state = format!(
            "SELECT concat_ws(' ', status, execution_error, rollback_reason) FROM evolution_proposals WHERE proposal_id = '{id}'"
        );
        let why = if of.end == "rolled_back" { " error_rate_breach" } else { "" };
        assert_eq!(
            query_text(&client, &state).await,
            [format!("{}{why}", of.end)],
            "{} of {}",
            of.file,
            INSTANCES[of.instance]
        );
        let bytes = std::fs::read(farm.folders[of.instance].path().join(&of.file)).unwrap();
        match of.end {
            "applied" if of.file.starts_with("good") => assert_eq!(bytes, b"good\n", "{}", of.file),
            "applied" => {
                let newest = format!(
                    "SELECT code_change ->> 'content' FROM evolution_proposals WHERE instance_id = '{}' AND code_change ->> 'file' = '{}' \
                    ORDER BY execution_started_at DESC LIMIT 1",
                    INSTANCES[of.instance], of.file
                );
                assert_eq!([String::from_utf8(bytes).unwrap()], *query_text(&client, &newest).await, "{}", of.file);
            }
            _ => assert_eq!(bytes, ORIGINAL, "{}", of.file),
        }
    }
    assert_eq!(
        count(&client, "SELECT count(*) FROM evolution_rollbacks").await,
        10,
        "one each bad change, none for another"
    );
    assert_eq!(count(&client, "SELECT count(*) FROM evolution_rollbacks WHERE completed_at IS NULL").await, 0);
    let doubled = "SELECT count(*) FROM (SELECT proposal_id FROM evolution_change_metrics WHERE status = 'rolled_back' GROUP BY 1 HAVING count(*) > 1) d";
    assert_eq!(count(&client, doubled).await, 0);
    let dead = query_text(&client, "SELECT split_part(error, ':', 1) FROM pgflow_dlq ORDER BY 1").await;
    assert_eq!(dead, ["invalid_message", "invalid_message"], "the poison alone");
}
