-- One merge at a time, for this transaction.
SELECT pg_advisory_xact_lock(hashtextextended('evolution_patterns', 0))
