-- The observation of proposal $1 is over: its target is free. No row: it is not applied, or kept already. Index: the primary key.
UPDATE evolution_proposals SET kept_at = clock_timestamp()
WHERE proposal_id = $1 AND status = 'applied' AND kept_at IS NULL AND rollback_requested_at IS NULL
RETURNING proposal_id
