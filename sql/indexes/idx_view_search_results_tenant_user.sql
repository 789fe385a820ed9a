-- database.md, Key Indexes, "repeated for each": one user's events.
-- Costs a load 3.3 us a row, 6 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_view_search_results_tenant_user ON view_search_results(tenant_id, user_prop_webuserid);
