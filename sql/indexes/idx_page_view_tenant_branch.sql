-- database.md, Key Indexes, "repeated for each": one branch's events.
CREATE INDEX IF NOT EXISTS idx_page_view_tenant_branch ON page_view(tenant_id, user_prop_default_branch_id);
