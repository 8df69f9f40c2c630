-- Is a vote on proposal $1 that was cast at $2 or before still to be counted? Index: the primary keys.
SELECT EXISTS (
  SELECT FROM evolution_votes_cast c WHERE c.proposal_id = $1 AND c.cast_at <= $2 AND NOT EXISTS (
    SELECT FROM evolution_consensus_votes v WHERE v.proposal_id = c.proposal_id AND v.instance_id = c.instance_id))
