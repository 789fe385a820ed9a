-- One row per session, day and branch with an add_to_cart. Kept like garun.session_days.

CREATE TABLE IF NOT EXISTS garun.cart_days (
    tenant_id        UUID NOT NULL,
    last_at          BIGINT,
    event_date       DATE NOT NULL,
    alone            BOOLEAN NOT NULL,
    branch_id        VARCHAR(100) COLLATE "C",
    user_pseudo_id   VARCHAR(255) COLLATE "C" NOT NULL,
    ga_session_id    VARCHAR(100) COLLATE "C" NOT NULL,
    webuserid        VARCHAR(100) COLLATE "C",
    items            NUMERIC NOT NULL,
    value            NUMERIC NOT NULL,
    products         TEXT COLLATE "C" NOT NULL
);

CREATE INDEX IF NOT EXISTS idx_cart_days_date ON garun.cart_days(tenant_id, event_date, branch_id);

COMMENT ON TABLE garun.cart_days IS
    'Sessions with add_to_cart per day and branch, derived from add_to_cart: kept by loads and triggers.';
COMMENT ON COLUMN garun.cart_days.last_at IS 'Last add_to_cart, microseconds since 1970 UTC';
COMMENT ON COLUMN garun.cart_days.alone IS 'As in garun.session_days';
COMMENT ON COLUMN garun.cart_days.webuserid IS 'User of the whole session, as in garun.session_days';
COMMENT ON COLUMN garun.cart_days.items IS 'Sum of quantities; an item without one counts 1';
COMMENT ON COLUMN garun.cart_days.value IS 'Sum of price x quantity; an item without a price counts 0';
COMMENT ON COLUMN garun.cart_days.products IS 'Ids and names of all items in lower case, a line each: what searches look in';
