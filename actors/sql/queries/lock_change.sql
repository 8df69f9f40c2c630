-- Change $1, locked: reports and watches are taken one at a time. Index: the primary key.
SELECT * FROM evolution_approved_changes WHERE proposal_id = $1 FOR UPDATE
