-- The number of this transaction, as text, by which its end is found.
SELECT pg_current_xact_id()::text
