-- One statement per instance and heartbeat (W8), on the listener's session.
-- $1 own session, $2 keys followed (take over those whose holder is gone; tell those that only silent publishers hold),
-- $3 lanes slept on (any row there from place $9[i] on, a low-water mark, was missed),
-- $4 whether to write heartbeat_at (every 5 s), $5 whether we already lead, $6 lease in ms, $7 our heartbeat in ms,
-- $8 whether this is a session (W10): without one nothing may be locked beyond the statement, and we lead when nobody does.
WITH beat AS (
  -- One that was taken for dead lives after all; one that has stopped does not.
  -- Asking for the notify queue's usage has Postgres let go of what all have read. Nothing else does once it is full (since 13): every
  -- commit that notifies would fail for ever, though whoever had held the queue up is gone.
  UPDATE {schema}.pgflow_instances SET heartbeat_at = clock_timestamp(), ended_at = CASE WHEN died THEN NULL ELSE ended_at END, died = false
  WHERE session_id = $1 AND $4 AND pg_notification_queue_usage() >= 0),
tried AS MATERIALIZED (
  SELECT k, CASE WHEN pg_try_advisory_lock({space}, k) THEN 0
                 WHEN pg_try_advisory_lock_shared({space}, k) THEN CASE WHEN pg_advisory_unlock_shared({space}, k) THEN 1 ELSE 1 END
                 ELSE 2 END AS state
  FROM unnest($2::int[]) k)
SELECT
  ARRAY(SELECT k FROM tried WHERE state = 0) AS taken,
  ARRAY(SELECT k FROM tried WHERE state = 1) AS silent,
  ARRAY(SELECT l FROM unnest($3::int[], $9::bigint[]) AS s(l, low) WHERE EXISTS (SELECT 1 FROM {schema}.pgflow_ready r WHERE r.lane_id = l AND r.seq >= low)
        AND EXISTS (SELECT 1 FROM {schema}.pgflow_lanes JOIN {schema}.pgflow_queues USING (queue_id) WHERE lane_id = l AND NOT paused)) AS missed,
  CASE WHEN NOT $8 THEN pg_try_advisory_xact_lock_shared({space}, 1025) WHEN $5 THEN true ELSE pg_try_advisory_lock({space}, 1025) END AS leader,
  (SELECT extract(epoch FROM s.run_at - clock_timestamp())::float8 * 1000 FROM {schema}.pgflow_scheduled s ORDER BY run_at, id LIMIT 1) AS due_ms,
  ARRAY(SELECT session_id FROM {schema}.pgflow_instances WHERE ended_at IS NULL AND session_id <> $1
        AND listener_pid IS NOT NULL AND pg_try_advisory_xact_lock_shared({space}, 65536 + session_id)) AS gone,
  ARRAY(SELECT session_id FROM {schema}.pgflow_instances WHERE ended_at IS NULL AND session_id <> $1
        AND heartbeat_at < clock_timestamp() - $6::bigint * interval '1 millisecond') AS expired,
  EXISTS (SELECT 1 FROM {schema}.pgflow_parked WHERE reason = 'undecodable') AS undecodable,
  extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8 * 1000 AS server_age_ms,
  EXISTS (SELECT 1 FROM {schema}.pgflow_instances WHERE died AND ended_at > clock_timestamp() - 3 * $7::bigint * interval '1 millisecond') AS death
