-- Tells whoever sleeps on the keys $1 to look, holding and letting go nothing.
SELECT pg_notify('pgflow_{space}_' || k, '') FROM unnest($1::int[]) k
