-- A row of garun.session_days learns when its visitor was here before, so that the users of any range can be counted
-- without grouping them (garun.day_stats). All days are derived anew: init_db does that with days that are not in
-- garun.event_days.

ALTER TABLE garun.session_days
    ADD COLUMN IF NOT EXISTS session_before DATE,
    ADD COLUMN IF NOT EXISTS visit_before DATE,
    ADD COLUMN IF NOT EXISTS visit_before_that DATE,
    ADD COLUMN IF NOT EXISTS here_session_before DATE,
    ADD COLUMN IF NOT EXISTS here_visit_before DATE,
    ADD COLUMN IF NOT EXISTS here_visit_before_that DATE,
-- These columns are no index's, and mostly set right after the row was written: room for that in the row's own page.
    SET (fillfactor = 70);

COMMENT ON COLUMN garun.session_days.session_before IS
    'Day of the session''s row with a page view before this one, in the order event_date, branch_id; null, as all of
these, where this row has no page view';
COMMENT ON COLUMN garun.session_days.visit_before IS
    'Day of the visitor''s last row with a page view before this one that is of another session, in the order event_date,
user_pseudo_id, ga_session_id, branch_id';
COMMENT ON COLUMN garun.session_days.visit_before_that IS 'visit_before of the row that visit_before is of';
COMMENT ON COLUMN garun.session_days.here_session_before IS 'As session_before, among the rows of this branch';
COMMENT ON COLUMN garun.session_days.here_visit_before IS 'As visit_before, among the rows of this branch';
COMMENT ON COLUMN garun.session_days.here_visit_before_that IS 'As visit_before_that, among the rows of this branch';

-- garun.day_stats has the whole day's visits of any range.
ALTER TABLE garun.hour_stats DROP COLUMN IF EXISTS visits_day;

-- idx_session_days_visitor_day serves what this one did.
DROP INDEX IF EXISTS garun.idx_session_days_visitor;

-- garun.settle_shared does what this one did.
DROP FUNCTION IF EXISTS garun.settle_sessions(UUID, DATE, TEXT[], TEXT[]);

DELETE FROM garun.event_days;
