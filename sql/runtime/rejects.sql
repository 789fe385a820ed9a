-- Lines that could not be stored, with all that is needed to mend and replay them.
-- No foreign key to garun.loads: rejects of a load that was given up are kept too, and they are why it was given up.

CREATE TABLE IF NOT EXISTS garun.rejects (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id      UUID NOT NULL,
    load_id        UUID,
    job_id         UUID,

    -- Where the line is
    source         TEXT NOT NULL,
    line           BIGINT CHECK (line > 0),
    byte_offset    BIGINT CHECK (byte_offset >= 0),

    -- What is wrong with it
    column_name    TEXT,
    code           TEXT NOT NULL,
    reason         TEXT NOT NULL,
    raw            BYTEA,

    created_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    replayed_at    TIMESTAMPTZ,
    replay_load_id UUID
);

CREATE INDEX IF NOT EXISTS idx_rejects_tenant_newest ON garun.rejects(tenant_id, id DESC);
CREATE INDEX IF NOT EXISTS idx_rejects_load ON garun.rejects(load_id, line);

COMMENT ON TABLE garun.rejects IS 'Lines of sources that could not be stored. See garun rejects.';
COMMENT ON COLUMN garun.rejects.load_id IS 'The load that met the line; it is in garun.loads when it was committed';
COMMENT ON COLUMN garun.rejects.job_id IS 'processing_jobs.id when a job asked for the load';
COMMENT ON COLUMN garun.rejects.source IS 'URI of the file or page, without secrets';
COMMENT ON COLUMN garun.rejects.line IS 'Line in the source, from 1, counted after decompression';
COMMENT ON COLUMN garun.rejects.byte_offset IS
    'Where the line starts in the source, from 0, counted after decompression';
COMMENT ON COLUMN garun.rejects.column_name IS 'The column whose value is wrong; null when the line as a whole is';
COMMENT ON COLUMN garun.rejects.code IS 'Kind of fault, for programs';
COMMENT ON COLUMN garun.rejects.reason IS 'Kind of fault, for people';
COMMENT ON COLUMN garun.rejects.raw IS
    'The line as it was read, without its line end; bytes, for it may be broken UTF-8';
COMMENT ON COLUMN garun.rejects.replayed_at IS 'When the line was loaded after all';
COMMENT ON COLUMN garun.rejects.replay_load_id IS 'garun.loads of the load that stored it';
