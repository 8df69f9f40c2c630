-- The first taken place of each lane $1[i] from $2[i] on. Skips no locked row, whose claim may yet fail.
-- Index: pgflow_ready_pkey, once per lane.
SELECT l.lane_id, r.seq
FROM unnest($1::int[], $2::bigint[]) AS l(lane_id, low)
CROSS JOIN LATERAL (SELECT r.seq FROM {schema}.pgflow_ready r WHERE r.lane_id = l.lane_id AND r.seq >= l.low ORDER BY r.seq LIMIT 1) r
