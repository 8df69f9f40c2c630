-- Proposal $1 is measured from $2 on. Index: the primary key.
UPDATE evolution_proposals SET baseline = $2 WHERE proposal_id = $1
