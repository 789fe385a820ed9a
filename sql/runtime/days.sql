-- Which load each day's events come from now. A new load of a day takes the row over.

CREATE TABLE IF NOT EXISTS garun.days (
    tenant_id   UUID NOT NULL,
    day         DATE NOT NULL,
    load_id     UUID NOT NULL REFERENCES garun.loads(load_id),
    rows        JSONB NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(rows) = 'object'),
    total       BIGINT NOT NULL DEFAULT 0 CHECK (total >= 0),
    deleted     BIGINT NOT NULL DEFAULT 0 CHECK (deleted >= 0),
    replayed    BIGINT NOT NULL DEFAULT 0 CHECK (replayed >= 0),
    replaced_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (tenant_id, day)
);

CREATE INDEX IF NOT EXISTS idx_days_load ON garun.days(load_id);

COMMENT ON TABLE garun.days IS 'The load each day''s events come from: the current one; garun.loads has the history.';
COMMENT ON COLUMN garun.days.load_id IS 'garun.loads of the load that replaced the day last';
COMMENT ON COLUMN garun.days.rows IS 'Rows of the day per table: {"purchase": n, ...}';
COMMENT ON COLUMN garun.days.total IS 'Rows of the day in all tables; what the shrink guard compares with';
COMMENT ON COLUMN garun.days.replayed IS
    'Rejects stored since by garun rejects replay, not in rows and total: those are what the load itself brought';
COMMENT ON COLUMN garun.days.deleted IS 'Rows the replacement removed';
