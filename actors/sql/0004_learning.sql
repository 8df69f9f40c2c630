-- Central: the confidence that a vote needs, where it is let move; one row.
CREATE TABLE evolution_gate (
  one  boolean PRIMARY KEY DEFAULT true CONSTRAINT evolution_gate_one CHECK (one),
  gate jsonb NOT NULL
);

-- Instance: what was measured since the last batch.
CREATE TABLE evolution_readings (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  instance_id text NOT NULL,
  agent_type  text NOT NULL,
  metric      text NOT NULL,
  value       float8 NOT NULL,
  read_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX evolution_readings_instance ON evolution_readings (instance_id, id);

-- Central: the batches, agent by agent.
CREATE TABLE evolution_agent_metrics (
  instance_id text NOT NULL,
  agent_type  text NOT NULL,
  metric      text NOT NULL,
  count       bigint NOT NULL,
  avg         float8 NOT NULL,
  min         float8 NOT NULL,
  max         float8 NOT NULL,
  newest      jsonb NOT NULL,                -- the newest values, at most 100
  from_at     timestamptz NOT NULL,
  until_at    timestamptz NOT NULL,
  PRIMARY KEY (instance_id, agent_type, metric, until_at)
);
