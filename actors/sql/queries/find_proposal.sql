-- One proposal, $1. Index: the primary key.
SELECT * FROM evolution_proposals WHERE proposal_id = $1
