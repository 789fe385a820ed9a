-- database.md, Key Indexes, "repeated for each": one branch's events.
CREATE INDEX IF NOT EXISTS idx_add_to_cart_tenant_branch ON add_to_cart(tenant_id, user_prop_default_branch_id);
