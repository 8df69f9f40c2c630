-- sent_for_consensus -> $2 (consensus_reached or consensus_failed) for proposal $1, with $3 votes, $4 result, $5 rationale.
-- $6: the states it may come from. No row: it was not there any more. Index: the primary key.
UPDATE evolution_proposals SET status = $2, consensus_votes = $3, consensus_result = $4, consensus_rationale = $5
WHERE proposal_id = $1 AND status = ANY ($6)
RETURNING proposal_id
