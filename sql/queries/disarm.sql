-- W3: lets the keys $1 go AND notifies, in one statement: a follower that sleeps on them must look again.
SELECT pg_advisory_unlock({space}, k), pg_notify('pgflow_{space}_' || k::text, '') FROM unnest($1::int[]) k
