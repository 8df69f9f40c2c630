-- Keeps what instance $1 measured of agent type $2: $3 metrics, $4 values.
INSERT INTO evolution_readings (instance_id, agent_type, metric, value) SELECT $1, $2, * FROM unnest($3::text[], $4::float8[])
