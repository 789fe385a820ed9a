-- One row per day and branch: what a range's visits, users and searches are added up from. Kept like garun.session_days.
--
-- Visits and visitors that a range [S, ...] has counted on an earlier day must not count again. gaps holds how many days before
-- this one such earlier days are, ascending and each once; the arrays beside it hold how much is to be taken off
-- (gap_visits, gap_users) or added (gap_repeats) when the range reaches back so far. So with
-- w = width_bucket(event_date - S, gaps):
--     visits  = visits - coalesce(gap_visits[w], 0)     a session with rows on several days or branches is one visit
--     users   = users - coalesce(gap_users[w], 0)
--     repeats = coalesce(gap_repeats[w], 0)             users with two or more visits
-- and these add up over the days and branches of the range. here_gaps and its arrays say the same of this branch alone.

CREATE TABLE IF NOT EXISTS garun.day_stats (
    tenant_id        UUID NOT NULL,
    event_date       DATE NOT NULL,
    branch_id        VARCHAR(100) COLLATE "C",
    searches         INTEGER NOT NULL,
    failed_searches  INTEGER NOT NULL,
    visits           INTEGER NOT NULL DEFAULT 0,
    users            INTEGER NOT NULL DEFAULT 0,
    here_users       INTEGER NOT NULL DEFAULT 0,
    gaps             INTEGER[] NOT NULL DEFAULT '{}',
    gap_visits       INTEGER[] NOT NULL DEFAULT '{}',
    gap_users        INTEGER[] NOT NULL DEFAULT '{}',
    gap_repeats      INTEGER[] NOT NULL DEFAULT '{}',
    here_gaps        INTEGER[] NOT NULL DEFAULT '{}',
    here_gap_visits  INTEGER[] NOT NULL DEFAULT '{}',
    here_gap_users   INTEGER[] NOT NULL DEFAULT '{}',
    here_gap_repeats INTEGER[] NOT NULL DEFAULT '{}'
);

CREATE INDEX IF NOT EXISTS idx_day_stats_date ON garun.day_stats(tenant_id, event_date, branch_id);

COMMENT ON TABLE garun.day_stats IS
    'Visits, users and searches per day and branch, derived from the event tables: kept by loads and triggers.';
COMMENT ON COLUMN garun.day_stats.searches IS 'Searches, failed ones included, in a session or not';
COMMENT ON COLUMN garun.day_stats.visits IS 'Sessions with a page view on this day at this branch';
COMMENT ON COLUMN garun.day_stats.users IS
    'Users with a page view on this day whose garun.visitor_days that leads is at this branch: of all branches together, all';
COMMENT ON COLUMN garun.day_stats.here_users IS 'Users with a page view on this day at this branch';
COMMENT ON COLUMN garun.day_stats.gaps IS
    'Days from earlier visits of the same visitors to this day, ascending: the thresholds of the arrays gap_*';
COMMENT ON COLUMN garun.day_stats.gap_visits IS
    'Visits that a range reaching back gaps[i] days has counted already: of sessions with an earlier row';
COMMENT ON COLUMN garun.day_stats.gap_users IS 'Users that such a range has counted already';
COMMENT ON COLUMN garun.day_stats.gap_repeats IS 'Users who have come twice in such a range, and had not before this day';
COMMENT ON COLUMN garun.day_stats.here_gaps IS 'As gaps, of earlier visits at the same branch';
COMMENT ON COLUMN garun.day_stats.here_gap_visits IS 'As gap_visits, for this branch alone';
COMMENT ON COLUMN garun.day_stats.here_gap_users IS 'As gap_users, for this branch alone';
COMMENT ON COLUMN garun.day_stats.here_gap_repeats IS 'As gap_repeats, for this branch alone';
