-- Adds a vote. $1 proposal, $2 voter, $3 vote, $4 confidence, $5 reason, $6 when. Index: the primary key.
INSERT INTO evolution_consensus_votes (proposal_id, instance_id, vote, confidence, reason, voted_at) VALUES ($1, $2, $3, $4, $5, $6)
