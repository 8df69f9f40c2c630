-- Of each of the proposals $1, the message at the same place in $2 is about it.
INSERT INTO evolution_messages (proposal_id, message_id) SELECT * FROM unnest($1::uuid[], $2::bigint[]) ON CONFLICT DO NOTHING
