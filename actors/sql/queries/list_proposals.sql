-- Proposals of instance $1 (null: of all) in the states $2 (empty: any), the best score as of now first; at most $3.
SELECT proposal_id, instance_id, agent_type, change_type, target_key, status, created_at, execution_error, kept_at IS NOT NULL AS kept,
       priority * (1 + extract(epoch FROM clock_timestamp() - created_at)::float8 / 86400 * 0.1) AS score
FROM evolution_proposals
WHERE ($1::text IS NULL OR instance_id = $1) AND (cardinality($2::text[]) = 0 OR status = ANY ($2))
ORDER BY score DESC, created_at, proposal_id LIMIT $3::bigint
