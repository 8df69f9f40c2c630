-- The first message of kind $2 about each of the proposals $1: seconds from its publish, and from its claim, to the end of its handling,
-- which commits what it caused. Index: evolution_messages' primary key.
SELECT DISTINCT ON (about.proposal_id) extract(epoch FROM m.finished_at - m.created_at)::float8, extract(epoch FROM m.finished_at - m.claimed_at)::float8
FROM evolution_messages about JOIN pgflow_messages m ON m.id = about.message_id
WHERE about.proposal_id = ANY ($1) AND m.kind = $2 AND m.status = 'done' ORDER BY about.proposal_id, m.id
