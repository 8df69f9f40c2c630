-- The vote of instance $2 on proposal $1 is not under way any more, and not counted. Index: the primary key.
DELETE FROM evolution_votes_cast WHERE proposal_id = $1 AND instance_id = $2
