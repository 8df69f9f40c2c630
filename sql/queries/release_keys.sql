-- Frees the keys ($1 queue ids, $2 keys) whose head was settled in this transaction: the next message of each becomes ready.
SELECT {schema}.pgflow_release_keys($1::int[], $2::text[])
