-- One writer or sender of instance $1's readings at a time, for this transaction; answers whether any waits to be sent.
SELECT EXISTS (SELECT FROM evolution_readings WHERE instance_id = $1)
FROM (SELECT pg_advisory_xact_lock(hashtextextended('evolution_readings ' || $1, 0))) locked
