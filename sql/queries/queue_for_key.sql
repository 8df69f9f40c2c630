-- W6: waits for the key $1 behind the silent publishers that hold it, under the session's lock_timeout. Granted, the key is let go
-- with the statement; a later one tells those who were refused meanwhile and took us for a sentinel.
SELECT pg_advisory_xact_lock({space}, $1::int)
