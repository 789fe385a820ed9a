-- One row per day: how many events each table holds, and what the day's derived rows were made with.

CREATE TABLE IF NOT EXISTS garun.event_days (
    tenant_id           UUID NOT NULL,
    event_date          DATE NOT NULL,
    purchase            INTEGER NOT NULL,
    add_to_cart         INTEGER NOT NULL,
    page_view           INTEGER NOT NULL,
    view_item           INTEGER NOT NULL,
    view_search_results INTEGER NOT NULL,
    no_search_results   INTEGER NOT NULL,
    time_zone           TEXT NOT NULL,
    derived_at          TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (tenant_id, event_date)
);

COMMENT ON TABLE garun.event_days IS
    'Events per day and table, and with which time zone garun.rollup derived the day''s rows.';
COMMENT ON COLUMN garun.event_days.time_zone IS 'tenant_config.time_zone when the hours were derived';
