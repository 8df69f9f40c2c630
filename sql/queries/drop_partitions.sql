-- Drops day partitions older than $1 days (history) and $2 days (attempts); waits 100 ms at most for readers. Answers how many.
SELECT {schema}.pgflow_drop_partitions($1::int, $2::int)
