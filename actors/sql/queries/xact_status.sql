-- How transaction $1 stands: in progress, committed, aborted; null: it ended so long ago that nobody knows how.
SELECT pg_xact_status($1::text::xid8)
