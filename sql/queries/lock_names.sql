-- Held to the transaction's end: two starts under one name look for its holder one after the other.
SELECT pg_advisory_xact_lock({space}, 1027)
