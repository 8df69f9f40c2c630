//! One central, five instances, a hundred proposals at once, poison among them, and roles that are killed.

use std::time::{Duration, Instant};

use pgflow::Config;
use pgflow_actors::transport::Transport;
use pgflow_actors::{store, submit};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::chance::Chance;
use crate::poison::Poison;
use crate::processes::Processes;
use crate::program::{self, CHECK};
use crate::script::{self, Group, INSTANCES, name};
use crate::support::{TestDb, eventually, query_text};
use crate::{judge, kills, ledger, poison};

const CENTRAL: &str = "central";
const START_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Shorter than the documented ones, so that all of it fits in a test; long enough that no vote and no rollback is late on a
/// machine with other things to do.
const WINDOWS: [&str; 3] = ["--observation-s=6", "--report-s=3", "--vote-s=40"];

/// Fear: what holds for one process, one proposal and no deaths does not hold for the system: a proposal ends where it
/// must not, a file is not what the applied changes say, a message is lost or counts twice.
#[tokio::test(flavor = "multi_thread")]
async fn every_proposal_ends_as_its_content_demands_whoever_is_killed() {
    let (mut chance, _told) = Chance::new();
    let begun = Instant::now();
    let groups = script::write(&mut chance);
    let poisons = poison::write(&mut chance);
    let states = groups.iter().flatten().map(|p| p.nature.way().len()).sum::<usize>();
    let kills = kills::write(&mut chance, CENTRAL, states * 3 / 4);
    assert_eq!(groups.iter().flatten().count(), 100);

    let db = TestDb::new().await;
    store::init(&db.url(), "public").await.unwrap();
    let client = db.client().await;
    ledger::open(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let mut processes = start(&db, &client, &folder).await;

    let submitted = submit_all(&db, &groups);
    let planting = plant(&client, poisons);
    let killing = kills::kill_all(&mut processes, &client, &kills);
    let ((), planted, ()) = tokio::join!(submitted, planting, killing);
    until_the_end(&mut processes, &client).await;
    println!("all at their end after {:?}", begun.elapsed());

    let mut wrong = judge::wrongs(&client, &groups, &planted).await;
    for instance in 0..INSTANCES {
        let found = program::read(&folder.path().join(name(instance)));
        let differences = program::differences(&script::expected_files(&groups, instance), &found);
        wrong.extend(differences.into_iter().map(|d| format!("{}: {d}", name(instance))));
    }
    let told = processes.told();
    for role in processes.names() {
        let found = processes.stop(&role).await;
        if found["found_by_heartbeat"] != 0 {
            wrong.push(format!("{role} lost a wake-up: {found}"));
        }
    }
    if !wrong.is_empty() {
        let kept = folder.keep();
        panic!("{told}\nfiles and logs: {}\n{} wrong:\n{}", kept.display(), wrong.len(), wrong.join("\n"));
    }
    println!("{:?} in all", begun.elapsed());
}

async fn start(db: &TestDb, client: &Client, folder: &TempDir) -> Processes {
    let mut processes = Processes::new(&db.url(), &folder.path().join("logs"));
    let mut arguments = vec!["central"];
    arguments.extend(WINDOWS);
    processes.start(CENTRAL, &arguments);
    for instance in 0..INSTANCES {
        let (name, workspace) = (name(instance), folder.path().join(name(instance)));
        program::write(&program::original(), &workspace);
        let workspace = workspace.to_str().unwrap();
        let mut arguments = vec!["instance", "--id", &name, "--workspace", workspace, "--check", CHECK];
        arguments.extend(WINDOWS);
        processes.start(&name, &arguments);
    }
    let live = "SELECT count(*) FROM pgflow_instances WHERE ended_at IS NULL AND (name = 'central' OR name LIKE 'singularity%')";
    eventually(START_LIMIT, async || ledger::number(client, live).await == INSTANCES + 1).await;
    processes
}

/// Every group by a client of its own, all at once.
async fn submit_all(db: &TestDb, groups: &[Group]) {
    let transport = Transport::connect(&Config::new(db.url()).instance("test")).await.unwrap();
    let mut submits = JoinSet::new();
    for group in groups {
        let (transport, url) = (transport.clone(), db.url());
        let instance = name(group[0].instance);
        let lines: Vec<_> =
            group.iter().map(|p| submit::read_line(&p.line().to_string(), &instance).unwrap()).collect();
        submits.spawn(async move {
            let mut client = crate::support::connect(&url).await;
            submit::submit(&transport, &mut client, &instance, lines).await.unwrap();
        });
    }
    submits.join_all().await;
}

/// One after another, while the others are submitted and executed.
async fn plant(client: &Client, poisons: Vec<Poison>) -> Vec<(i64, Poison)> {
    let mut planted = Vec::new();
    for poison in poisons {
        planted.push((poison.plant(client).await, poison));
    }
    planted
}

/// Until nothing is left to do; says what is, if that takes too long.
async fn until_the_end(processes: &mut Processes, client: &Client) {
    let deadline = Instant::now() + END_LIMIT;
    loop {
        processes.assert_all_run();
        let unfinished = ledger::unfinished(client).await;
        if unfinished.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            let states = "SELECT concat_ws(' ', instance_id, target_key, status, kept_at) FROM evolution_proposals \
                          WHERE status NOT IN ('failed', 'rolled_back', 'consensus_failed') AND kept_at IS NULL";
            let states = query_text(client, states).await.join("\n");
            panic!("{}\nnot at their end:\n{}\n{states}", processes.told(), unfinished.join("\n"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
