-- One narrow row per purchase event. Kept like garun.session_days.

CREATE TABLE IF NOT EXISTS garun.purchases (
    tenant_id        UUID NOT NULL,
    purchase_id      UUID NOT NULL,
    visitor_a        BIGINT GENERATED ALWAYS AS
        (hashtextextended(CASE WHEN webuserid IS NULL THEN 'p' || user_pseudo_id ELSE 'w' || webuserid END, 0)) STORED,
    visitor_b        BIGINT GENERATED ALWAYS AS
        (hashtextextended(CASE WHEN webuserid IS NULL THEN 'p' || user_pseudo_id ELSE 'w' || webuserid END, 1)) STORED,
    at               BIGINT,
    event_date       DATE NOT NULL,
    is_order         BOOLEAN NOT NULL,
    branch_id        VARCHAR(100) COLLATE "C",
    user_pseudo_id   VARCHAR(255) COLLATE "C",
    ga_session_id    VARCHAR(100) COLLATE "C",
    webuserid        VARCHAR(100) COLLATE "C",
    transaction_id   VARCHAR(100) COLLATE "C",
    revenue          NUMERIC(15, 2),
    products         TEXT COLLATE "C" NOT NULL
);

CREATE INDEX IF NOT EXISTS idx_purchases_date ON garun.purchases(tenant_id, event_date, branch_id);
-- An order's other events, on whatever day.
CREATE INDEX IF NOT EXISTS idx_purchases_transaction ON garun.purchases(tenant_id, transaction_id)
    WHERE transaction_id NOT IN ('', '(not set)');
-- Did this visitor buy? For the carts of one branch and day; a month is joined by hash.
CREATE INDEX IF NOT EXISTS idx_purchases_pseudo ON garun.purchases(tenant_id, user_pseudo_id)
    WHERE user_pseudo_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_purchases_user ON garun.purchases(tenant_id, webuserid) WHERE webuserid IS NOT NULL;

COMMENT ON TABLE garun.purchases IS 'Purchase events, narrow, derived from purchase: kept by loads and triggers.';
COMMENT ON COLUMN garun.purchases.purchase_id IS 'purchase.id';
COMMENT ON COLUMN garun.purchases.visitor_a IS 'As in garun.session_days; null, as visitor_b, in no session';
COMMENT ON COLUMN garun.purchases.at IS 'Microseconds since 1970 UTC';
COMMENT ON COLUMN garun.purchases.is_order IS
    'The first event of its order (of all days); a reloaded thank-you page fires further ones';
COMMENT ON COLUMN garun.purchases.user_pseudo_id IS 'Null, as ga_session_id, when the event is in no session';
COMMENT ON COLUMN garun.purchases.webuserid IS 'User of the whole session, as in garun.session_days';
COMMENT ON COLUMN garun.purchases.transaction_id IS
    'As the event has it; null, empty and "(not set)" name no order: the event is one of its own';
COMMENT ON COLUMN garun.purchases.products IS 'Ids and names of all items in lower case, a line each';
