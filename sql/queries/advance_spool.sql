-- Says, in the transaction that forwards them, that the records of the spool $1 up to number $2 are in the tables; never less than it said:
-- of a batch that is there already, more may be. After meet_spool. Index: pgflow_spools_pkey.
UPDATE {schema}.pgflow_spools SET forwarded = greatest(forwarded, $2), forwarded_at = clock_timestamp() WHERE spool_id = $1
