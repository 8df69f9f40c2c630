-- What a report leaves at change $1: $2 breaches in a row, $3 when it was reported, $4 when the window ends (set by the first),
-- $5 whether it was clean.
UPDATE evolution_approved_changes SET breach_counts = $2, first_report_at = coalesce(first_report_at, $3),
       last_report_at = greatest(last_report_at, $3), window_ends_at = coalesce(window_ends_at, $4), last_report_clean = $5
WHERE proposal_id = $1
