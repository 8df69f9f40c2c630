-- The vote on proposal $1, locked: votes and deadline are taken one at a time. Index: the primary key.
SELECT proposal_id, instance_id, status, rule, deadline, clock_timestamp() AS now FROM evolution_consensus WHERE proposal_id = $1 FOR UPDATE
