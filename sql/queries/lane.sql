-- The lane of queue $1, class $2 and addressee $3, made when it is not there, and its fence (one made just now is not seen: 0).
-- Index: pgflow_lanes_once, pgflow_lanes_pkey.
SELECT f.lane_id, coalesce(l.fence, 0)
FROM {schema}.pgflow_lane($1::int, $2::smallint, $3::text) AS f(lane_id) LEFT JOIN {schema}.pgflow_lanes l ON l.lane_id = f.lane_id
