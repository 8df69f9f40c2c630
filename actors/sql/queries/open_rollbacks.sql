-- Rollbacks on instance $1 that were ordered and neither carried out nor given up.
SELECT proposal_id, rollback_id, reason, breach, breach_count, strategy FROM evolution_rollbacks
WHERE instance_id = $1 AND completed_at IS NULL AND failed_at IS NULL
