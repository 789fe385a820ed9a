-- One row per session, day and branch: what every question about visits and visitors is answered from. Kept by
-- garun.rollup in the transaction that replaces the day; `garun rebuild` makes it anew. A session is the pair
-- (user_pseudo_id, ga_session_id); events that lack one of them are in no row here. Migration 0002 adds columns.

CREATE TABLE IF NOT EXISTS garun.session_days (
    tenant_id        UUID NOT NULL,
    visitor_a        BIGINT GENERATED ALWAYS AS
        (hashtextextended(CASE WHEN webuserid IS NULL THEN 'p' || user_pseudo_id ELSE 'w' || webuserid END, 0)) STORED,
    visitor_b        BIGINT GENERATED ALWAYS AS
        (hashtextextended(CASE WHEN webuserid IS NULL THEN 'p' || user_pseudo_id ELSE 'w' || webuserid END, 1)) STORED,
    event_date       DATE NOT NULL,
    page_views       INTEGER NOT NULL,
    hours            INTEGER NOT NULL,
    events           INTEGER NOT NULL,
    pages            SMALLINT NOT NULL,
    alone            BOOLEAN NOT NULL,
    branch_id        VARCHAR(100) COLLATE "C",
    last_at          BIGINT,
    page_view_at     BIGINT,
    webuserid_at     BIGINT,
    user_pseudo_id   VARCHAR(255) COLLATE "C" NOT NULL,
    ga_session_id    VARCHAR(100) COLLATE "C" NOT NULL,
    webuserid        VARCHAR(100) COLLATE "C",
    own_webuserid    VARCHAR(100) COLLATE "C",
    page             TEXT COLLATE "C"
);

-- Whole days for all branches, and one branch's day.
CREATE INDEX IF NOT EXISTS idx_session_days_date ON garun.session_days(tenant_id, event_date, branch_id);
-- The few sessions of several rows, which must not be counted twice.
CREATE INDEX IF NOT EXISTS idx_session_days_shared_branch ON garun.session_days(tenant_id, event_date, branch_id)
    WHERE NOT alone;
-- A session's other rows. The hash is a third of the work of the texts for a load; who asks compares the texts too.
CREATE INDEX IF NOT EXISTS idx_session_days_session
    ON garun.session_days(hashtextextended(ga_session_id || user_pseudo_id, 0));
-- A visitor's sessions, of a day or of all.
CREATE INDEX IF NOT EXISTS idx_session_days_visitor_day ON garun.session_days(visitor_a, event_date);

COMMENT ON TABLE garun.session_days IS
    'Sessions per day and branch, derived from the event tables: kept by loads and triggers, rebuilt by garun rebuild.';
COMMENT ON COLUMN garun.session_days.visitor_a IS
    'With visitor_b 128 bits of hash of the user of the session (webuserid, else pseudo id): what visitors are grouped by';
COMMENT ON COLUMN garun.session_days.last_at IS 'Last event of the row, microseconds since 1970 UTC';
COMMENT ON COLUMN garun.session_days.page_view_at IS 'Last page view of the row';
COMMENT ON COLUMN garun.session_days.pages IS
    'Distinct pages viewed (URLs without query and fragment): 0, 1, or 2 for more';
COMMENT ON COLUMN garun.session_days.events IS 'Events in all six tables';
COMMENT ON COLUMN garun.session_days.hours IS
    'Bit h is set when there is a page view in hour h (0-23) of event_date in the tenant''s time zone';
COMMENT ON COLUMN garun.session_days.alone IS
    'The session has no other row: no other day, no other branch. Counting rows then counts sessions';
COMMENT ON COLUMN garun.session_days.webuserid IS
    'User of the whole session: its last non-null webuserid on any day at any branch; null: anonymous';
COMMENT ON COLUMN garun.session_days.own_webuserid IS 'The last non-null webuserid of this row, at webuserid_at';
COMMENT ON COLUMN garun.session_days.page IS
    'The page viewed when it is the only one, else null';
