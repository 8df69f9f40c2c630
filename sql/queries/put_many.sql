-- Publishes a batch in which some message has a key, a dedup key or a delay, all in the order given. Arrays, an element a message:
-- $1 queue ids, $2 lanes, $3 message ids, $4 kinds, $5 versions, $6 codecs, $7 bodies, $8 headers, $9 ordering keys, $10 dedup keys,
-- $11 delays in ms; $12 source. Answers id and message id of each (a repeated dedup key: those of the first).
-- Raises 42704 when a lane is closed. Index: pgflow_dedup_pkey, pgflow_keys_pkey.
SELECT p.put_id, p.put_message_id
FROM {schema}.pgflow_put_many($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) p
