-- Deletes the queue $1, its waiting messages cancelled ($2) or not there; answers how many were cancelled.
-- Raises 42704 (unknown), 55000 (has unfinished messages).
SELECT {schema}.pgflow_delete_queue($1, $2)
