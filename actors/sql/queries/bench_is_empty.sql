-- Is this a database that a bench may fill?
SELECT NOT EXISTS (SELECT FROM evolution_proposals) AND NOT EXISTS (SELECT FROM evolution_approved_changes)
