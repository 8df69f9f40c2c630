-- Claims up to $4 ready messages of queue $1 from the lanes $2, in that order and inside a lane by seq, at most $3[i] from lane i.
-- $5: the claiming session. Lane i is read from place $6[i] on: 0, or its low-water mark. Nothing while the queue is paused.
-- Fence: the token, which is $7, random for each claim, mixed with seq. So no token comes twice even if a crash forgets a claim: its
-- commit does not wait for the disk. It does if $8 asks for it, and if a row has an ordering key, whose next try must not begin beside
-- a forgotten one.
-- The pre-sleep scan of the wake-up protocol (W1) is this statement.
-- Index: pgflow_ready_pkey once per lane, walked only as far as rows are taken: a row is never locked without being claimed,
-- so that no other scan can skip a row that stays. The ctid form keeps a generic plan off a hash join.
WITH gone AS (
  DELETE FROM {schema}.pgflow_ready WHERE ctid = ANY (ARRAY(
    SELECT s.ctid
    FROM unnest($2::int[], $3::int[], $6::bigint[]) AS l(lane_id, most, low)
    CROSS JOIN LATERAL (SELECT r.ctid FROM {schema}.pgflow_ready r WHERE r.lane_id = l.lane_id AND r.seq >= l.low
                        ORDER BY r.seq LIMIT l.most FOR UPDATE SKIP LOCKED) s
    WHERE (SELECT NOT paused FROM {schema}.pgflow_queues WHERE queue_id = $1)
    LIMIT $4::int))
  RETURNING *),
disk AS (SELECT CASE WHEN count(ordering_key) = 0 AND NOT $8::bool THEN set_config('synchronous_commit', 'off', true) END FROM gone)
INSERT INTO {schema}.pgflow_active (id, token, session_id, seq, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
SELECT coalesce(id, seq), $7::bigint # seq, $5::int, seq, attempt + 1, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id FROM gone CROSS JOIN disk
RETURNING id, token, seq, attempt, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source
