-- Says that seqs are about to be drawn for ready, before any is: the low-water rule looks at who holds this lock.
-- (An INSERT that draws its own seq takes the same lock first; a COPY that brings its seqs along needs this.)
LOCK TABLE {schema}.pgflow_ready IN ROW EXCLUSIVE MODE
