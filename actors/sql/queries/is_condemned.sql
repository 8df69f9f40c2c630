-- Does instance $1 hold a change that is to be rolled back at once, known for less than $2 seconds? Index: evolution_proposals_watched.
SELECT EXISTS (SELECT FROM evolution_proposals
  WHERE instance_id = $1 AND status = 'applied' AND kept_at IS NULL AND condemned_at > clock_timestamp() - $2::float8 * interval '1 second')
