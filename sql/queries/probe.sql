-- W10: a notification on the channel that session $1's listener has asked for, from another connection.
SELECT pg_notify('pgflow_{space}_probe_' || $1::int, '')
