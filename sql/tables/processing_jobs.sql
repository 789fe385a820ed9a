-- Data ingestion job tracking. Any program may insert a row as queued; garun runs it.

CREATE TABLE IF NOT EXISTS processing_jobs (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL REFERENCES tenant_config(id),
    job_id VARCHAR(100) UNIQUE NOT NULL,
    status VARCHAR(50) NOT NULL DEFAULT 'queued',
    data_types JSONB,
    start_date DATE,
    end_date DATE,
    records_processed JSONB,
    progress JSONB,
    error_message TEXT,
    created_at TIMESTAMP DEFAULT NOW(),
    started_at TIMESTAMP,
    completed_at TIMESTAMP,
    updated_at TIMESTAMP DEFAULT NOW()
);

CREATE INDEX IF NOT EXISTS idx_processing_jobs_tenant ON processing_jobs(tenant_id);
CREATE INDEX IF NOT EXISTS idx_processing_jobs_status ON processing_jobs(status);
CREATE INDEX IF NOT EXISTS idx_processing_jobs_created ON processing_jobs(created_at DESC);

COMMENT ON TABLE processing_jobs IS
    'Data ingestion job tracking. Any program may insert a row as queued; garun runs it.';
COMMENT ON COLUMN processing_jobs.job_id IS 'Name of the job for people and other programs, unique';
COMMENT ON COLUMN processing_jobs.status IS
    'queued: waiting to start; processing: running; completed: finished successfully; failed: failed with error';
COMMENT ON COLUMN processing_jobs.data_types IS 'What to load: array of "events", "users", "locations"';
COMMENT ON COLUMN processing_jobs.start_date IS 'First day to replace, inclusive';
COMMENT ON COLUMN processing_jobs.end_date IS 'Last day to replace, inclusive';
COMMENT ON COLUMN processing_jobs.records_processed IS
    'Rows per type: {"purchase": n, ..., "users_processed": n, "locations_processed": n}';
COMMENT ON COLUMN processing_jobs.progress IS 'Where the running job is';
COMMENT ON COLUMN processing_jobs.error_message IS 'Why the job failed: what, where and what to do';
