-- database.md, Key Indexes, "repeated for each": one branch's events.
CREATE INDEX IF NOT EXISTS idx_view_search_results_tenant_branch ON view_search_results(tenant_id, user_prop_default_branch_id);
