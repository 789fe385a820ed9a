-- Who works on a job now. The tables of the jobs are other programs' too, so what only garun needs stands here.
-- epoch is the fence: a load commits only `WHERE epoch = mine`, so that a worker thought dead cannot.

CREATE TABLE IF NOT EXISTS garun.leases (
    job_id       UUID PRIMARY KEY,
    kind         TEXT NOT NULL CHECK (kind <> ''),
    epoch        INTEGER NOT NULL CHECK (epoch >= 0),
    owner        TEXT,
    lease_until  TIMESTAMPTZ,
    heartbeat_at TIMESTAMPTZ
);

CREATE INDEX IF NOT EXISTS idx_leases_until ON garun.leases(lease_until) WHERE lease_until IS NOT NULL;

COMMENT ON TABLE garun.leases IS 'Claims on jobs. All times are the database''s.';
COMMENT ON COLUMN garun.leases.job_id IS 'processing_jobs.id or email_sending_jobs.id';
COMMENT ON COLUMN garun.leases.kind IS 'Which of the two: the table''s name';
COMMENT ON COLUMN garun.leases.epoch IS 'Rises with every claim; a change of the job must name the current one';
COMMENT ON COLUMN garun.leases.owner IS 'host:pid:start of the worker; null when nobody has the job';
COMMENT ON COLUMN garun.leases.lease_until IS 'The job may be claimed again after this; null when nobody has it';
