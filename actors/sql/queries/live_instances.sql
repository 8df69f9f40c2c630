-- How many instances are live: those that take part in votes.
SELECT count(DISTINCT name) FROM pgflow_instances WHERE ended_at IS NULL AND decodes ? 'voting_requests_queue'
