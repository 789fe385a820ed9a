-- One row per session, search term, day and branch. Kept like garun.session_days.

CREATE TABLE IF NOT EXISTS garun.search_days (
    tenant_id        UUID NOT NULL,
    found_at         BIGINT,
    failed_at        BIGINT,
    event_date       DATE NOT NULL,
    found            INTEGER NOT NULL,
    failed           INTEGER NOT NULL,
    session_found    INTEGER NOT NULL,
    alone            BOOLEAN NOT NULL,
    bought           BOOLEAN NOT NULL,
    branch_id        VARCHAR(100) COLLATE "C",
    user_pseudo_id   VARCHAR(255) COLLATE "C",
    ga_session_id    VARCHAR(100) COLLATE "C",
    webuserid        VARCHAR(100) COLLATE "C",
    term             VARCHAR(500) COLLATE "C" NOT NULL
);

CREATE INDEX IF NOT EXISTS idx_search_days_date ON garun.search_days(tenant_id, event_date, branch_id);
-- The few that must be put together before they count: sessions of several rows, searches of no session.
CREATE INDEX IF NOT EXISTS idx_search_days_odd ON garun.search_days(tenant_id, event_date)
    WHERE NOT alone OR user_pseudo_id IS NULL;

COMMENT ON TABLE garun.search_days IS
    'Searches per session, term, day and branch, derived from view_search_results and no_search_results.';
COMMENT ON COLUMN garun.search_days.found_at IS 'Last successful search, microseconds since 1970 UTC';
COMMENT ON COLUMN garun.search_days.failed_at IS 'Last failed search, microseconds since 1970 UTC';
COMMENT ON COLUMN garun.search_days.found IS 'Successful searches';
COMMENT ON COLUMN garun.search_days.failed IS 'Failed searches';
COMMENT ON COLUMN garun.search_days.session_found IS 'Successful searches of the session on that day at that branch';
COMMENT ON COLUMN garun.search_days.alone IS 'As in garun.session_days; true for searches without a session';
COMMENT ON COLUMN garun.search_days.bought IS 'The session has a purchase, on any day at any branch';
COMMENT ON COLUMN garun.search_days.user_pseudo_id IS 'Null, as ga_session_id, when the search is in no session';
COMMENT ON COLUMN garun.search_days.webuserid IS 'User of the whole session, as in garun.session_days';
COMMENT ON COLUMN garun.search_days.term IS 'Trimmed of white space, in lower case; empty: a blank search';
