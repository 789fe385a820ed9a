-- database.md, Key Indexes, "repeated for each": one branch's events.
-- Costs a load 1.2 us a row, 2 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_page_view_tenant_branch ON page_view(tenant_id, user_prop_default_branch_id);
