-- database.md, Key Indexes, "repeated for each": one session's events. Session and user histories read by it, and the
-- products of carts and visitors.
-- Costs a load 2.4 us a row, 4 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_view_item_tenant_session ON view_item(tenant_id, param_ga_session_id);
