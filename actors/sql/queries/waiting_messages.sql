-- Which types of message about the proposals $1 are in a queue, or with a handler. Index: the primary key, and pgflow's own.
SELECT DISTINCT m.proposal_id, p.kind FROM evolution_messages m JOIN pgflow_messages p ON p.id = m.message_id
WHERE m.proposal_id = ANY ($1) AND p.status IN ('pending', 'scheduled', 'parked', 'processing')
