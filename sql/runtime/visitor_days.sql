-- One row per visitor, day and branch with a page view: whom a range counts as users, and who came twice. Kept like
-- garun.session_days, from whose rows it is made.
--
-- A visitor of many days counts once in a range, so each of the visitor's days knows the one before (day_before): it is the
-- first of the range [S, ...] when day_before < S. And it knows from which day on the visitor has had two visits by now
-- (twice_since): in a range up to this day, twice_since >= S says who has. Both, and twice_since of the day before, are
-- known from the day before alone. What is said of all branches stands in one of the day's rows, the one that leads.

CREATE TABLE IF NOT EXISTS garun.visitor_days (
    tenant_id            UUID NOT NULL,
    visitor_a            BIGINT NOT NULL,
    visitor_b            BIGINT NOT NULL,
    last_at              BIGINT,
    session              BIGINT,
    here_session         BIGINT,
    event_date           DATE NOT NULL,
    day_before           DATE,
    twice_since          DATE,
    was_twice_since      DATE,
    here_day_before      DATE,
    here_twice_since     DATE,
    here_was_twice_since DATE,
    visits               INTEGER NOT NULL,
    page_views           INTEGER NOT NULL,
    leads                BOOLEAN NOT NULL,
    branch_id            VARCHAR(100) COLLATE "C"
);

CREATE INDEX IF NOT EXISTS idx_visitor_days_date ON garun.visitor_days(tenant_id, event_date, branch_id);
-- The visitor's day before, and those after.
CREATE INDEX IF NOT EXISTS idx_visitor_days_visitor ON garun.visitor_days(visitor_a, event_date);

COMMENT ON TABLE garun.visitor_days IS
    'Visitors per day and branch, derived from garun.session_days: kept by loads and triggers.';
COMMENT ON COLUMN garun.visitor_days.visitor_a IS 'As in garun.session_days';
COMMENT ON COLUMN garun.visitor_days.last_at IS 'Last event of these sessions, microseconds since 1970 UTC';
COMMENT ON COLUMN garun.visitor_days.session IS
    'Hash of the visitor''s session of this day when it is a single one, at whatever branches, else null';
COMMENT ON COLUMN garun.visitor_days.here_session IS 'The same at this branch';
COMMENT ON COLUMN garun.visitor_days.day_before IS
    'The visitor''s last day with a page view before this one; null, as twice_since and was_twice_since, where not leads';
COMMENT ON COLUMN garun.visitor_days.twice_since IS
    'The latest day from which on, up to and with this one, the visitor has page views in two sessions; null: none';
COMMENT ON COLUMN garun.visitor_days.was_twice_since IS 'twice_since of day_before';
COMMENT ON COLUMN garun.visitor_days.here_day_before IS 'As day_before, at this branch';
COMMENT ON COLUMN garun.visitor_days.here_twice_since IS 'As twice_since, at this branch';
COMMENT ON COLUMN garun.visitor_days.here_was_twice_since IS 'As was_twice_since, at this branch';
COMMENT ON COLUMN garun.visitor_days.visits IS 'Sessions of the visitor with a page view on this day at this branch';
COMMENT ON COLUMN garun.visitor_days.leads IS 'The one of the visitor''s rows of the day that speaks for all branches';
