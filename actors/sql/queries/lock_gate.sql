-- The gate, locked. No row: it never moved.
SELECT gate FROM evolution_gate FOR UPDATE
