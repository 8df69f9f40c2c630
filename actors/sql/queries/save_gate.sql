-- Saves the gate.
INSERT INTO evolution_gate (gate) VALUES ($1) ON CONFLICT (one) DO UPDATE SET gate = excluded.gate
