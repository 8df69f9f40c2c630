-- The learned plan for change type $1. Index: the primary key.
SELECT strategy FROM evolution_strategies WHERE change_type = $1 FOR UPDATE
