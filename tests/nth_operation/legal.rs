//! The legal state: what a life must have come to, whatever failed on its way.

use std::{collections::BTreeMap, time::Duration};

use tokio_postgres::Client;

use super::{actor::Seen, life::Life};
use crate::support::query_text;

/// How each message ends, by its number, and how many effects it leaves.
fn fates() -> BTreeMap<i64, (&'static str, usize)> {
    let mut fates = BTreeMap::new();
    fates.extend([1, 6, 10, 11, 12, 13, 30, 40, 42, 43, 44].map(|n| (n, ("done", 0))));
    fates.extend([2, 3, 4, 20, 21, 22, 23, 32, 34, 41, 50, 51, 52, 60, 61].map(|n| (n, ("done", 1))));
    fates.extend([(5, ("dead", 0)), (31, ("dead", 0)), (33, ("cancelled", 0))]);
    fates
}

/// Messages of one key, in the order of their publishing.
const KEYED: [&[i64]; 3] = [&[20, 21, 22, 23], &[31, 32], &[50, 51, 52]];

/// The time for a server to see that a connection is gone.
const NOTICED: Duration = Duration::from_secs(5);

/// With a runtime at work: each message has its end, once, with its effect and its history.
pub(crate) async fn at_rest(life: &Life) {
    let sql = &life.sql;
    life.fact("SELECT NOT EXISTS (SELECT FROM pgflow_messages WHERE status NOT IN ('done', 'dead', 'cancelled'))")
        .await;
    life.fact("SELECT NOT EXISTS (SELECT FROM pgflow_keys)").await;
    // Also of a start that failed; and a session is over only with nothing in hand.
    life.fact("SELECT count(*) = 1 FROM pgflow_instances WHERE ended_at IS NULL").await;
    let ends = query_text(
        sql,
        "SELECT coalesce(payload->>'n', '?') || ' ' || status FROM pgflow_messages ORDER BY (payload->>'n')::int",
    )
    .await;
    let fates = fates();
    let expected: Vec<String> = fates.iter().map(|(n, (status, _))| format!("{n} {status}")).collect();
    assert_eq!(ends, expected, "lost, doubled, or ended otherwise\n{}", dump(sql).await);
    let effects = query_text(sql, "SELECT n FROM fx ORDER BY n").await;
    let expected: Vec<String> =
        fates.iter().flat_map(|(n, (_, count))| std::iter::repeat_n(n.to_string(), *count)).collect();
    assert_eq!(effects, expected, "effects\n{}", dump(sql).await);
    assert_eq!(untold(sql).await, [""; 0], "tries without their one end in the history\n{}", dump(sql).await);
    in_order(&life.seen);
    if let Ok(found) = pgflow::spool::inspect(&life.spool) {
        assert!(found.aside.is_empty() && found.spooled.messages == 0, "left in the spool: {found:?}");
    }
}

/// Messages of which not every try but the last has its one end. (One sent round again began to count anew.)
async fn untold(sql: &Client) -> Vec<String> {
    query_text(
        sql,
        "WITH ended AS (SELECT id, array_agg(attempt::int ORDER BY attempt) AS tries FROM pgflow_attempts
           WHERE event IN ('failed', 'panicked', 'timed_out', 'process_died') GROUP BY id)
         SELECT format('%s %s at try %s, ended %s', m.payload->>'n', status, attempt, tries)
         FROM pgflow_messages m LEFT JOIN ended USING (id)
         WHERE status IN ('done', 'dead') AND NOT EXISTS (SELECT FROM pgflow_attempts a WHERE a.id = m.id AND a.event = 'retried')
           AND coalesce(tries, '{}') <> ARRAY(SELECT generate_series(1, attempt - 1))",
    )
    .await
}

/// A message of a key does not start again once a later one has.
fn in_order(seen: &Seen) {
    let starts = seen.starts();
    for key in KEYED {
        let of_key: Vec<usize> = starts.iter().filter_map(|n| key.iter().position(|k| k == n)).collect();
        assert!(of_key.is_sorted(), "starts of the key of {key:?}: {of_key:?}");
    }
}

/// After the last stop: nothing is held, nobody is connected, no session is live unless its stop said so.
pub(crate) async fn in_the_end(life: &Life) {
    let locks = "SELECT NOT EXISTS (SELECT FROM pg_locks l JOIN pgflow_meta m ON l.classid::bigint = m.space
        WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    let sessions = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgflow%')";
    for fact in [locks, sessions] {
        let held = tokio::time::timeout(NOTICED, life.fact(fact));
        assert!(held.await.is_ok(), "left behind: {fact}\n{}", dump(&life.sql).await);
    }
    let live = query_text(&life.sql, "SELECT name FROM pgflow_instances WHERE ended_at IS NULL").await;
    assert!(live.is_empty() || life.net.plan.met(), "live after its stop: {live:?}");
}

/// For a failed assertion.
pub(crate) async fn dump(sql: &Client) -> String {
    let mut text = String::new();
    for (what, query) in [
        (
            "messages",
            "SELECT format('%s: %s %s at try %s, session %s: %s', payload->>'n', id, status, attempt, session_id, error) FROM pgflow_messages WHERE status <> 'done' ORDER BY 1",
        ),
        ("attempts", "SELECT format('%s: try %s %s', id, attempt, event) FROM pgflow_attempts ORDER BY at"),
        (
            "instances",
            "SELECT format('%s %s, ended %s, died %s', session_id, name, ended_at, died) FROM pgflow_instances ORDER BY 1",
        ),
        (
            "backends",
            "SELECT format('%s %s: %s', application_name, state, left(query, 90)) FROM pg_stat_activity WHERE datname = current_database()",
        ),
    ] {
        text += &format!("-- {what}\n{}\n", query_text(sql, query).await.join("\n"));
    }
    text
}
