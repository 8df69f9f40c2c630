-- The lane of queue $1, class $2 and addressee $3, made when it is not there. Index: pgflow_lanes_once.
SELECT {schema}.pgflow_lane($1::int, $2::smallint, $3::text)
