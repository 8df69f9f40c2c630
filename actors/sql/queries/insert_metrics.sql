-- Keeps a report. $1 change, $2 instance, $3 status, $4 success, $5 error rate, $6 latency, $7 cost, $8 throughput,
-- $9 and $10 metrics before and after, $11 breaches, $12 when it was reported.
INSERT INTO evolution_change_metrics (proposal_id, instance_id, status, success_rate, error_rate, latency_p95_ms, cost_cents,
                                      throughput_per_min, metrics_before, metrics_after, breaches, reported_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
