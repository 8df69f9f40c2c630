-- Takes away all readings of instance $1, oldest first. Index: evolution_readings_instance.
WITH taken AS (DELETE FROM evolution_readings WHERE instance_id = $1 RETURNING *)
SELECT agent_type, metric, value, read_at FROM taken ORDER BY id
