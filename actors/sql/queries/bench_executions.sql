-- How long each execution of the proposals $1 took, in seconds; no row of one that was not applied. Index: the primary key.
SELECT execution_time_ms::float8 / 1000 FROM evolution_proposals WHERE proposal_id = ANY ($1) AND status = 'applied'
