-- How many of the proposals $1 Guardian has a report on. Index: evolution_change_metrics_change.
SELECT count(DISTINCT proposal_id) FROM evolution_change_metrics WHERE proposal_id = ANY ($1)
