-- Draws the number of a new start. Drawn before the row is written, for the liveness lock comes first (W7).
SELECT nextval(pg_get_serial_sequence('{schema}.pgflow_instances', 'session_id'))::int
