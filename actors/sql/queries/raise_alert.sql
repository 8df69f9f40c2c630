-- Raises an alert: $1 kind, $2 proposal, $3 instance, $4 detail.
INSERT INTO evolution_alerts (kind, proposal_id, instance_id, detail) VALUES ($1, $2, $3, $4)
