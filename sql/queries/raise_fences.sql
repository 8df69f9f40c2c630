-- Makes INSERTs that are still under way into the lanes $1 write nothing from now on: see find_published. Publishers that live look
-- the lane up again. In one order: two forwarders cannot deadlock. Index: pgflow_lanes_pkey.
UPDATE {schema}.pgflow_lanes SET fence = fence + 1
WHERE lane_id IN (SELECT lane_id FROM {schema}.pgflow_lanes WHERE lane_id = ANY ($1::int[]) ORDER BY lane_id FOR UPDATE)
