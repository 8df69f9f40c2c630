//! What the database says in the end: every message, wherever it is, and what befell it.

use std::collections::HashMap;

use tokio_postgres::Client;

/// A message's row; every time is in µs since 1970, on the server's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub id: i64,
    /// None for a body that is no message of the traffic.
    pub uid: Option<i64>,
    pub status: String,
    pub queue: String,
    pub class: i16,
    pub key: Option<String>,
    pub attempt: i32,
    pub token: Option<i64>,
    pub session: Option<i32>,
    pub created_at: i64,
    pub claimed_at: Option<i64>,
    pub finished_at: Option<i64>,
    /// Of a dead one: what it died of.
    pub error_kind: Option<String>,
}

/// A row of `pgflow_attempts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Try {
    pub id: i64,
    pub at: i64,
    pub event: String,
    pub attempt: i32,
    pub token: Option<i64>,
    pub session: Option<i32>,
    pub claimed_at: Option<i64>,
}

/// An effect that was committed. Its table has no unique constraint: a second one would show.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    pub uid: i64,
    pub attempt: i32,
    pub run: i64,
    pub instance: String,
}

#[derive(Clone, Debug, Default)]
pub struct Dump {
    pub rows: Vec<Row>,
    pub tries: Vec<Try>,
    pub effects: Vec<Effect>,
    /// Sessions and their names.
    pub instances: HashMap<i32, String>,
}

pub const EFFECTS: &str = "CREATE TABLE fx (uid bigint, id bigint, attempt int, run bigint, instance text)";

const ROWS: &str = "
    SELECT m.id, m.body, m.status, q.name, l.class, m.ordering_key, m.attempt, m.token, m.session_id,
           us(m.created_at), us(m.claimed_at), us(m.finished_at), d.error_kind
    FROM (SELECT coalesce(id, seq) AS id, body, 'pending' AS status, lane_id, ordering_key, attempt, NULL::bigint AS token,
                 NULL::int AS session_id, created_at, NULL::timestamptz AS claimed_at, NULL::timestamptz AS finished_at FROM pgflow_ready
          UNION ALL SELECT id, body, 'scheduled', lane_id, ordering_key, attempt, NULL, NULL, created_at, NULL, NULL FROM pgflow_scheduled
          UNION ALL SELECT id, body, 'parked', lane_id, ordering_key, attempt, NULL, NULL, created_at, NULL, NULL FROM pgflow_parked
          UNION ALL SELECT id, body, 'processing', lane_id, ordering_key, attempt, token, session_id, created_at, claimed_at, NULL FROM pgflow_active
          UNION ALL SELECT id, body, status, lane_id, ordering_key, attempt, token, session_id, created_at, claimed_at, finished_at FROM pgflow_history
          UNION ALL SELECT id, body, 'dead', lane_id, ordering_key, attempt, token, session_id, published_at, claimed_at, created_at FROM pgflow_dlq) m
    JOIN pgflow_lanes l USING (lane_id) JOIN pgflow_queues q USING (queue_id)
    LEFT JOIN pgflow_dlq d USING (id)";

impl Dump {
    pub async fn take(client: &Client) -> Self {
        let us = "CREATE FUNCTION pg_temp.us(t timestamptz) RETURNS bigint LANGUAGE sql AS 'SELECT (extract(epoch FROM t) * 1000000)::bigint'";
        client.batch_execute(us).await.expect("a function");
        let query = async |sql: &str| {
            client.query(&sql.replace("us(", "pg_temp.us("), &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"))
        };
        let rows = query(ROWS).await;
        let tries = query(
            "SELECT id, us(at), event, attempt, token, session_id, us(claimed_at) FROM pgflow_attempts ORDER BY at",
        )
        .await;
        let effects = query("SELECT uid, attempt, run, instance FROM fx").await;
        let instances = query("SELECT session_id, name FROM pgflow_instances").await;
        Self {
            rows: rows
                .iter()
                .map(|r| Row {
                    id: r.get(0),
                    uid: serde_json::from_slice(r.get(1)).ok().and_then(|v: serde_json::Value| v["uid"].as_i64()),
                    status: r.get(2),
                    queue: r.get(3),
                    class: r.get(4),
                    key: r.get(5),
                    attempt: r.get(6),
                    token: r.get(7),
                    session: r.get(8),
                    created_at: r.get(9),
                    claimed_at: r.get(10),
                    finished_at: r.get(11),
                    error_kind: r.get(12),
                })
                .collect(),
            tries: tries
                .iter()
                .map(|r| Try {
                    id: r.get(0),
                    at: r.get(1),
                    event: r.get(2),
                    attempt: r.get(3),
                    token: r.get(4),
                    session: r.get(5),
                    claimed_at: r.get(6),
                })
                .collect(),
            effects: effects
                .iter()
                .map(|r| Effect { uid: r.get(0), attempt: r.get(1), run: r.get(2), instance: r.get(3) })
                .collect(),
            instances: instances.iter().map(|r| (r.get(0), r.get(1))).collect(),
        }
    }
}
