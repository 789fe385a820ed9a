-- database.md, Key Indexes: a tenant's jobs, newest first (get_processing_jobs).
CREATE INDEX IF NOT EXISTS idx_processing_jobs_tenant_created ON processing_jobs(tenant_id, created_at DESC);
