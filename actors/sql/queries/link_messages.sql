-- The messages $2 are about proposal $1.
INSERT INTO evolution_messages (proposal_id, message_id) SELECT $1, unnest($2::bigint[]) ON CONFLICT DO NOTHING
