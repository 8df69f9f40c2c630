//! One round: everybody submits at once; then it is waited until Guardian has judged all of it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use pgflow_actors::score::{Scoring, priority};
use pgflow_actors::submit::{self, Line};
use pgflow_actors::transport::Transport;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use uuid::Uuid;

use super::pool::Pool;
use super::stage::{LINES, Stage};
use super::{Samples, sql};

/// How long a round may take.
const ROUND_LIMIT: Duration = Duration::from_secs(180);
/// Scores computed in a round, each timed.
const SCORES: i64 = 1_000;

/// The changes of a round: each writes a file of its own.
pub(crate) fn changes(round: u16, count: u16) -> Vec<Value> {
    let change = |n: u16| {
        let line = |line: i32| format!("let value_{round}_{n}_{line} = call({line});\n");
        let content: String = (1..=LINES).map(line).collect();
        json!({ "type": "bug_fix", "file": format!("round_{round}/n{n}.txt"), "content": content })
    };
    (0..count).map(change).collect()
}

/// Submits them all at once, and waits for the end of the last; adds what was measured.
pub(crate) async fn play(
    stage: &mut Stage,
    (transport, pool): (&Transport, &Arc<Pool<Client>>),
    changes: Vec<Value>,
    samples: &mut Samples,
) -> Result<()> {
    let begun = Instant::now();
    let mut submitters = JoinSet::new();
    for (n, change) in changes.into_iter().enumerate() {
        let instance = stage.instances[n % stage.instances.len()].clone();
        let line = submit::read_line(&proposal(change).to_string(), &instance)?;
        submitters.spawn(submit(transport.clone(), Arc::clone(pool), instance, line));
    }
    let mut ids = Vec::new();
    for submitted in submitters.join_all().await {
        let (id, took) = submitted?;
        ids.push(id);
        samples.submit.push(took);
    }
    until_judged(stage, &ids, begun).await?;
    samples.whole.push(begun.elapsed());
    collect(stage, &ids, samples).await
}

async fn submit(
    transport: Transport,
    pool: Arc<Pool<Client>>,
    instance: String,
    line: Line,
) -> Result<(Uuid, Duration)> {
    let begun = Instant::now();
    let mut client = pool.get().await?;
    let ids = submit::submit(&transport, &mut client, &instance, vec![line]).await?;
    pool.give_back(client);
    Ok((*ids.first().context("no id for a proposal")?, begun.elapsed()))
}

/// One that every default voter is for.
fn proposal(change: Value) -> Value {
    json!({
        "agent_type": "BugFixerAgent", "impact_score": 8.0, "risk_score": 1.0, "code_change": change,
        "safety_profile": { "success_rate": 0.95, "cost_factor": 2.0 },
    })
}

async fn until_judged(stage: &mut Stage, ids: &[Uuid], begun: Instant) -> Result<()> {
    loop {
        let reported: i64 = stage.client.query_one(sql!("bench_reported"), &[&ids]).await?.try_get(0)?;
        if usize::try_from(reported) == Ok(ids.len()) {
            return Ok(());
        }
        stage.all_run()?;
        if begun.elapsed() > ROUND_LIMIT {
            bail!("only {reported} of {} proposals came to their end in {} s", ids.len(), ROUND_LIMIT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn collect(stage: &Stage, ids: &[Uuid], samples: &mut Samples) -> Result<()> {
    let seconds = |s: f64| Duration::from_secs_f64(s.max(0.0));
    let executions = stage.client.query(sql!("bench_executions"), &[&ids]).await?;
    ensure!(executions.len() == ids.len(), "{} of {} proposals were applied", executions.len(), ids.len());
    for row in executions {
        samples.execution.push(seconds(row.try_get(0)?));
    }
    for (kind, whole, part) in [
        ("proposal_for_consensus", &mut samples.broadcast, &mut samples.broadcast_claimed),
        ("execution_metrics", &mut samples.guardian, &mut samples.guardian_claimed),
    ] {
        let handled = stage.client.query(sql!("bench_handled"), &[&ids, &kind]).await?;
        ensure!(handled.len() == ids.len(), "{} of {} messages {kind} were handled", handled.len(), ids.len());
        for row in handled {
            whole.push(seconds(row.try_get(0)?));
            part.push(seconds(row.try_get(1)?));
        }
    }
    for n in 0..SCORES {
        let begun = Instant::now();
        black_box(priority(black_box(Scoring::default()), time::Duration::seconds(black_box(n))));
        samples.scoring.push(begun.elapsed());
    }
    Ok(())
}
