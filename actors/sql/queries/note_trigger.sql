-- The rollback of change $1 travels as message $2. Index: the primary key.
UPDATE evolution_rollbacks SET message_id = $2 WHERE proposal_id = $1
