-- Gives central the past of a system that has run for a while: $1 changes known to be safe, of $2 lines each.
INSERT INTO evolution_approved_changes (proposal_id, instance_id, agent_type, change_type, code_changeset, status, closed_at)
SELECT gen_random_uuid(), 'history', 'RefactoringAgent', 'refactoring',
       jsonb_build_object('type', 'refactoring', 'file', 'known_' || n || '.txt', 'content',
         (SELECT string_agg('let known_' || n || '_' || line || ' = call(' || n * line || ');', E'\n') FROM generate_series(1, $2::int) line)),
       'succeeded', clock_timestamp() - n * interval '1 minute'
FROM generate_series(1, $1::int) n
