-- Active messages of session $1 claimed more than $2 ms ago: (id, token, queue_id, ordering_key). The caller hands back those
-- that it does not answer for: rows of a claim whose answer was lost. Index: none, the table is small.
SELECT a.id, a.token, l.queue_id, a.ordering_key
FROM {schema}.pgflow_active a JOIN {schema}.pgflow_lanes l USING (lane_id)
WHERE a.session_id = $1 AND a.claimed_at < clock_timestamp() - $2::bigint * interval '1 millisecond'
