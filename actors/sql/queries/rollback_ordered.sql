-- Was a rollback of change $1 ordered? Index: the primary key.
SELECT EXISTS (SELECT FROM evolution_rollbacks WHERE proposal_id = $1)
