-- database.md, Key Indexes, "repeated for each": one branch's events.
-- Costs a load 0.8 us a row, 1 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_view_item_tenant_branch ON view_item(tenant_id, user_prop_default_branch_id);
