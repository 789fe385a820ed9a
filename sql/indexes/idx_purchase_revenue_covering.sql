-- database.md, Key Indexes: revenue by day and branch without a look at the table. garun's own functions read the narrow
-- garun.purchases instead.
-- Costs a load 2.4 us a row, 4 % of a row's time (tests/bench/index_bench.lua).
CREATE INDEX IF NOT EXISTS idx_purchase_revenue_covering ON purchase(tenant_id, event_date, user_prop_default_branch_id)
    INCLUDE (ecommerce_purchase_revenue);
