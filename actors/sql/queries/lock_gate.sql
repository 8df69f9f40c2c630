-- The gate, locked; $1 is what it begins with, should it never have moved.
INSERT INTO evolution_gate AS g (gate) VALUES ($1) ON CONFLICT (one) DO UPDATE SET gate = g.gate RETURNING gate
