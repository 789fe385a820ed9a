-- database.md, Key Indexes, "repeated for each": one user's events.
-- Costs a load 1.5 us a row, 3 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_view_item_tenant_user ON view_item(tenant_id, user_prop_webuserid);
