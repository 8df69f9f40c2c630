-- Cancels the waiting message $1 and frees its key. Raises 42704 (no such), 55000 (being processed, or finished).
SELECT {schema}.pgflow_cancel($1)
