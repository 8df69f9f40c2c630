-- Draws $1 seqs, rising, for a COPY into the lanes $2, each with the time; after lock_ready, in its transaction. No row: one of the
-- lanes is closed. Index: pgflow_lanes_pkey.
SELECT nextval('{schema}.pgflow_seq'), clock_timestamp() FROM generate_series(1, $1::int)
WHERE (SELECT bool_and(open) FROM {schema}.pgflow_lanes WHERE lane_id = ANY ($2::int[]))
