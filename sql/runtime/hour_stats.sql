-- One row per day, hour and branch: the charts' counts. Kept like garun.session_days.

CREATE TABLE IF NOT EXISTS garun.hour_stats (
    tenant_id        UUID NOT NULL,
    event_date       DATE NOT NULL,
    hour             SMALLINT NOT NULL,
    branch_id        VARCHAR(100) COLLATE "C",
    visits           INTEGER NOT NULL,
    visits_4h        INTEGER NOT NULL,
    visits_12h       INTEGER NOT NULL,
    searches         INTEGER NOT NULL,
    failed_searches  INTEGER NOT NULL
);

CREATE INDEX IF NOT EXISTS idx_hour_stats_date ON garun.hour_stats(tenant_id, event_date, branch_id);

COMMENT ON TABLE garun.hour_stats IS
    'Visits and searches per hour and branch, derived from the event tables: kept by loads and triggers.';
COMMENT ON COLUMN garun.hour_stats.hour IS '0-23 of event_date in the tenant''s time zone';
COMMENT ON COLUMN garun.hour_stats.visits IS 'Sessions with a page view in this hour at this branch';
COMMENT ON COLUMN garun.hour_stats.visits_4h IS
    'Sessions with a page view in the 4 hours from this one on; in hours 0, 4, ... 20, else 0';
COMMENT ON COLUMN garun.hour_stats.visits_12h IS 'The same of 12 hours; in hours 0 and 12';
COMMENT ON COLUMN garun.hour_stats.searches IS 'Searches, failed ones included, in a session or not';
