-- Notes at change $1 that its silence was told of: once a silence.
UPDATE evolution_approved_changes SET stale_alerted_at = clock_timestamp() WHERE proposal_id = $1
