-- Instance $2 has cast its vote on proposal $1. Index: the primary key.
INSERT INTO evolution_votes_cast (proposal_id, instance_id) VALUES ($1, $2) ON CONFLICT DO NOTHING
