-- database.md, Key Indexes, "repeated for each": one branch's events.
-- Costs a load 2.3 us a row, 4 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_add_to_cart_tenant_branch ON add_to_cart(tenant_id, user_prop_default_branch_id);
