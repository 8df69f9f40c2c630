-- The publishing functions, the wake-up triggers, the view and the upkeep of partitions.

-- Aborts a handler's transaction whose claim is no longer its own.
CREATE FUNCTION {schema}.pgflow_fenced(a_id bigint) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the claim of message % is no longer ours', a_id USING ERRCODE = 'PGF01';
END $$;

-- W: announces the lane to whoever is sentinel of its key. It runs only when somebody sleeps: see the trigger's WHEN.
CREATE FUNCTION {schema}.pgflow_notify_lane() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_notify('pgflow_{space}_' || (NEW.lane_id % 1024)::text, NEW.lane_id::text);
  RETURN NULL;
END $$;

-- The sweeper's lane: wakes the leader's timer for a row that falls due before a heartbeat would surely see it.
CREATE FUNCTION {schema}.pgflow_notify_sweep() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_notify('pgflow_{space}_1024', '');
  RETURN NULL;
END $$;

-- Puts the wake-up triggers in place for a mode: eventcount asks the advisory lock first, notify always notifies, poll never.
CREATE FUNCTION {schema}.pgflow_set_mode(new_mode text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  lane_check  text := CASE new_mode WHEN 'eventcount' THEN 'WHEN (NOT pg_try_advisory_xact_lock_shared({space}, NEW.lane_id % 1024))' ELSE '' END;
  sweep_check text := CASE new_mode WHEN 'eventcount' THEN ' AND NOT pg_try_advisory_xact_lock_shared({space}, 1024)' ELSE '' END;
BEGIN
  UPDATE {schema}.pgflow_meta SET mode = new_mode;
  PERFORM set_config('client_min_messages', 'warning', true);
  DROP TRIGGER IF EXISTS pgflow_wake ON {schema}.pgflow_ready;
  DROP TRIGGER IF EXISTS pgflow_wake ON {schema}.pgflow_scheduled;
  IF new_mode <> 'poll' THEN
    EXECUTE format('CREATE TRIGGER pgflow_wake AFTER INSERT ON {schema}.pgflow_ready FOR EACH ROW %s EXECUTE FUNCTION {schema}.pgflow_notify_lane()', lane_check);
    -- 120 s is two heartbeats at the longest heartbeat allowed (heartbeat_ms_max = 60000): W8.
    EXECUTE format('CREATE TRIGGER pgflow_wake AFTER INSERT ON {schema}.pgflow_scheduled FOR EACH ROW WHEN (NEW.run_at < clock_timestamp() + interval ''120 seconds''%s) EXECUTE FUNCTION {schema}.pgflow_notify_sweep()', sweep_check);
    ALTER TABLE {schema}.pgflow_ready     ENABLE ALWAYS TRIGGER pgflow_wake;
    ALTER TABLE {schema}.pgflow_scheduled ENABLE ALWAYS TRIGGER pgflow_wake;
  END IF;
  PERFORM pg_notify('pgflow_{space}_ctl', '');
END $$;
SELECT {schema}.pgflow_set_mode('eventcount');

-- The lane of (queue, class, target), made when it is not there yet. One for an addressee is made when it is first addressed, not
-- when the addressee starts: lanes stay for ever. Whoever is addressed must learn of it: ctl has every runtime read its lanes again.
CREATE FUNCTION {schema}.pgflow_lane(a_queue_id int, a_class smallint, a_target text) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE found_id int;
BEGIN
  SELECT lane_id INTO found_id FROM {schema}.pgflow_lanes
    WHERE queue_id = a_queue_id AND class = a_class AND target IS NOT DISTINCT FROM a_target;
  IF found_id IS NULL THEN
    INSERT INTO {schema}.pgflow_lanes (queue_id, class, target, open)
      SELECT queue_id, a_class, a_target, deleted_at IS NULL FROM {schema}.pgflow_queues WHERE queue_id = a_queue_id
      ON CONFLICT ON CONSTRAINT pgflow_lanes_once DO NOTHING RETURNING lane_id INTO found_id;
    IF found_id IS NOT NULL AND a_target IS NOT NULL THEN
      PERFORM pg_notify('pgflow_{space}_ctl', '');
    ELSIF found_id IS NULL THEN
      SELECT lane_id INTO found_id FROM {schema}.pgflow_lanes
        WHERE queue_id = a_queue_id AND class = a_class AND target IS NOT DISTINCT FROM a_target;
    END IF;
  END IF;
  RETURN found_id;
END $$;

-- Makes a queue with its three common lanes; a queue that exists keeps its settings. A deleted one comes back under its
-- old id, running and with default settings: lane ids that a publisher kept stay true.
CREATE FUNCTION {schema}.pgflow_create_queue(a_name text) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  q       int;
  deleted boolean;
BEGIN
  INSERT INTO {schema}.pgflow_queues (name) VALUES (a_name) ON CONFLICT (name) DO NOTHING;
  SELECT queue_id, deleted_at IS NOT NULL INTO q, deleted FROM {schema}.pgflow_queues WHERE name = a_name;
  IF deleted THEN
    UPDATE {schema}.pgflow_queues SET deleted_at = NULL, paused = DEFAULT, max_retries = DEFAULT, retry_delay_ms = DEFAULT,
      retry_delay_ms_max = DEFAULT, payload_bytes_max = DEFAULT, created_at = DEFAULT WHERE queue_id = q AND deleted_at IS NOT NULL;
    UPDATE {schema}.pgflow_lanes SET open = true WHERE queue_id = q AND NOT open;
  END IF;
  PERFORM {schema}.pgflow_lane(q, 10::smallint, NULL), {schema}.pgflow_lane(q, 0::smallint, NULL), {schema}.pgflow_lane(q, (-10)::smallint, NULL);
  RETURN q;
END $$;

-- Writes one message where it belongs: behind its key's head, to a time, or straight into its lane; answers its id, and keeps it
-- with the dedup key. Both keys' rows are held already.
CREATE FUNCTION {schema}.pgflow_place(
  a_head boolean, a_delay interval, a_queue_id int, a_lane_id int, a_message_id uuid, a_kind text, a_version int, a_codec smallint,
  a_body bytea, a_headers jsonb, a_ordering_key text, a_dedup_key text, a_source text, a_broadcast_id uuid)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_id bigint;
  -- One clock for both: a delay is counted from what is written as the publish.
  now    timestamptz := clock_timestamp();
  due    timestamptz := CASE WHEN a_delay > interval '0' THEN now + a_delay END;
BEGIN
  IF octet_length(a_kind) NOT BETWEEN 1 AND 128 THEN
    RAISE EXCEPTION 'kind must have 1 to 128 bytes, it has %', octet_length(a_kind) USING ERRCODE = '54000'; END IF;
  IF NOT a_head THEN
    INSERT INTO {schema}.pgflow_parked (reason, queue_id, lane_id, run_at, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
      VALUES ('key', a_queue_id, a_lane_id, due, a_version, a_codec, a_message_id, now, a_kind, a_body, a_headers, a_ordering_key, a_source, a_broadcast_id)
      RETURNING id INTO new_id;
  ELSIF due IS NOT NULL THEN
    INSERT INTO {schema}.pgflow_scheduled (run_at, lane_id, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
      VALUES (due, a_lane_id, a_version, a_codec, a_message_id, now, a_kind, a_body, a_headers, a_ordering_key, a_source, a_broadcast_id)
      RETURNING id INTO new_id;
  ELSE
    INSERT INTO {schema}.pgflow_ready (lane_id, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id)
      VALUES (a_lane_id, a_version, a_codec, a_message_id, a_kind, a_body, a_headers, a_ordering_key, a_source, a_broadcast_id)
      RETURNING seq INTO new_id;
  END IF;
  IF a_dedup_key IS NOT NULL THEN
    UPDATE {schema}.pgflow_dedup SET id = new_id WHERE queue_id = a_queue_id AND dedup_key = a_dedup_key;
  END IF;
  RETURN new_id;
END $$;

-- Publishes a message that needs more than the plain INSERT into ready: a key, a delay, a dedup key.
-- Order matters: the dedup row, then the key row are locked before the id is drawn, so ids of one key follow commit order.
-- A repeated dedup key answers the first message's ids. (`xmax = 0`: this INSERT made the row, it did not find it.)
CREATE FUNCTION {schema}.pgflow_put(
  a_queue_id int, a_lane_id int, a_message_id uuid, a_kind text, a_version int, a_codec smallint, a_body bytea,
  a_headers jsonb, a_ordering_key text, a_dedup_key text, a_delay interval, a_source text, a_fence int DEFAULT NULL,
  OUT put_id bigint, OUT put_message_id uuid)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  first boolean;
  head  boolean := true;
BEGIN
  IF octet_length(a_ordering_key) NOT BETWEEN 1 AND 512 THEN
    RAISE EXCEPTION 'ordering key must have 1 to 512 bytes, it has %', octet_length(a_ordering_key) USING ERRCODE = '54000'; END IF;
  IF octet_length(a_dedup_key) NOT BETWEEN 1 AND 512 THEN
    RAISE EXCEPTION 'dedup key must have 1 to 512 bytes, it has %', octet_length(a_dedup_key) USING ERRCODE = '54000'; END IF;
  IF a_dedup_key IS NOT NULL THEN
    INSERT INTO {schema}.pgflow_dedup AS d (queue_id, dedup_key, message_id) VALUES (a_queue_id, a_dedup_key, a_message_id)
      ON CONFLICT (queue_id, dedup_key) DO UPDATE SET dedup_key = excluded.dedup_key
      RETURNING d.xmax = 0, d.id, d.message_id INTO first, put_id, put_message_id;
    IF NOT first THEN RETURN; END IF;
  END IF;
  IF a_ordering_key IS NOT NULL THEN
    INSERT INTO {schema}.pgflow_keys AS k (queue_id, ordering_key) VALUES (a_queue_id, a_ordering_key)
      ON CONFLICT (queue_id, ordering_key) DO UPDATE SET ordering_key = excluded.ordering_key
      RETURNING k.xmax = 0 INTO head;
  END IF;
  put_message_id := a_message_id;
  put_id := {schema}.pgflow_place(head, a_delay, a_queue_id, a_lane_id,
    a_message_id, a_kind, a_version, a_codec, a_body, a_headers, a_ordering_key, a_dedup_key, a_source, NULL);
  -- Last, with the locks of what was written held: whoever raises the fence waits for those that hold them.
  IF a_fence IS NOT NULL AND NOT EXISTS (SELECT FROM {schema}.pgflow_lanes WHERE lane_id = a_lane_id AND fence = a_fence) THEN
    RAISE EXCEPTION 'the fence of lane % was raised', a_lane_id USING ERRCODE = 'PGF01'; END IF;
END $$;

-- Holds the dedup keys of many messages, in one order; answers per message whether it is no repeat (also: it has no key).
-- Whoever publishes more than one message holds all dedup keys first, then all ordering keys, each kind in one order (that of
-- pgflow_release_keys): batches, broadcasts, single puts and settles cannot deadlock with one another.
CREATE FUNCTION {schema}.pgflow_hold_dedup(a_queue_ids int[], a_keys text[], a_message_ids uuid[]) RETURNS boolean[]
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH asked AS MATERIALIZED (
    SELECT t.q, t.key, min(t.n) AS n FROM unnest(a_queue_ids, a_keys) WITH ORDINALITY AS t(q, key, n) WHERE t.key IS NOT NULL GROUP BY 1, 2),
  held AS (
    INSERT INTO {schema}.pgflow_dedup AS d (queue_id, dedup_key, message_id) SELECT q, key, a_message_ids[n] FROM asked ORDER BY q, key
    ON CONFLICT (queue_id, dedup_key) DO UPDATE SET dedup_key = excluded.dedup_key RETURNING d.queue_id, d.dedup_key, d.xmax = 0 AS made)
  SELECT array_agg(t.key IS NULL OR coalesce(h.made, false) ORDER BY t.n)
  FROM unnest(a_queue_ids, a_keys) WITH ORDINALITY AS t(q, key, n)
  LEFT JOIN asked a ON a.q = t.q AND a.key = t.key AND a.n = t.n LEFT JOIN held h ON h.queue_id = a.q AND h.dedup_key = a.key
$$;

-- Then holds the ordering keys of those that are no repeats; answers per message whether nothing unfinished of its key is before it.
CREATE FUNCTION {schema}.pgflow_hold_keys(a_queue_ids int[], a_keys text[], a_firsts boolean[]) RETURNS boolean[]
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH asked AS MATERIALIZED (
    SELECT t.q, t.key, min(t.n) AS n FROM unnest(a_queue_ids, a_keys, a_firsts) WITH ORDINALITY AS t(q, key, first, n)
    WHERE t.key IS NOT NULL AND t.first GROUP BY 1, 2),
  held AS (
    INSERT INTO {schema}.pgflow_keys AS k (queue_id, ordering_key) SELECT q, key FROM asked ORDER BY q, key
    ON CONFLICT (queue_id, ordering_key) DO UPDATE SET ordering_key = excluded.ordering_key RETURNING k.queue_id, k.ordering_key, k.xmax = 0 AS made)
  SELECT array_agg(t.key IS NULL OR coalesce(h.made, false) ORDER BY t.n)
  FROM unnest(a_queue_ids, a_keys) WITH ORDINALITY AS t(q, key, n)
  LEFT JOIN asked a ON a.q = t.q AND a.key = t.key AND a.n = t.n LEFT JOIN held h ON h.queue_id = a.q AND h.ordering_key = a.key
$$;

-- Publishes a whole batch, in the order given.
CREATE FUNCTION {schema}.pgflow_put_many(
  a_queue_ids int[], a_lane_ids int[], a_message_ids uuid[], a_kinds text[], a_versions int[], a_codecs smallint[], a_bodies bytea[],
  a_headers jsonb[], a_ordering_keys text[], a_dedup_keys text[], a_delays_ms bigint[], a_source text)
RETURNS TABLE (put_id bigint, put_message_id uuid) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  firsts boolean[];
  heads  boolean[];
  m      record;
BEGIN
  IF EXISTS (SELECT 1 FROM {schema}.pgflow_lanes WHERE lane_id = ANY (a_lane_ids) AND NOT open) THEN
    RAISE EXCEPTION 'unknown queue: a queue of this batch was deleted' USING ERRCODE = '42704'; END IF;
  firsts := {schema}.pgflow_hold_dedup(a_queue_ids, a_dedup_keys, a_message_ids);
  heads := {schema}.pgflow_hold_keys(a_queue_ids, a_ordering_keys, firsts);
  FOR m IN SELECT * FROM unnest(a_queue_ids, a_lane_ids, a_message_ids, a_kinds, a_versions, a_codecs, a_bodies, a_headers, a_ordering_keys, a_dedup_keys, a_delays_ms, firsts, heads)
      WITH ORDINALITY AS t(queue_id, lane_id, message_id, kind, version, codec, body, headers, ordering_key, dedup_key, delay_ms, first, head, n) ORDER BY n LOOP
    IF m.first THEN
      put_message_id := m.message_id;
      put_id := {schema}.pgflow_place(m.head, m.delay_ms * interval '1 millisecond',
        m.queue_id, m.lane_id, m.message_id, m.kind, m.version, m.codec, m.body, m.headers, m.ordering_key, m.dedup_key, a_source, NULL);
    ELSE
      SELECT d.id, d.message_id INTO put_id, put_message_id FROM {schema}.pgflow_dedup d WHERE d.queue_id = m.queue_id AND d.dedup_key = m.dedup_key;
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;

-- Publishes one copy to each of these instances. A key holds for each addressee alone (`key@instance`), so that one that is gone
-- holds nobody up. Lanes that are not there are made in the order of the names: see pgflow_hold_dedup.
CREATE FUNCTION {schema}.pgflow_broadcast(
  a_queue_id int, a_class smallint, a_names text[], a_kind text, a_version int, a_codec smallint, a_body bytea, a_headers jsonb,
  a_ordering_key text, a_dedup_key text, a_delay interval, a_source text, a_broadcast_id uuid)
RETURNS TABLE (put_id bigint, put_message_id uuid, put_lane_id int) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  names   text[] := ARRAY(SELECT DISTINCT name FROM unnest(a_names) AS name ORDER BY name);
  queues  int[]  := array_fill(a_queue_id, ARRAY[cardinality(names)]);
  ids     uuid[] := ARRAY(SELECT gen_random_uuid() FROM unnest(names));
  dedups  text[] := ARRAY(SELECT a_dedup_key || '@' || name FROM unnest(names) AS name);
  keys    text[] := ARRAY(SELECT a_ordering_key || '@' || name FROM unnest(names) AS name);
  lanes   int[];
  firsts  boolean[];
  heads   boolean[];
BEGIN
  lanes  := ARRAY(SELECT {schema}.pgflow_lane(a_queue_id, a_class, name) FROM unnest(names) AS name);
  firsts := {schema}.pgflow_hold_dedup(queues, dedups, ids);
  heads  := {schema}.pgflow_hold_keys(queues, keys, firsts);
  FOR i IN 1..cardinality(names) LOOP
    put_lane_id := lanes[i];
    IF firsts[i] THEN
      put_message_id := ids[i];
      put_id := {schema}.pgflow_place(heads[i], a_delay, a_queue_id, lanes[i],
        ids[i], a_kind, a_version, a_codec, a_body, a_headers, keys[i], dedups[i], a_source, a_broadcast_id);
    ELSE
      SELECT d.id, d.message_id INTO put_id, put_message_id FROM {schema}.pgflow_dedup d WHERE d.queue_id = a_queue_id AND d.dedup_key = dedups[i];
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;

-- Frees keys whose head was settled: the next parked message of each becomes ready (or scheduled), else the key row goes.
-- The key row is locked first and the successor looked up in a later statement, whose snapshot holds every publisher
-- that had parked a message before it let go of the row. Keys are taken in one order: two batches cannot deadlock.
CREATE FUNCTION {schema}.pgflow_release_keys(a_queue_ids int[], a_keys text[]) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  k      record;
  freed  int := 0;
  next_m {schema}.pgflow_parked;
BEGIN
  FOR k IN SELECT DISTINCT t.q, t.key FROM unnest(a_queue_ids, a_keys) AS t(q, key) ORDER BY 1, 2 LOOP
    PERFORM 1 FROM {schema}.pgflow_keys WHERE queue_id = k.q AND ordering_key = k.key FOR UPDATE;
    next_m := NULL;
    -- Again while rows are there: the one picked may have been cancelled meanwhile, and its successors must not be forgotten.
    LOOP
      DELETE FROM {schema}.pgflow_parked WHERE id = (
        SELECT id FROM {schema}.pgflow_parked WHERE reason = 'key' AND queue_id = k.q AND ordering_key = k.key ORDER BY id LIMIT 1)
        RETURNING * INTO next_m;
      EXIT WHEN FOUND OR NOT EXISTS (SELECT 1 FROM {schema}.pgflow_parked WHERE reason = 'key' AND queue_id = k.q AND ordering_key = k.key);
    END LOOP;
    IF next_m.id IS NULL THEN
      DELETE FROM {schema}.pgflow_keys WHERE queue_id = k.q AND ordering_key = k.key;
    ELSIF next_m.run_at > clock_timestamp() THEN
      INSERT INTO {schema}.pgflow_scheduled (id, run_at, lane_id, attempt, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
        VALUES (next_m.id, next_m.run_at, next_m.lane_id, next_m.attempt, next_m.version, next_m.codec, next_m.message_id, next_m.created_at, next_m.kind, next_m.body, next_m.headers, next_m.ordering_key, next_m.source, next_m.broadcast_id);
      freed := freed + 1;
    ELSE
      INSERT INTO {schema}.pgflow_ready (lane_id, id, attempt, version, codec, message_id, created_at, kind, body, headers, ordering_key, source, broadcast_id)
        VALUES (next_m.lane_id, next_m.id, next_m.attempt, next_m.version, next_m.codec, next_m.message_id, next_m.created_at, next_m.kind, next_m.body, next_m.headers, next_m.ordering_key, next_m.source, next_m.broadcast_id);
      freed := freed + 1;
    END IF;
  END LOOP;
  RETURN freed;
END $$;

-- Publishes from any language. The kind defaults to the payload's "type", else to the queue's name.
CREATE FUNCTION {schema}.pgflow_publish(
  queue text, payload jsonb, kind text DEFAULT NULL, priority int DEFAULT 0, ordering_key text DEFAULT NULL,
  dedup_key text DEFAULT NULL, delay interval DEFAULT NULL, target text DEFAULT NULL, headers jsonb DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  q    {schema}.pgflow_queues;
  raw  bytea := convert_to(payload::text, 'UTF8');
BEGIN
  SELECT * INTO q FROM {schema}.pgflow_queues WHERE name = queue AND deleted_at IS NULL;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'unknown queue "%"', queue USING ERRCODE = '42704', HINT = 'Make it with: pgflow queue create NAME'; END IF;
  IF payload IS NULL THEN
    RAISE EXCEPTION 'the payload is null' USING ERRCODE = '22004'; END IF;
  IF octet_length(raw) > q.payload_bytes_max THEN
    RAISE EXCEPTION 'payload has % bytes, queue "%" takes at most %', octet_length(raw), queue, q.payload_bytes_max USING ERRCODE = '54000'; END IF;
  IF priority IS NULL OR priority NOT IN (10, 0, -10) THEN
    RAISE EXCEPTION 'priority must be 10 (high), 0 (normal) or -10 (low)' USING ERRCODE = '22023'; END IF;
  IF jsonb_typeof(headers) <> 'object' OR octet_length(headers::text) > 65536 THEN
    RAISE EXCEPTION 'headers must be a JSON object of at most 65536 bytes' USING ERRCODE = '22023'; END IF;
  IF delay > interval '3650 days' THEN
    RAISE EXCEPTION 'delay is over 3650 days' USING ERRCODE = '54000'; END IF;
  RETURN put_id FROM {schema}.pgflow_put(q.queue_id, {schema}.pgflow_lane(q.queue_id, priority::smallint, target), gen_random_uuid(),
    coalesce(kind, CASE WHEN jsonb_typeof(payload -> 'type') = 'string' THEN payload ->> 'type' END, queue),
    1, 1::smallint, raw, headers, ordering_key, dedup_key, delay, 'sql');
END $$;

-- A body as the view shows it: null when it is not JSON, or holds what jsonb cannot (a row written past our checks must not
-- break every query of the view).
CREATE FUNCTION {schema}.pgflow_payload(a_codec smallint, a_body bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN CASE WHEN a_codec = 1 THEN convert_from(a_body, 'UTF8')::jsonb END;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END $$;

-- All messages, wherever they are. INSERT publishes; payload is null for a body that is not JSON.
CREATE VIEW {schema}.pgflow_messages AS
WITH m AS (
  SELECT coalesce(id, seq) AS id, 'pending' AS status, lane_id, attempt AS retry_count, attempt, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id, created_at, NULL::timestamptz AS run_at, NULL::timestamptz AS claimed_at, NULL::timestamptz AS finished_at, NULL::int AS session_id, NULL::text AS error FROM {schema}.pgflow_ready
  UNION ALL SELECT id, 'scheduled', lane_id, attempt, attempt, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id, created_at, run_at, NULL, NULL, NULL, last_error FROM {schema}.pgflow_scheduled
  UNION ALL SELECT id, 'parked', lane_id, attempt, attempt, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id, created_at, run_at, NULL, NULL, NULL, reason FROM {schema}.pgflow_parked
  UNION ALL SELECT id, 'processing', lane_id, attempt - 1, attempt, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id, created_at, NULL, claimed_at, NULL, session_id, NULL FROM {schema}.pgflow_active
  UNION ALL SELECT id, status, lane_id, greatest(attempt - 1, 0), attempt, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id, created_at, NULL, claimed_at, finished_at, session_id, error FROM {schema}.pgflow_history
  UNION ALL SELECT id, 'dead', lane_id, greatest(attempt - 1, 0), attempt, version, codec, message_id, kind, body, headers, ordering_key, source, broadcast_id, published_at, NULL, claimed_at, created_at, session_id, error FROM {schema}.pgflow_dlq
)
SELECT m.id, q.name AS queue_name, m.kind, m.status, m.retry_count, l.class::int AS priority,
       {schema}.pgflow_payload(m.codec, m.body) AS payload,
       m.created_at, m.run_at, m.claimed_at, m.finished_at, m.attempt, m.version, m.codec, m.message_id, m.ordering_key,
       l.target, m.source, m.broadcast_id, m.session_id, m.error, m.headers
FROM m
LEFT JOIN {schema}.pgflow_lanes  l USING (lane_id)
LEFT JOIN {schema}.pgflow_queues q USING (queue_id);

CREATE FUNCTION {schema}.pgflow_messages_insert() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.id := {schema}.pgflow_publish(NEW.queue_name, NEW.payload, NEW.kind, coalesce(NEW.priority, 0), NEW.ordering_key, NULL,
                                    NEW.run_at - clock_timestamp(), NEW.target, NEW.headers);
  RETURN NEW;
END $$;
CREATE TRIGGER pgflow_messages_insert INSTEAD OF INSERT ON {schema}.pgflow_messages
  FOR EACH ROW EXECUTE FUNCTION {schema}.pgflow_messages_insert();

-- Makes the day partitions (UTC) from yesterday to a_days ahead; answers how many were new.
CREATE FUNCTION {schema}.pgflow_ensure_partitions(a_days int) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
  d     date;
  base  text;
  made  int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock({space}, 1026);  -- two makers at once would collide on the name
  FOR i IN -1..a_days LOOP
    d := today + i;
    FOREACH base IN ARRAY ARRAY['pgflow_history', 'pgflow_attempts'] LOOP
      CONTINUE WHEN to_regclass(format('{schema}.%I', base || to_char(d, '_YYYYMMDD'))) IS NOT NULL;
      -- Attached, not made in place: that takes a weaker lock on the parent, and a long reader stalls no settle.
      EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', base || to_char(d, '_YYYYMMDD'), base);
      EXECUTE format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%I FOR VALUES FROM (%L) TO (%L)',
        base, base || to_char(d, '_YYYYMMDD'), d::timestamp AT TIME ZONE 'UTC', (d + 1)::timestamp AT TIME ZONE 'UTC');
      made := made + 1;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;
SELECT {schema}.pgflow_ensure_partitions(7);

-- Drops the day partitions that ended more than so many days ago; answers how many.
CREATE FUNCTION {schema}.pgflow_drop_partitions(a_history_days int, a_attempts_days int) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  today   date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
  p       record;
  dropped int := 0;
BEGIN
  PERFORM set_config('lock_timeout', '100ms', true);  -- a drop waits behind readers, and settles would wait behind the drop
  FOR p IN SELECT c.relname, parent.relname AS base FROM pg_inherits i
             JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class parent ON parent.oid = i.inhparent
            WHERE i.inhparent IN ('{schema}.pgflow_history'::regclass, '{schema}.pgflow_attempts'::regclass) LOOP
    IF to_date(right(p.relname, 8), 'YYYYMMDD') < today - (CASE p.base WHEN 'pgflow_history' THEN a_history_days ELSE a_attempts_days END) THEN
      EXECUTE format('DROP TABLE {schema}.%I', p.relname);
      dropped := dropped + 1;
    END IF;
  END LOOP;
  RETURN dropped;
END $$;

-- Gives a queue the settings a runtime or an operator states (null: keep).
CREATE FUNCTION {schema}.pgflow_apply_queue(a_queue_id int, a_max_retries int, a_retry_delay_ms int, a_retry_delay_ms_max int, a_payload_bytes_max int)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE {schema}.pgflow_queues SET
    max_retries        = coalesce(a_max_retries, max_retries),
    retry_delay_ms     = coalesce(a_retry_delay_ms, retry_delay_ms),
    retry_delay_ms_max = coalesce(a_retry_delay_ms_max, retry_delay_ms_max),
    payload_bytes_max  = coalesce(a_payload_bytes_max, payload_bytes_max)
  WHERE queue_id = a_queue_id AND (max_retries, retry_delay_ms, retry_delay_ms_max, payload_bytes_max) IS DISTINCT FROM
    (coalesce(a_max_retries, max_retries), coalesce(a_retry_delay_ms, retry_delay_ms),
     coalesce(a_retry_delay_ms_max, retry_delay_ms_max), coalesce(a_payload_bytes_max, payload_bytes_max));
END $$;
