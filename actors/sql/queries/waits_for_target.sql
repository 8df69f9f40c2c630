-- Does a proposal of instance $1 wait for target $2? Index: evolution_proposals_pending.
SELECT EXISTS (SELECT FROM evolution_proposals WHERE instance_id = $1 AND status = 'pending' AND target_key = $2)
