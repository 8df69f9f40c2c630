-- W6: waits for the key $1 behind the silent publishers that hold it, under the session's lock_timeout. Granted, the key is let go
-- with the statement, and everybody is told: whoever was refused meanwhile took us for a sentinel.
SELECT pg_advisory_xact_lock({space}, $1::int), pg_notify('pgflow_{space}_' || $1::int, '')
