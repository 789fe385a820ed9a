-- database.md, Key Indexes, "repeated for each": one session's events. Session and user histories read by it, and the
-- products of carts and visitors.
-- Costs a load 1.8 us a row, 3 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_no_search_results_tenant_session ON no_search_results(tenant_id, param_ga_session_id);
