-- database.md, Key Indexes, "repeated for each": one user's events.
CREATE INDEX IF NOT EXISTS idx_no_search_results_tenant_user ON no_search_results(tenant_id, user_prop_webuserid);
