-- Opens the vote on a proposal, or records that none was needed. No row: it is known.
-- $1 id, $2 instance, $3 proposal, $4 status, $5 rule, $6 similarity, $7 rationale, $8 deadline. Index: the primary key.
INSERT INTO evolution_consensus (proposal_id, instance_id, proposal, status, rule, similarity, rationale, deadline, confidence, decided_at)
VALUES ($1, $2, $3, $4::text, $5, $6, $7, $8, CASE WHEN $4::text = 'voting' THEN 0 ELSE $6::float8 END, CASE WHEN $4::text = 'voting' THEN NULL ELSE clock_timestamp() END)
ON CONFLICT (proposal_id) DO NOTHING
RETURNING proposal_id
