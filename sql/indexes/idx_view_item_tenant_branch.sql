-- database.md, Key Indexes, "repeated for each": one branch's events.
CREATE INDEX IF NOT EXISTS idx_view_item_tenant_branch ON view_item(tenant_id, user_prop_default_branch_id);
