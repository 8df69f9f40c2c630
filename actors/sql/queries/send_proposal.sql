-- pending -> sent_for_consensus for proposal $1. No row: it is not pending. evolution_proposals_one_open refuses a held target.
UPDATE evolution_proposals SET status = 'sent_for_consensus', consensus_sent_at = clock_timestamp()
WHERE proposal_id = $1 AND status = 'pending'
RETURNING *
