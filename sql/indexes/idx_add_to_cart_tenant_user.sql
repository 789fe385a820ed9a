-- database.md, Key Indexes, "repeated for each": one user's events.
-- Costs a load 1.6 us a row, 3 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_add_to_cart_tenant_user ON add_to_cart(tenant_id, user_prop_webuserid);
