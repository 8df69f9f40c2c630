-- Announces the lanes $1 as a publisher would, to whoever is sentinel: rows are back in them, and no insert tells.
SELECT pg_notify('pgflow_{space}_' || l % 1024, l::text) FROM unnest($1::int[]) l
