-- Individual e-mail send records, one row per recipient.

CREATE TABLE IF NOT EXISTS email_send_history (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL REFERENCES tenant_config(id),
    job_id VARCHAR(100),
    branch_code VARCHAR(50),
    sales_rep_email VARCHAR(255),
    sales_rep_name VARCHAR(255),
    subject VARCHAR(500),
    report_date DATE,
    status VARCHAR(50),
    smtp_response TEXT,
    error_message TEXT,
    sent_at TIMESTAMP DEFAULT NOW()
);

CREATE INDEX IF NOT EXISTS idx_email_send_history_tenant ON email_send_history(tenant_id);
CREATE INDEX IF NOT EXISTS idx_email_send_history_job ON email_send_history(job_id);
CREATE INDEX IF NOT EXISTS idx_email_send_history_sent ON email_send_history(sent_at DESC);

COMMENT ON TABLE email_send_history IS 'Individual e-mail send records, one row per recipient.';
COMMENT ON COLUMN email_send_history.job_id IS 'email_sending_jobs.job_id';
COMMENT ON COLUMN email_send_history.smtp_response IS 'The server''s reply, verbatim';
COMMENT ON COLUMN email_send_history.error_message IS 'Why the mail was not handed over';
