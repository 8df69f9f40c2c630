-- Makes the day partitions from yesterday to a week ahead; answers how many were new.
SELECT {schema}.pgflow_ensure_partitions(7)
