-- The gate as it stands. No row: it never moved.
SELECT gate FROM evolution_gate
