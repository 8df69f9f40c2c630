-- The evolution system's own tables. Instances and central share one database: what belongs to an instance carries its id.
-- A state changes only by compare-and-set (sql/queries), and together with the message that the change causes.

-- Instance: proposals and what became of them.
CREATE TABLE evolution_proposals (
  proposal_id            uuid PRIMARY KEY,
  instance_id            text NOT NULL,
  agent_type             text NOT NULL,
  agent_id               text,
  change_type            text NOT NULL,
  code_change            jsonb NOT NULL,
  metadata               jsonb NOT NULL DEFAULT '{}',
  safety_profile         jsonb NOT NULL DEFAULT '{}',
  impact_score           float8 NOT NULL DEFAULT 5.0 CONSTRAINT evolution_proposals_impact CHECK (impact_score BETWEEN 0 AND 10),
  risk_score             float8 NOT NULL DEFAULT 5.0 CONSTRAINT evolution_proposals_risk CHECK (risk_score BETWEEN 0 AND 10),
  priority               float8 NOT NULL DEFAULT 0.0 CONSTRAINT evolution_proposals_priority CHECK (priority >= 0),  -- at submission; waiting raises it
  target_key             text,                           -- what it conflicts on; null: it does not say where
  status                 text NOT NULL DEFAULT 'pending' CONSTRAINT evolution_proposals_status CHECK (status IN
    ('pending', 'sent_for_consensus', 'consensus_reached', 'consensus_failed', 'executing', 'applied', 'failed', 'rolled_back')),
  consensus_required     boolean NOT NULL DEFAULT true,
  consensus_votes        jsonb NOT NULL DEFAULT '{}',
  consensus_result       text CONSTRAINT evolution_proposals_result CHECK (consensus_result IN ('approved', 'rejected')),
  consensus_rationale    text,
  execution_error        text,
  execution_time_ms      bigint,
  metrics_before         jsonb,
  metrics_after          jsonb,
  rollback_reason        text,
  created_at             timestamptz NOT NULL DEFAULT clock_timestamp(),
  consensus_sent_at      timestamptz,
  execution_started_at   timestamptz,
  execution_completed_at timestamptz,
  observed_until         timestamptz,                    -- when the observation window closes
  kept_at                timestamptz,                    -- observation over: the target is free again
  rollback_requested_at  timestamptz,                    -- a trigger arrived: no execution begins or ends well any more
  rollback_triggered_at  timestamptz
);
-- One open change a target: a second one waits in `pending`.
CREATE UNIQUE INDEX evolution_proposals_one_open ON evolution_proposals (instance_id, target_key)
  WHERE status IN ('sent_for_consensus', 'consensus_reached', 'executing') OR (status = 'applied' AND kept_at IS NULL);
CREATE INDEX evolution_proposals_pending ON evolution_proposals (instance_id) WHERE status = 'pending';
CREATE INDEX evolution_proposals_outcomes ON evolution_proposals (instance_id, agent_type, execution_completed_at DESC)
  WHERE status IN ('applied', 'failed', 'rolled_back');
CREATE INDEX evolution_proposals_created ON evolution_proposals (created_at);

-- Instance: the thresholds it holds per agent type.
CREATE TABLE evolution_safety_profiles (
  instance_id text NOT NULL,
  agent_type  text NOT NULL,
  profile     jsonb NOT NULL,
  source      text NOT NULL,
  learned_at  timestamptz NOT NULL,
  PRIMARY KEY (instance_id, agent_type)
);

-- Central: the vote on a proposal.
CREATE TABLE evolution_consensus (
  proposal_id uuid PRIMARY KEY,
  instance_id text NOT NULL,
  proposal    jsonb NOT NULL,
  status      text NOT NULL CONSTRAINT evolution_consensus_status CHECK (status IN
    ('auto_approved', 'voting', 'approved', 'rejected', 'expired')),
  rule        text NOT NULL CONSTRAINT evolution_consensus_rule CHECK (rule IN ('two_thirds', 'simple_majority')),
  similarity  float8 NOT NULL,
  confidence  float8 NOT NULL DEFAULT 0.0,
  rationale   text,
  proposed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  deadline    timestamptz NOT NULL,
  decided_at  timestamptz,
  CONSTRAINT evolution_consensus_decided CHECK ((status = 'voting') = (decided_at IS NULL))
);

-- Central: one vote an instance, never changed.
CREATE TABLE evolution_consensus_votes (
  proposal_id uuid NOT NULL REFERENCES evolution_consensus ON DELETE CASCADE,
  instance_id text NOT NULL,
  vote        text NOT NULL CONSTRAINT evolution_consensus_votes_vote CHECK (vote IN ('approve', 'reject')),
  confidence  float8 NOT NULL CONSTRAINT evolution_consensus_votes_confidence CHECK (confidence BETWEEN 0 AND 1),
  reason      text NOT NULL CONSTRAINT evolution_consensus_votes_reason CHECK (char_length(btrim(reason)) >= 10),
  voted_at    timestamptz NOT NULL,
  PRIMARY KEY (proposal_id, instance_id)
);

