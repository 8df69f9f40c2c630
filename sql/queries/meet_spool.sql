-- How far the spool $1 was forwarded: the greater of the row's number and $2, which its folder remembers. Holds the row until the
-- transaction ends, so that a forwarder waits for one before it whose COMMIT was not answered. Index: pgflow_spools_pkey.
INSERT INTO {schema}.pgflow_spools AS s (spool_id, forwarded) VALUES ($1, $2)
ON CONFLICT (spool_id) DO UPDATE SET forwarded = greatest(s.forwarded, excluded.forwarded)
RETURNING forwarded
