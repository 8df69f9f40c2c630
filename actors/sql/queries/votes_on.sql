-- All votes on proposal $1, first come first. Index: the primary key.
SELECT instance_id, vote, confidence, reason, voted_at FROM evolution_consensus_votes WHERE proposal_id = $1 ORDER BY voted_at, instance_id
