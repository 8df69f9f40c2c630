-- Whether the last report of a change was clean: nothing passed its limit, whoever was held to have done it.
ALTER TABLE evolution_approved_changes ADD COLUMN last_report_clean boolean NOT NULL DEFAULT true;
