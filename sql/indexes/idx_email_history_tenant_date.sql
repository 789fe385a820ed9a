-- database.md, Key Indexes: a tenant's mails, newest first (get_email_send_history).
CREATE INDEX IF NOT EXISTS idx_email_history_tenant_date ON email_send_history(tenant_id, sent_at DESC);
