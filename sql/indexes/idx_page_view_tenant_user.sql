-- database.md, Key Indexes, "repeated for each": one user's events.
CREATE INDEX IF NOT EXISTS idx_page_view_tenant_user ON page_view(tenant_id, user_prop_webuserid);
