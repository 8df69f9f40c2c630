-- Does a proposal of instance $1 wait, for whatever? Index: evolution_proposals_pending.
SELECT EXISTS (SELECT FROM evolution_proposals WHERE instance_id = $1 AND status = 'pending')
