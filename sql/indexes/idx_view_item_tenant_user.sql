-- database.md, Key Indexes, "repeated for each": one user's events.
CREATE INDEX IF NOT EXISTS idx_view_item_tenant_user ON view_item(tenant_id, user_prop_webuserid);
