-- database.md, Key Indexes, "repeated for each": one user's events.
CREATE INDEX IF NOT EXISTS idx_add_to_cart_tenant_user ON add_to_cart(tenant_id, user_prop_webuserid);
