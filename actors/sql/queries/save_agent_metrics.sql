-- Saves one metric of a batch: $1 instance, $2 agent type, $3 metric, $4 count, $5 mean, $6 least, $7 most, $8 values, $9 from, $10 until.
INSERT INTO evolution_agent_metrics (instance_id, agent_type, metric, count, avg, min, max, newest, from_at, until_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING
