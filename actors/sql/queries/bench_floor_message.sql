-- The floor's second statement: the word to the instance. $1 message id, $2 body.
INSERT INTO bench_floor_ready (lane_id, message_id, kind, version, codec, body, source)
VALUES (1, $1, 'send_proposals', 1, 0, $2, 'floor')
