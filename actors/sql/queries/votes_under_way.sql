-- Is a vote on proposal $1 that was published at $2 or before still to be counted? Looked for by number in each of pgflow's tables of
-- unfinished messages; in pgflow_ready a message goes by its place until it has been handed back. Index: the primary keys,
-- pgflow_ready_id.
WITH linked AS MATERIALIZED (SELECT coalesce(array_agg(message_id), '{}') AS ids FROM evolution_messages WHERE proposal_id = $1),
lanes AS MATERIALIZED (
  SELECT array_agg(l.lane_id) AS ids FROM pgflow_queues q JOIN pgflow_lanes l USING (queue_id) WHERE q.name = 'consensus_votes_queue')
SELECT EXISTS (
  SELECT FROM pgflow_ready WHERE lane_id = ANY ((SELECT ids FROM lanes)::int[]) AND seq = ANY ((SELECT ids FROM linked)::bigint[])
    AND id IS NULL AND kind = 'consensus_vote' AND created_at <= $2
  UNION ALL SELECT FROM pgflow_ready WHERE id = ANY ((SELECT ids FROM linked)::bigint[]) AND kind = 'consensus_vote' AND created_at <= $2
  UNION ALL SELECT FROM pgflow_scheduled WHERE id = ANY ((SELECT ids FROM linked)::bigint[]) AND kind = 'consensus_vote' AND created_at <= $2
  UNION ALL SELECT FROM pgflow_parked WHERE id = ANY ((SELECT ids FROM linked)::bigint[]) AND kind = 'consensus_vote' AND created_at <= $2
  UNION ALL SELECT FROM pgflow_active WHERE id = ANY ((SELECT ids FROM linked)::bigint[]) AND kind = 'consensus_vote' AND created_at <= $2)
