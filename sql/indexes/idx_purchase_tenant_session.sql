-- database.md, Key Indexes, "repeated for each": one session's events. Session and user histories read by it, and the
-- products of carts and visitors.
-- Costs a load 3.4 us a row, 6 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_purchase_tenant_session ON purchase(tenant_id, param_ga_session_id);
