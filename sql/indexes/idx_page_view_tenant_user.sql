-- database.md, Key Indexes, "repeated for each": one user's events.
-- Costs a load 1.8 us a row, 3 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_page_view_tenant_user ON page_view(tenant_id, user_prop_webuserid);
