-- W6: waits for the key $1 behind the silent publishers that hold it, under the session's lock_timeout, and tells everybody
-- when it is granted: whoever was refused meanwhile took us for a sentinel, under which silent publishers were in flight.
SELECT pg_advisory_lock({space}, $1::int), pg_notify('pgflow_{space}_' || $1::int, '')
