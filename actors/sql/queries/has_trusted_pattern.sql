-- Is a pattern of type $1 trusted?
SELECT EXISTS (SELECT FROM evolution_patterns WHERE pattern_type = $1 AND trusted)
