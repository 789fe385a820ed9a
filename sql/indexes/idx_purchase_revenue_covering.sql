-- database.md, Key Indexes: revenue by day and branch without a look at the table. garun's own functions read the narrow
-- garun.purchases instead.
CREATE INDEX IF NOT EXISTS idx_purchase_revenue_covering ON purchase(tenant_id, event_date, user_prop_default_branch_id)
    INCLUDE (ecommerce_purchase_revenue);
