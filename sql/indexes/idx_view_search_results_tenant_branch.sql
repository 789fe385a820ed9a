-- database.md, Key Indexes, "repeated for each": one branch's events.
-- Costs a load 1.6 us a row, 3 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_view_search_results_tenant_branch ON view_search_results(tenant_id, user_prop_default_branch_id);
