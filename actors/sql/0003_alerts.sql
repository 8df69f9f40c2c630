-- The trigger's message, so that its death is noticed whoever died with it; and when a rollback was given up.
ALTER TABLE evolution_rollbacks
  ADD COLUMN message_id bigint,
  ADD COLUMN failed_at  timestamptz;

-- An alert is open until it is cleared, and open once.
ALTER TABLE evolution_alerts
  ALTER COLUMN proposal_id DROP NOT NULL,
  ALTER COLUMN instance_id DROP NOT NULL,
  ADD COLUMN subject    text,
  ADD COLUMN severity   text NOT NULL DEFAULT 'warn' CONSTRAINT evolution_alerts_severity CHECK (severity IN ('warn', 'page')),
  ADD COLUMN cleared_at timestamptz,
  DROP CONSTRAINT evolution_alerts_kind;
UPDATE evolution_alerts SET subject = proposal_id::text, cleared_at = clock_timestamp();
ALTER TABLE evolution_alerts
  ALTER COLUMN subject SET NOT NULL,
  ADD CONSTRAINT evolution_alerts_kind CHECK (kind IN
    ('threshold_breach', 'metrics_stale', 'rollback_failed', 'dead_letters', 'queue_latency', 'consumer_lag', 'database_size'));
CREATE UNIQUE INDEX evolution_alerts_open ON evolution_alerts (kind, subject) WHERE cleared_at IS NULL;

-- Central: the depth of every queue at its last looks, and the size of pgflow's tables once an hour.
CREATE TABLE evolution_queue_samples (
  sampled_at timestamptz NOT NULL,
  queue_name text NOT NULL,
  pending    bigint NOT NULL,
  oldest_s   float8 NOT NULL,
  PRIMARY KEY (sampled_at, queue_name)
);
CREATE TABLE evolution_size_samples (
  hour  timestamptz PRIMARY KEY,
  bytes bigint NOT NULL
);
