-- What an operator does to messages and queues: cancel, delete. Each moves a row from one table to another in
-- one transaction, so that a message is in exactly one at any time.
--
-- A ready row that one of them has locked is skipped by the scan before a runtime's sleep, and is there again if the transaction
-- rolls back, which tells nobody. So each first tries the wake keys' locks as a silent publisher does: until its transaction
-- ends nobody falls asleep on them (W2). What that leaves: ARCHITECTURE.md, "Where the code falls short".

-- The way timestamps are shown in JSON: RFC 3339, UTC.
CREATE FUNCTION {schema}.pgflow_rfc3339(a_at timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$ SELECT to_char(a_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

-- The time itself while its day's partition stands, else now: retention may have dropped that day.
CREATE FUNCTION {schema}.pgflow_kept_time(a_base text, a_at timestamptz) RETURNS timestamptz
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN to_regclass(format('{schema}.%I', a_base || to_char(a_at AT TIME ZONE 'UTC', '_YYYYMMDD'))) IS NULL
              THEN clock_timestamp() ELSE a_at END $$;

-- Where the message a_id is, by index in every table (the view has none for ready).
CREATE FUNCTION {schema}.pgflow_find(a_id bigint)
RETURNS TABLE (id bigint, status text, lane_id int, attempt int, kind text, version int, message_id uuid, created_at timestamptz, run_at timestamptz,
               claimed_at timestamptz, finished_at timestamptz, session_id int, ordering_key text, source text, reason text, error text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.seq, 'pending', r.lane_id, r.attempt, r.kind, r.version, r.message_id, r.created_at, NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, NULL::int, r.ordering_key, r.source, NULL, NULL
  FROM {schema}.pgflow_lanes l JOIN {schema}.pgflow_ready r ON r.lane_id = l.lane_id AND r.seq = a_id AND r.id IS NULL
  UNION ALL
  SELECT r.id, 'pending', r.lane_id, r.attempt, r.kind, r.version, r.message_id, r.created_at, NULL, NULL, NULL, NULL, r.ordering_key, r.source, NULL, NULL
  FROM {schema}.pgflow_ready r WHERE r.id = a_id
  UNION ALL
  SELECT r.id, 'scheduled', r.lane_id, r.attempt, r.kind, r.version, r.message_id, r.created_at, r.run_at, NULL, NULL, NULL, r.ordering_key, r.source, NULL, r.last_error
  FROM {schema}.pgflow_scheduled r WHERE r.id = a_id
  UNION ALL
  SELECT r.id, 'parked', r.lane_id, r.attempt, r.kind, r.version, r.message_id, r.created_at, r.run_at, r.parked_at, NULL, NULL, r.ordering_key, r.source, r.reason, NULL
  FROM {schema}.pgflow_parked r WHERE r.id = a_id
  UNION ALL
  SELECT r.id, 'processing', r.lane_id, r.attempt, r.kind, r.version, r.message_id, r.created_at, NULL, r.claimed_at, NULL, r.session_id, r.ordering_key, r.source, NULL, NULL
  FROM {schema}.pgflow_active r WHERE r.id = a_id
  UNION ALL
  SELECT r.id, r.status, r.lane_id, r.attempt, r.kind, r.version, r.message_id, r.created_at, NULL, r.claimed_at, r.finished_at, r.session_id, r.ordering_key, r.source, NULL, r.error
  FROM {schema}.pgflow_history r WHERE r.id = a_id
  UNION ALL
  SELECT r.id, 'dead', r.lane_id, r.attempt, r.kind, r.version, r.message_id, r.published_at, NULL, r.claimed_at, r.created_at, r.session_id, r.ordering_key, r.source, r.error_kind, r.error
  FROM {schema}.pgflow_dlq r WHERE r.id = a_id
$$;

-- Cancels one message that nobody works on; its key goes to the next one. Looks twice, for a message may move on
-- between two of the statements.
CREATE FUNCTION {schema}.pgflow_cancel(a_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  place record;
  m     record;
  head  boolean := true;
  f     record;
BEGIN
  FOR look IN 1..2 LOOP
    SELECT r.lane_id, r.seq, pg_try_advisory_xact_lock_shared({space}, r.lane_id % 1024) INTO place FROM (
      SELECT r.lane_id, r.seq FROM {schema}.pgflow_lanes l JOIN {schema}.pgflow_ready r ON r.lane_id = l.lane_id AND r.seq = a_id AND r.id IS NULL
      UNION ALL SELECT r.lane_id, r.seq FROM {schema}.pgflow_ready r WHERE r.id = a_id) r;
    DELETE FROM {schema}.pgflow_ready r WHERE r.lane_id = place.lane_id AND r.seq = place.seq
      RETURNING r.lane_id, r.attempt, r.version, r.codec, r.message_id, r.created_at, r.kind, r.body, r.headers, r.ordering_key, r.source, r.broadcast_id INTO m;
    EXIT WHEN FOUND;
    DELETE FROM {schema}.pgflow_scheduled r WHERE r.id = a_id
      RETURNING r.lane_id, r.attempt, r.version, r.codec, r.message_id, r.created_at, r.kind, r.body, r.headers, r.ordering_key, r.source, r.broadcast_id INTO m;
    EXIT WHEN FOUND;
    DELETE FROM {schema}.pgflow_parked r WHERE r.id = a_id
      RETURNING r.lane_id, r.attempt, r.version, r.codec, r.message_id, r.created_at, r.kind, r.body, r.headers, r.ordering_key, r.source, r.broadcast_id, r.reason INTO m;
    IF FOUND THEN
      head := m.reason <> 'key';
      EXIT;
    END IF;
    SELECT status INTO f FROM {schema}.pgflow_find(a_id) AS t;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'no message %: it never was, or it is older than retention', a_id USING ERRCODE = '42704';
    ELSIF f.status = 'processing' THEN
      RAISE EXCEPTION 'message % is being processed: it can be cancelled only while it waits', a_id USING ERRCODE = '55000';
    ELSIF f.status IN ('done', 'dead', 'cancelled') THEN
      RAISE EXCEPTION 'message % is % already', a_id, f.status USING ERRCODE = '55000';
    ELSIF look = 2 THEN
      RAISE EXCEPTION 'message % keeps moving: try again', a_id USING ERRCODE = '55000';
    END IF;
  END LOOP;
  INSERT INTO {schema}.pgflow_history (id, status, lane_id, attempt, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
    VALUES (a_id, 'cancelled', m.lane_id, m.attempt, m.version, m.codec, m.message_id, m.created_at, m.kind, m.body, m.headers, m.ordering_key, m.source, m.broadcast_id);
  IF m.ordering_key IS NOT NULL AND head THEN
    PERFORM {schema}.pgflow_release_keys(ARRAY[(SELECT queue_id FROM {schema}.pgflow_lanes WHERE lane_id = m.lane_id)], ARRAY[m.ordering_key]);
  END IF;
END $$;

-- Marks a queue as deleted and closes its lanes; answers how many waiting messages were cancelled. Refused while messages are
-- unfinished, or, when they are to be cancelled, while some are being processed. A publisher whose transaction is open now does
-- not see it, nor does a claim: what they commit later is a stray, which is handled or which the sweep buries (queue_deleted).
CREATE FUNCTION {schema}.pgflow_delete_queue(a_name text, a_cancel boolean) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  q         int;
  lanes     int[];
  waiting   bigint;
  running   bigint;
  cancelled bigint := 0;
BEGIN
  UPDATE {schema}.pgflow_queues SET paused = true, deleted_at = clock_timestamp() WHERE name = a_name AND deleted_at IS NULL RETURNING queue_id INTO q;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'unknown queue "%"', a_name USING ERRCODE = '42704'; END IF;
  UPDATE {schema}.pgflow_lanes SET open = false WHERE queue_id = q;
  lanes := ARRAY(SELECT lane_id FROM {schema}.pgflow_lanes WHERE queue_id = q);
  -- A refusal comes before any ready row is locked.
  waiting := (SELECT count(*) FROM {schema}.pgflow_ready WHERE lane_id = ANY (lanes)) + (SELECT count(*) FROM {schema}.pgflow_scheduled WHERE lane_id = ANY (lanes))
           + (SELECT count(*) FROM {schema}.pgflow_parked WHERE queue_id = q);
  running := (SELECT count(*) FROM {schema}.pgflow_active WHERE lane_id = ANY (lanes));
  IF running > 0 OR (waiting > 0 AND NOT a_cancel) THEN
    RAISE EXCEPTION 'queue "%" has % waiting and % running messages: %', a_name, waiting, running,
      CASE WHEN a_cancel THEN 'pause it and wait for the running ones' ELSE 'let them finish, or delete it with its messages cancelled' END
      USING ERRCODE = '55000'; END IF;
  IF a_cancel THEN
    PERFORM pg_try_advisory_xact_lock_shared({space}, key) FROM (SELECT DISTINCT lane % 1024 AS key FROM unnest(lanes) AS lane) k;
    WITH gone AS (
      DELETE FROM {schema}.pgflow_ready WHERE lane_id = ANY (lanes) RETURNING coalesce(id, seq) AS id, lane_id, attempt, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id),
    late AS (
      DELETE FROM {schema}.pgflow_scheduled WHERE lane_id = ANY (lanes) RETURNING id, lane_id, attempt, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id),
    aside AS (
      DELETE FROM {schema}.pgflow_parked WHERE queue_id = q RETURNING id, lane_id, attempt, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
    INSERT INTO {schema}.pgflow_history (id, status, lane_id, attempt, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
    SELECT id, 'cancelled', lane_id, attempt, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id
    FROM (SELECT * FROM gone UNION ALL SELECT * FROM late UNION ALL SELECT * FROM aside) m;
    GET DIAGNOSTICS cancelled = ROW_COUNT;
  END IF;
  -- In the order of whoever publishes: see pgflow_hold_dedup.
  PERFORM 1 FROM {schema}.pgflow_dedup WHERE queue_id = q ORDER BY dedup_key FOR UPDATE;
  PERFORM 1 FROM {schema}.pgflow_keys WHERE queue_id = q ORDER BY ordering_key FOR UPDATE;
  DELETE FROM {schema}.pgflow_dedup WHERE queue_id = q;
  DELETE FROM {schema}.pgflow_keys  WHERE queue_id = q;
  PERFORM pg_notify('pgflow_{space}_ctl', '');
  RETURN cancelled;
END $$;
