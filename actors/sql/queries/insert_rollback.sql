-- Orders the one rollback of a change. No row: it was ordered before.
-- $1 change, $2 rollback id, $3 instance, $4 reason, $5 breach, $6 breach count, $7 strategy. Index: the primary key.
INSERT INTO evolution_rollbacks (proposal_id, rollback_id, instance_id, reason, breach, breach_count, strategy)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (proposal_id) DO NOTHING
RETURNING rollback_id
