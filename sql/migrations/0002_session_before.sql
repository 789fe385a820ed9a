-- Users of any range are added up from garun.day_stats, and so are visits: a session's row learns of the one before it. All
-- days are derived anew: init_db does that with days that are not in garun.event_days.

ALTER TABLE garun.session_days
    ADD COLUMN IF NOT EXISTS session_before DATE,
    ADD COLUMN IF NOT EXISTS here_session_before DATE;

COMMENT ON COLUMN garun.session_days.session_before IS
    'Day of the session''s row with a page view before this one, in the order event_date, branch_id; null where this row has
no page view';
COMMENT ON COLUMN garun.session_days.here_session_before IS 'The same among the session''s rows of this branch';

-- garun.day_stats has the visits of whole days.
ALTER TABLE garun.hour_stats DROP COLUMN IF EXISTS visits_day;

-- Each has a successor: idx_session_days_visitor_day, idx_session_days_shared_branch, garun.settle_shared.
DROP INDEX IF EXISTS garun.idx_session_days_visitor;
DROP INDEX IF EXISTS garun.idx_session_days_shared;
DROP FUNCTION IF EXISTS garun.settle_sessions(UUID, DATE, TEXT[], TEXT[]);

DELETE FROM garun.event_days;