-- Central: the changes Guardian watches.
CREATE TABLE evolution_approved_changes (
  proposal_id       uuid PRIMARY KEY,
  instance_id       text NOT NULL,
  agent_type        text NOT NULL,
  change_type       text NOT NULL,
  code_changeset    jsonb NOT NULL,
  safety_profile    jsonb NOT NULL DEFAULT '{}',
  status            text NOT NULL DEFAULT 'pending' CONSTRAINT evolution_approved_changes_status CHECK (status IN
    ('pending', 'active', 'succeeded', 'rolled_back', 'failed', 'superseded', 'expired')),
  breach_counts     jsonb NOT NULL DEFAULT '{}',        -- breaches in a row, per metric
  registered_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  first_report_at   timestamptz,
  last_report_at    timestamptz,
  window_ends_at    timestamptz,
  stale_alerted_at  timestamptz,
  closed_at         timestamptz
);
CREATE INDEX evolution_approved_changes_proven ON evolution_approved_changes (closed_at DESC) WHERE status = 'succeeded';

-- Central: every report.
CREATE TABLE evolution_change_metrics (
  id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  proposal_id        uuid NOT NULL REFERENCES evolution_approved_changes ON DELETE CASCADE,
  instance_id        text NOT NULL,
  status             text,
  success_rate       float8,
  error_rate         float8,
  latency_p95_ms     float8,
  cost_cents         float8,
  throughput_per_min float8,
  metrics_before     jsonb NOT NULL,
  metrics_after      jsonb NOT NULL,
  breaches           jsonb NOT NULL DEFAULT '[]',
  reported_at        timestamptz NOT NULL
);
CREATE INDEX evolution_change_metrics_change ON evolution_change_metrics (proposal_id, reported_at);

-- Central: at most one rollback a change; its row is what makes a second trigger impossible.
CREATE TABLE evolution_rollbacks (
  proposal_id  uuid PRIMARY KEY,
  rollback_id  uuid NOT NULL UNIQUE,
  instance_id  text NOT NULL,
  reason       text NOT NULL,
  breach       jsonb NOT NULL DEFAULT '{}',
  breach_count int NOT NULL DEFAULT 0,
  strategy     jsonb NOT NULL,
  triggered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  completed_at timestamptz
);

-- Central: rollback plans, corrected by experience; without a row the documented one holds.
CREATE TABLE evolution_strategies (
  change_type text PRIMARY KEY,
  strategy    jsonb NOT NULL,
  updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Central: patterns, and what each instance contributed to them.
CREATE TABLE evolution_patterns (
  pattern_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pattern_type     text NOT NULL CONSTRAINT evolution_patterns_type CHECK (pattern_type ~ '^[a-z][a-z0-9_]{0,62}$'),
  fingerprint      text NOT NULL,
  code_pattern     jsonb NOT NULL,
  source_instances text[] NOT NULL,
  success_rate     float8 NOT NULL CONSTRAINT evolution_patterns_success CHECK (success_rate BETWEEN 0 AND 1),
  mean_similarity  float8 NOT NULL,
  consensus_score  float8 NOT NULL CONSTRAINT evolution_patterns_score CHECK (consensus_score BETWEEN 0 AND 1),
  usage_count      bigint NOT NULL,
  promoted         boolean NOT NULL DEFAULT false,
  trusted          boolean NOT NULL DEFAULT false,      -- learned: counts among the known-safe changes
  created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at       timestamptz NOT NULL,
  CONSTRAINT evolution_patterns_once UNIQUE (pattern_type, fingerprint)
);
CREATE TABLE evolution_pattern_usage (
  pattern_id   bigint NOT NULL REFERENCES evolution_patterns ON DELETE CASCADE,
  instance_id  text NOT NULL,
  success_rate float8 NOT NULL,
  usage_count  bigint NOT NULL CONSTRAINT evolution_pattern_usage_count CHECK (usage_count >= 1),
  agent_types  text[] NOT NULL,
  last_used_at timestamptz NOT NULL,
  PRIMARY KEY (pattern_id, instance_id)
);

-- Central: what was learned. Late joiners start from the profiles.
CREATE TABLE evolution_rules (
  rule_id      text PRIMARY KEY,
  rule         jsonb NOT NULL,
  confidence   float8 NOT NULL,
  generated_at timestamptz NOT NULL
);
CREATE TABLE evolution_learned_profiles (
  agent_type text PRIMARY KEY,
  profile    jsonb NOT NULL,
  source     text NOT NULL,
  learned_at timestamptz NOT NULL
);
CREATE TABLE evolution_learning_runs (
  run_id             uuid PRIMARY KEY,
  patterns_processed bigint NOT NULL,
  rules_generated    bigint NOT NULL,
  thresholds_updated bigint NOT NULL,
  finished_at        timestamptz NOT NULL
);

-- Both: what a person should look at.
CREATE TABLE evolution_alerts (
  alert_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind        text NOT NULL CONSTRAINT evolution_alerts_kind CHECK (kind IN ('threshold_breach', 'metrics_stale', 'rollback_failed')),
  proposal_id uuid NOT NULL,
  instance_id text NOT NULL,
  detail      jsonb NOT NULL DEFAULT '{}',
  raised_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX evolution_alerts_raised ON evolution_alerts (raised_at DESC);
