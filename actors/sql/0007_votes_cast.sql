-- Votes as they are cast, noted with their message: what is here and not among those counted is still on its way.
CREATE TABLE evolution_votes_cast (
  proposal_id uuid NOT NULL,
  instance_id text NOT NULL,
  cast_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (proposal_id, instance_id)
);
