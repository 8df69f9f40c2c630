-- Opens the vote on a proposal, or records that none was needed, and registers its change with Guardian. No row: it is known.
-- The time for votes is $8 seconds, on the database's clock, by which votes are dated; answers its end.
-- $1 id, $2 instance, $3 proposal, $4 status, $5 rule, $6 similarity, $7 rationale, $8 window; $9 agent type, $10 change type,
-- $11 change, $12 profile. Index: the primary keys.
WITH opened AS (
  INSERT INTO evolution_consensus (proposal_id, instance_id, proposal, status, rule, similarity, rationale, deadline, confidence, decided_at)
  VALUES ($1, $2, $3, $4::text, $5, $6, $7, clock_timestamp() + $8::float8 * interval '1 second', CASE WHEN $4::text = 'voting' THEN 0 ELSE $6::float8 END,
          CASE WHEN $4::text = 'voting' THEN NULL ELSE clock_timestamp() END)
  ON CONFLICT (proposal_id) DO NOTHING
  RETURNING proposal_id, instance_id, deadline),
registered AS (
  INSERT INTO evolution_approved_changes (proposal_id, instance_id, agent_type, change_type, code_changeset, safety_profile)
  SELECT proposal_id, instance_id, $9::text, $10::text, $11::jsonb, $12::jsonb FROM opened
  ON CONFLICT (proposal_id) DO NOTHING)
SELECT deadline FROM opened
