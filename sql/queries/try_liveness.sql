-- W7: takes the liveness lock of session $1, whose release tells everybody that its process is gone.
SELECT pg_try_advisory_lock({space}, 65536 + $1::int)
