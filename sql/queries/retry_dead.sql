-- Sends the dead letter $1 round again, tries counted from nothing. Raises 42704 (no such), 55000 (its queue is deleted).
SELECT {schema}.pgflow_retry_dead($1)
