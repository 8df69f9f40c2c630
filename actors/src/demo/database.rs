//! Everything the demo asks the database, one function a question.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::SystemTime;

use anyhow::{Context, Result};
use pgflow_actors::proposal::State;
use tokio_postgres::Client;
use uuid::Uuid;

use super::figures::MessageRow;
use super::watch::Due;

/// How much is where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Low priority, claimable.
    pub(crate) low: i64,
    /// Everything else that is not finished and not in hand.
    pub(crate) waiting: i64,
    /// In hand.
    pub(crate) active: i64,
}

/// Where each proposal stands.
pub(crate) async fn states(client: &Client) -> Result<BTreeMap<Uuid, State>> {
    let rows = client.query("SELECT proposal_id, status FROM evolution_proposals", &[]).await?;
    let known = |row: &tokio_postgres::Row| Some((row.get(0), State::from_tag(row.get(1))?));
    Ok(rows.iter().filter_map(known).collect())
}

/// Proposals whose observation ended well.
pub(crate) async fn proven(client: &Client) -> Result<Vec<Uuid>> {
    let rows = client
        .query(
            "SELECT proposal_id FROM evolution_proposals JOIN evolution_approved_changes c USING (proposal_id) \
             WHERE kept_at IS NOT NULL AND c.status = 'succeeded'",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The executed proposals, first to last.
pub(crate) async fn executed(client: &Client) -> Result<Vec<Uuid>> {
    let all = "SELECT proposal_id FROM evolution_proposals WHERE execution_completed_at IS NOT NULL \
               ORDER BY execution_completed_at";
    Ok(client.query(all, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Messages that wait for a time before their first try.
pub(crate) async fn waits(client: &Client) -> Result<Due> {
    let rows = client.query("SELECT id, run_at FROM pgflow_scheduled WHERE attempt = 0", &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// What is waiting and what is in hand. Central's clockwork (the next look for what dead letters were to do, the next day's learning) always waits.
pub(crate) async fn depth(client: &Client) -> Result<Depth> {
    let row = client
        .query_one(
            "SELECT count(*) FILTER (WHERE l.class < 0), \
                    count(*) FILTER (WHERE l.class >= 0) + (SELECT count(*) FROM pgflow_scheduled WHERE kind NOT IN ('check_health', 'run_learning')) \
                      + (SELECT count(*) FROM pgflow_parked), \
                    (SELECT count(*) FROM pgflow_active) \
             FROM pgflow_ready JOIN pgflow_lanes l USING (lane_id)",
            &[],
        )
        .await?;
    Ok(Depth { low: row.get(0), waiting: row.get(1), active: row.get(2) })
}

/// How many messages have not come to their end.
pub(crate) async fn unfinished(client: &Client) -> Result<i64> {
    let Depth { low, waiting, active } = depth(client).await?;
    Ok(low + waiting + active)
}

/// The server's clock.
pub(crate) async fn now(client: &Client) -> Result<SystemTime> {
    Ok(client.query_one("SELECT clock_timestamp()", &[]).await?.get(0))
}

/// Names of the live runtimes.
pub(crate) async fn live(client: &Client) -> Result<BTreeSet<String>> {
    let rows = client.query("SELECT name FROM pgflow_instances WHERE ended_at IS NULL", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Who holds a learned profile, per agent type.
pub(crate) async fn learned(client: &Client) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let rows = client.query("SELECT agent_type, instance_id FROM evolution_safety_profiles", &[]).await?;
    let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in &rows {
        holders.entry(row.get(0)).or_default().insert(row.get(1));
    }
    Ok(holders)
}

/// Rows among the dead letters.
pub(crate) async fn dead_letters(client: &Client) -> Result<i64> {
    Ok(client.query_one("SELECT count(*) FROM pgflow_dlq", &[]).await?.get(0))
}

/// Every message but central's clockwork. The proposal is left out for `backlog`, whose payloads would only take time to read.
pub(crate) async fn messages(client: &Client, backlog: &str, due: &Due) -> Result<Vec<MessageRow>> {
    let tries = client.query("SELECT id, claimed_at FROM pgflow_attempts WHERE claimed_at IS NOT NULL", &[]).await;
    let mut starts: HashMap<i64, Vec<SystemTime>> = HashMap::new();
    for row in &tries.context("read the tries")? {
        starts.entry(row.get(0)).or_default().push(row.get(1));
    }
    let rows = client
        .query(
            "SELECT id, queue_name, status, \
                    CASE WHEN queue_name <> $1 THEN payload ->> 'proposal_id' END, \
                    retry_count, created_at, claimed_at, finished_at FROM pgflow_messages \
             WHERE NOT (status = 'scheduled' AND kind IN ('check_health', 'run_learning'))",
            &[&backlog],
        )
        .await
        .context("read the messages")?;
    let message = |row: &tokio_postgres::Row| {
        let id = row.get(0);
        let mut starts = starts.get(&id).cloned().unwrap_or_default();
        starts.extend(row.get::<_, Option<SystemTime>>(6));
        starts.sort_unstable();
        MessageRow {
            id,
            queue: row.get::<_, Option<String>>(1).unwrap_or_default(),
            status: row.get(2),
            proposal: row.get(3),
            retries: row.get(4),
            created: row.get(5),
            due: due.get(&id).copied(),
            starts,
            finished: row.get(7),
        }
    };
    Ok(rows.iter().map(message).collect())
}
