-- Changes that share a workspace share its counters: who is blamed for a reading, and from where each is measured.

ALTER TABLE evolution_proposals
  ADD COLUMN baseline     jsonb,                          -- measured from here, once a neighbour was taken back; else from metrics_before
  ADD COLUMN suspect      jsonb NOT NULL DEFAULT '[]',    -- the metrics whose limits it is held to have passed
  ADD COLUMN condemned_at timestamptz;                    -- passed a limit that rolls back at once: nothing is executed beside it
CREATE INDEX evolution_proposals_executing ON evolution_proposals (instance_id) WHERE status = 'executing';
CREATE INDEX evolution_proposals_watched ON evolution_proposals (instance_id) WHERE status = 'applied' AND kept_at IS NULL;
