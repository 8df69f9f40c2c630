-- The tables. A message is one row in exactly one of ready, scheduled, parked, active, history, dlq.
-- {schema} and {space} are filled in by the migration runner (src/migrate.rs).

CREATE TABLE {schema}.pgflow_meta (
  one_row    boolean PRIMARY KEY DEFAULT true CONSTRAINT pgflow_meta_one_row CHECK (one_row),
  space      int  NOT NULL CONSTRAINT pgflow_meta_space CHECK (space > 0),  -- first key of our advisory locks
  mode       text NOT NULL DEFAULT 'eventcount' CONSTRAINT pgflow_meta_mode CHECK (mode IN ('eventcount', 'notify', 'poll')),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO {schema}.pgflow_meta (space) VALUES ({space});

CREATE TABLE {schema}.pgflow_queues (
  queue_id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name               text NOT NULL CONSTRAINT pgflow_queues_name_once UNIQUE
                     CONSTRAINT pgflow_queues_name CHECK (name ~ '^[a-z0-9_.:-]{1,63}$'),
  paused             boolean NOT NULL DEFAULT false,
  max_retries        int NOT NULL DEFAULT 3     CONSTRAINT pgflow_queues_max_retries CHECK (max_retries BETWEEN 0 AND 1000),
  retry_delay_ms     int NOT NULL DEFAULT 1000  CONSTRAINT pgflow_queues_retry_delay CHECK (retry_delay_ms BETWEEN 0 AND 86400000),
  retry_delay_ms_max int NOT NULL DEFAULT 60000 CONSTRAINT pgflow_queues_retry_delay_max CHECK (retry_delay_ms_max BETWEEN 0 AND 604800000),
  payload_bytes_max  int NOT NULL DEFAULT 1048576 CONSTRAINT pgflow_queues_payload CHECK (payload_bytes_max BETWEEN 1 AND 268435456),
  created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  deleted_at         timestamptz CONSTRAINT pgflow_queues_deleted_is_paused CHECK (deleted_at IS NULL OR paused)
);

-- A lane is what a claim scans: one queue, one class (10 high, 0 normal, -10 low), everyone or one addressee.
-- Neither a queue nor a lane is ever deleted: a lane id means one (queue, class, target) for ever, so that a publisher may
-- keep it, and so that history keeps its queue. Deleting a queue marks it and closes its lanes; making it again opens them.
CREATE TABLE {schema}.pgflow_lanes (
  lane_id  int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  queue_id int NOT NULL REFERENCES {schema}.pgflow_queues,
  class    smallint NOT NULL CONSTRAINT pgflow_lanes_class CHECK (class IN (10, 0, -10)),
  target   text CONSTRAINT pgflow_lanes_target CHECK (octet_length(target) BETWEEN 1 AND 128),
  open     boolean NOT NULL DEFAULT true,      -- asked by every publish; false: the queue is deleted
  fence    int NOT NULL DEFAULT 0,             -- asked by every publish; raised: what was sent before it and has not begun writes nothing
  CONSTRAINT pgflow_lanes_once UNIQUE NULLS NOT DISTINCT (queue_id, class, target)
);
CREATE INDEX pgflow_lanes_target ON {schema}.pgflow_lanes (target) WHERE target IS NOT NULL;

CREATE SEQUENCE {schema}.pgflow_seq AS bigint CACHE 1;  -- place in a lane; the first one is the message's id

-- Claimable rows only: insert and delete, never update. `attempt` counts the tries made so far.
CREATE TABLE {schema}.pgflow_ready (
  lane_id      int    NOT NULL,
  seq          bigint NOT NULL DEFAULT nextval('{schema}.pgflow_seq'),  -- drawn inside the INSERT, after its table lock
  id           bigint,                                                  -- null: the message's id is this seq (its first place)
  attempt      int    NOT NULL DEFAULT 0,
  version      int    NOT NULL DEFAULT 1,
  codec        smallint NOT NULL DEFAULT 1,
  message_id   uuid   NOT NULL DEFAULT gen_random_uuid(),
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  kind         text   NOT NULL CONSTRAINT pgflow_ready_kind CHECK (octet_length(kind) BETWEEN 1 AND 128),
  body         bytea  NOT NULL,
  headers      jsonb,
  ordering_key text   CONSTRAINT pgflow_ready_ordering_key CHECK (octet_length(ordering_key) BETWEEN 1 AND 512),
  source       text,
  broadcast_id uuid,
  PRIMARY KEY (lane_id, seq)
) WITH (fillfactor = 100, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
        autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 5000);

-- Only rows that came back (retried, promoted, freed, handed back) are in it: a first publish does not pay for it.
CREATE INDEX pgflow_ready_id ON {schema}.pgflow_ready (id) WHERE id IS NOT NULL;

-- Waiting for a time: delays, retries, snoozes.
CREATE TABLE {schema}.pgflow_scheduled (
  id           bigint PRIMARY KEY DEFAULT nextval('{schema}.pgflow_seq'),
  run_at       timestamptz NOT NULL,
  lane_id      int NOT NULL,
  attempt      int NOT NULL DEFAULT 0,
  version      int NOT NULL,
  codec        smallint NOT NULL,
  message_id   uuid NOT NULL,
  created_at   timestamptz NOT NULL,
  kind         text NOT NULL,
  body         bytea NOT NULL,
  headers      jsonb,
  ordering_key text,
  source       text,
  broadcast_id uuid,
  last_error   text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX pgflow_scheduled_due ON {schema}.pgflow_scheduled (run_at, id);

-- Waiting for something other than a time: an earlier message of the key, or an instance that can decode it.
CREATE TABLE {schema}.pgflow_parked (
  id           bigint PRIMARY KEY DEFAULT nextval('{schema}.pgflow_seq'),
  reason       text NOT NULL CONSTRAINT pgflow_parked_reason CHECK (reason IN ('key', 'undecodable')),
  parked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  queue_id     int NOT NULL,
  lane_id      int NOT NULL,
  run_at       timestamptz,                    -- a delay asked for at publish, kept while the key is held
  attempt      int NOT NULL DEFAULT 0,
  version      int NOT NULL,
  codec        smallint NOT NULL,
  message_id   uuid NOT NULL,
  created_at   timestamptz NOT NULL,
  kind         text NOT NULL,
  body         bytea NOT NULL,
  headers      jsonb,
  ordering_key text,
  source       text,
  broadcast_id uuid,
  CONSTRAINT pgflow_parked_by_key CHECK (reason <> 'key' OR ordering_key IS NOT NULL)
);
CREATE INDEX pgflow_parked_key ON {schema}.pgflow_parked (queue_id, ordering_key, id) WHERE reason = 'key';
CREATE INDEX pgflow_parked_undecodable ON {schema}.pgflow_parked (id) WHERE reason = 'undecodable';

-- One row while a key has an unfinished message: its head is ready, scheduled, active or undecodable; all others are parked.
CREATE TABLE {schema}.pgflow_keys (
  queue_id     int  NOT NULL,
  ordering_key text NOT NULL,
  PRIMARY KEY (queue_id, ordering_key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- Claimed: owned by one session under one token. `attempt` counts the running try. It is small (but for dead rows that
-- an old transaction keeps), and whole sessions are looked for rarely: an index for that would cost every claim an insertion.
CREATE TABLE {schema}.pgflow_active (
  id           bigint PRIMARY KEY,
  token        bigint NOT NULL,                -- the claim's fence: its random number, mixed with seq
  session_id   int NOT NULL,
  claimed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  lane_id      int NOT NULL,
  seq          bigint NOT NULL,
  attempt      int NOT NULL CONSTRAINT pgflow_active_attempt CHECK (attempt >= 1),
  version      int NOT NULL,
  codec        smallint NOT NULL,
  message_id   uuid NOT NULL,
  created_at   timestamptz NOT NULL,
  kind         text NOT NULL,
  body         bytea NOT NULL,
  headers      jsonb,
  ordering_key text,
  source       text,
  broadcast_id uuid
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- Finished: append only, one partition a day (UTC), dropped by retention. No default partition.
CREATE TABLE {schema}.pgflow_history (
  id           bigint NOT NULL,
  status       text NOT NULL CONSTRAINT pgflow_history_status CHECK (status IN ('done', 'cancelled', 'dead')),
  finished_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  token        bigint,                         -- null: never claimed
  session_id   int,
  claimed_at   timestamptz,
  lane_id      int NOT NULL,
  attempt      int NOT NULL,
  version      int NOT NULL,
  codec        smallint NOT NULL,
  message_id   uuid NOT NULL,
  created_at   timestamptz NOT NULL,
  kind         text NOT NULL,
  body         bytea NOT NULL,
  headers      jsonb,
  ordering_key text,
  source       text,
  broadcast_id uuid,
  error        text
) PARTITION BY RANGE (finished_at);
CREATE INDEX pgflow_history_id ON {schema}.pgflow_history (id);
-- For the last hour's figures and for a search by message id; a block range index costs an append next to nothing.
CREATE INDEX pgflow_history_when ON {schema}.pgflow_history USING brin
  (finished_at, message_id uuid_bloom_ops (n_distinct_per_range = 2000)) WITH (pages_per_range = 32, autosummarize = on);

-- The tries that did not finish a message, and what else befell it on the way: the audit trail beside history.
CREATE TABLE {schema}.pgflow_attempts (
  id         bigint NOT NULL,
  at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  event      text NOT NULL CONSTRAINT pgflow_attempts_event CHECK (event IN
             ('failed', 'panicked', 'timed_out', 'process_died', 'snoozed', 'handed_back', 'undecodable', 'readdressed', 'dead', 'retried', 'purged')),
  attempt    int NOT NULL,
  token      bigint,
  session_id int,
  claimed_at timestamptz,
  detail     text
) PARTITION BY RANGE (at);
CREATE INDEX pgflow_attempts_id ON {schema}.pgflow_attempts (id);

-- Dead letters, until retried, purged, or older than retention.
CREATE TABLE {schema}.pgflow_dlq (
  id           bigint PRIMARY KEY,
  queue_name   text NOT NULL,
  error        text NOT NULL,
  error_kind   text NOT NULL,                  -- retries_exhausted, rejected, process_died, unsupported_version, addressee_gone, queue_deleted
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),   -- when it died
  lane_id      int NOT NULL,
  attempt      int NOT NULL,
  token        bigint,
  session_id   int,
  claimed_at   timestamptz,
  published_at timestamptz NOT NULL,
  version      int NOT NULL,
  codec        smallint NOT NULL,
  message_id   uuid NOT NULL,
  kind         text NOT NULL,
  body         bytea NOT NULL,
  headers      jsonb,
  ordering_key text,
  source       text,
  broadcast_id uuid
);
CREATE INDEX pgflow_dlq_created ON {schema}.pgflow_dlq (created_at DESC);

-- What a dedup key stood for: a repeat answers the first one's id.
CREATE TABLE {schema}.pgflow_dedup (
  queue_id   int NOT NULL,
  dedup_key  text NOT NULL CONSTRAINT pgflow_dedup_key CHECK (octet_length(dedup_key) BETWEEN 1 AND 512),
  id         bigint,                           -- null only inside the publishing transaction
  message_id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (queue_id, dedup_key)
);
CREATE INDEX pgflow_dedup_created ON {schema}.pgflow_dedup (created_at);

-- How far each local spool was forwarded, written in the transaction that forwards: its records are taken once.
CREATE TABLE {schema}.pgflow_spools (
  spool_id     uuid PRIMARY KEY,
  forwarded    bigint NOT NULL CONSTRAINT pgflow_spools_forwarded CHECK (forwarded >= 0),
  forwarded_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- One row per start of a runtime. Live: ended_at is null and its liveness lock is held.
CREATE TABLE {schema}.pgflow_instances (
  session_id   int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  name         text NOT NULL CONSTRAINT pgflow_instances_name CHECK (octet_length(name) BETWEEN 1 AND 128),
  listener_pid int,
  heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at     timestamptz,
  died         boolean NOT NULL DEFAULT false, -- ended by others, after its liveness lock was free or its lease over
  decodes      jsonb NOT NULL DEFAULT '{}',    -- {"queue": {"kind": newest version}}; kind "*" takes any
  tree         jsonb,                          -- the supervision tree as last reported
  host         text,
  pid          int
) WITH (fillfactor = 50);
CREATE INDEX pgflow_instances_died ON {schema}.pgflow_instances (ended_at) WHERE died;
CREATE INDEX pgflow_instances_live ON {schema}.pgflow_instances (session_id) WHERE ended_at IS NULL;
