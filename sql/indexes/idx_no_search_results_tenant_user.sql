-- database.md, Key Indexes, "repeated for each": one user's events.
-- Costs a load 2.2 us a row, 4 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_no_search_results_tenant_user ON no_search_results(tenant_id, user_prop_webuserid);
