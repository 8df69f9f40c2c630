-- The messages about proposal $1. Index: the primary key.
SELECT message_id FROM evolution_messages WHERE proposal_id = $1 ORDER BY message_id
