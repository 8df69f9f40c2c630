-- One proposal, $1, locked until the transaction ends. Index: the primary key.
SELECT * FROM evolution_proposals WHERE proposal_id = $1 FOR UPDATE
