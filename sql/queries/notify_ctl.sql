-- Has every runtime look at its queues again.
SELECT pg_notify('pgflow_{space}_ctl', '')
