-- E-mail job tracking, same statuses as processing_jobs.

CREATE TABLE IF NOT EXISTS email_sending_jobs (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL REFERENCES tenant_config(id),
    job_id VARCHAR(100) UNIQUE NOT NULL,
    status VARCHAR(50) NOT NULL DEFAULT 'queued',
    report_date DATE NOT NULL,
    target_branches JSONB,
    total_emails INTEGER DEFAULT 0,
    emails_sent INTEGER DEFAULT 0,
    emails_failed INTEGER DEFAULT 0,
    error_message TEXT,
    created_at TIMESTAMP DEFAULT NOW(),
    started_at TIMESTAMP,
    completed_at TIMESTAMP,
    updated_at TIMESTAMP DEFAULT NOW()
);

CREATE INDEX IF NOT EXISTS idx_email_sending_jobs_tenant ON email_sending_jobs(tenant_id);
CREATE INDEX IF NOT EXISTS idx_email_sending_jobs_status ON email_sending_jobs(status);

COMMENT ON TABLE email_sending_jobs IS 'E-mail job tracking, same statuses as processing_jobs.';
COMMENT ON COLUMN email_sending_jobs.job_id IS 'Name of the job for people and other programs, unique';
COMMENT ON COLUMN email_sending_jobs.status IS
    'queued: waiting to start; processing: running; completed: finished successfully; failed: failed with error';
COMMENT ON COLUMN email_sending_jobs.report_date IS 'The day the report is about';
COMMENT ON COLUMN email_sending_jobs.target_branches IS 'Array of branch codes; null means all enabled mappings';
