-- The ledger: one row per committed load, written in the load's own transaction. A row here means that the data is in;
-- no row means that nothing of the load is.

CREATE TABLE IF NOT EXISTS garun.loads (
    load_id        UUID PRIMARY KEY,
    run_no         BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    tenant_id      UUID NOT NULL,
    job_id         UUID,

    -- Where the lines came from
    source         TEXT NOT NULL,
    source_kind    TEXT NOT NULL,
    sources        JSONB NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(sources) = 'array'),
    digest         TEXT,
    mapping_digest TEXT,

    -- When, and which days
    started_at     TIMESTAMPTZ NOT NULL,
    committed_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    first_day      DATE,
    last_day       DATE,

    -- What became of every line
    lines          BIGINT NOT NULL DEFAULT 0,
    rows_loaded    BIGINT NOT NULL DEFAULT 0,
    other_events   BIGINT NOT NULL DEFAULT 0,
    duplicates     BIGINT NOT NULL DEFAULT 0,
    rejected       BIGINT NOT NULL DEFAULT 0,
    out_of_range   BIGINT NOT NULL DEFAULT 0,

    -- What was changed in rows that were loaded
    repaired       BIGINT NOT NULL DEFAULT 0,
    cut            BIGINT NOT NULL DEFAULT 0,
    nulled         BIGINT NOT NULL DEFAULT 0,

    rows           JSONB NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(rows) = 'object'),
    garun_version  TEXT,

    CONSTRAINT loads_days_in_order CHECK (first_day <= last_day),
    CONSTRAINT loads_counts_not_negative CHECK (
        least(lines, rows_loaded, other_events, duplicates, rejected, out_of_range, repaired, cut, nulled) >= 0),
    CONSTRAINT loads_account_for_every_line CHECK (
        rows_loaded + other_events + duplicates + rejected + out_of_range = lines)
);

CREATE INDEX IF NOT EXISTS idx_loads_tenant_run ON garun.loads(tenant_id, run_no DESC);
CREATE INDEX IF NOT EXISTS idx_loads_job ON garun.loads(job_id) WHERE job_id IS NOT NULL;

COMMENT ON TABLE garun.loads IS
    'Ledger of loads. A row means that the load is committed: it is written in the transaction that replaced the days.';
COMMENT ON COLUMN garun.loads.load_id IS 'Chosen by the loader before it starts (UUID v7)';
COMMENT ON COLUMN garun.loads.run_no IS 'Rises with every load; numbers of loads that rolled back are missing';
COMMENT ON COLUMN garun.loads.job_id IS 'processing_jobs.id when a job asked for the load, null when a person did';
COMMENT ON COLUMN garun.loads.source IS 'What was asked for, as a URI without secrets';
COMMENT ON COLUMN garun.loads.source_kind IS 'bigquery, file, stdin, sftp, https ...';
COMMENT ON COLUMN garun.loads.sources IS 'What was read: array of {uri, size, mtime_ns, inode, digest}';
COMMENT ON COLUMN garun.loads.digest IS 'Digest of all bytes read. Same digest and mapping_digest: nothing to do again';
COMMENT ON COLUMN garun.loads.mapping_digest IS 'Digest of the column mapping and the tenant''s rules';
COMMENT ON COLUMN garun.loads.started_at IS 'By the database''s clock, as committed_at';
COMMENT ON COLUMN garun.loads.committed_at IS 'When the ledger row was written, just before COMMIT';
COMMENT ON COLUMN garun.loads.first_day IS 'First day that was replaced, inclusive; null for master data';
COMMENT ON COLUMN garun.loads.last_day IS 'Last day that was replaced, inclusive; null for master data';
COMMENT ON COLUMN garun.loads.lines IS
    'Lines of the source: rows_loaded + other_events + duplicates + rejected + out_of_range';
COMMENT ON COLUMN garun.loads.other_events IS
    'Events that are not stored: other event names, events a tenant''s rule dropped';
COMMENT ON COLUMN garun.loads.duplicates IS 'Events the export repeated within a day';
COMMENT ON COLUMN garun.loads.rejected IS 'Lines that cannot be stored, see garun.rejects';
COMMENT ON COLUMN garun.loads.out_of_range IS 'Events of days that were not asked for';
COMMENT ON COLUMN garun.loads.repaired IS
    'Rows with text JSONB cannot hold (NUL, unpaired surrogates), stored as U+FFFD';
COMMENT ON COLUMN garun.loads.cut IS 'Values cut at the length of their column';
COMMENT ON COLUMN garun.loads.nulled IS 'Numbers their column cannot hold, stored as NULL';
COMMENT ON COLUMN garun.loads.rows IS 'Rows stored per table: {"purchase": n, ...}';
