-- What the floor was measured in: nobody else uses it.
DROP TABLE IF EXISTS bench_floor_proposals, bench_floor_ready
