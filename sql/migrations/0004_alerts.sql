-- What somebody must look at, kept until it is over, so that whoever asks sees what another process found. Each row is one
-- source's word on one subject: `pgflow` says what its leader measures, applications what they know.
CREATE TABLE {schema}.pgflow_alerts (
  source    text NOT NULL CONSTRAINT pgflow_alerts_source  CHECK (octet_length(source) BETWEEN 1 AND 128),
  alert     text NOT NULL CONSTRAINT pgflow_alerts_alert   CHECK (octet_length(alert) BETWEEN 1 AND 128),
  subject   text NOT NULL CONSTRAINT pgflow_alerts_subject CHECK (octet_length(subject) <= 512),
  level     text NOT NULL CONSTRAINT pgflow_alerts_level   CHECK (level IN ('warn', 'page')),
  detail    text NOT NULL CONSTRAINT pgflow_alerts_detail  CHECK (octet_length(detail) <= 4096),
  raised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (source, alert, subject)
);

-- What pgflow's tables took on disk, once an hour, for two days: growth is told from it.
CREATE TABLE {schema}.pgflow_sizes (
  at    timestamptz NOT NULL DEFAULT clock_timestamp() PRIMARY KEY,
  bytes bigint NOT NULL
);

-- On disk now, partitions, indexes and toast with them.
CREATE FUNCTION {schema}.pgflow_size() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
  WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'pgflow\_%' $$;
