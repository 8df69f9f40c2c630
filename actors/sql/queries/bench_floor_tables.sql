-- Copies of the two tables that no submission gets around, without triggers, for a bare client.
CREATE TABLE bench_floor_proposals (LIKE evolution_proposals INCLUDING ALL);
CREATE TABLE bench_floor_ready (LIKE pgflow_ready INCLUDING ALL)
