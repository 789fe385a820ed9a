-- E-commerce purchase events from GA4.
-- A reload of the thank-you page fires another: an order is a transaction id, not a row.

CREATE TABLE IF NOT EXISTS purchase (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL,
    event_date DATE NOT NULL,
    event_timestamp VARCHAR(50),

    -- User identification
    user_pseudo_id VARCHAR(255),
    user_prop_webuserid VARCHAR(100),
    user_prop_default_branch_id VARCHAR(100),

    -- Session & transaction
    param_ga_session_id VARCHAR(100),
    param_transaction_id VARCHAR(100),
    param_page_title VARCHAR(500),
    param_page_location TEXT,

    -- Revenue
    ecommerce_purchase_revenue DECIMAL(15, 2),
    items_json JSONB,

    -- Device & geo
    device_category VARCHAR(50),
    device_operating_system VARCHAR(50),
    geo_country VARCHAR(100),
    geo_city VARCHAR(100),

    -- Raw data for reprocessing
    raw_data JSONB
);

-- database.md names two of these columns twice: idx_purchase_branch and idx_purchase_user below are the same indexes as
-- idx_purchase_tenant_branch and idx_purchase_tenant_user of its list "Key Indexes". One of each is kept, under the
-- name of the table's own section.
CREATE INDEX IF NOT EXISTS idx_purchase_tenant_date ON purchase(tenant_id, event_date);
CREATE INDEX IF NOT EXISTS idx_purchase_branch ON purchase(tenant_id, user_prop_default_branch_id);
CREATE INDEX IF NOT EXISTS idx_purchase_user ON purchase(tenant_id, user_prop_webuserid);

-- LZ4 loads about a quarter faster than PGLZ. ALTER TABLE locks out every reader: only where it changes something.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = 'purchase'::regclass AND attname IN ('items_json', 'raw_data')
                 AND attcompression <> 'l') THEN
        ALTER TABLE purchase
            ALTER COLUMN items_json SET COMPRESSION lz4,
            ALTER COLUMN raw_data SET COMPRESSION lz4;
    END IF;
EXCEPTION WHEN feature_not_supported THEN
    RAISE WARNING 'purchase: this server lacks LZ4, JSON stays compressed with pglz and loads will be slower';
END
$$;

-- Statistics over whole JSON documents tell the planner nothing, and ANALYZE would spend most of its time on them.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = 'purchase'::regclass AND attname IN ('items_json', 'raw_data')
                 AND attstattarget IS DISTINCT FROM 0) THEN
        ALTER TABLE purchase ALTER COLUMN items_json SET STATISTICS 0;
        ALTER TABLE purchase ALTER COLUMN raw_data SET STATISTICS 0;
    END IF;
END
$$;

COMMENT ON TABLE purchase IS
    'E-commerce purchase events from GA4. A reloaded thank-you page fires another: an order is a transaction id.';
COMMENT ON COLUMN purchase.event_date IS 'Day of the event in the time zone of the GA4 property';
COMMENT ON COLUMN purchase.event_timestamp IS 'Microseconds since 1970 UTC, as decimal text';
COMMENT ON COLUMN purchase.user_pseudo_id IS 'GA4 client id; null under consent mode';
COMMENT ON COLUMN purchase.user_prop_webuserid IS
    'The web shop''s user id (users.user_id), null for anonymous visitors';
COMMENT ON COLUMN purchase.user_prop_default_branch_id IS 'Branch of the visitor (locations.location_id)';
COMMENT ON COLUMN purchase.param_ga_session_id IS
    'GA4 session id: a start second, unique only together with user_pseudo_id';
COMMENT ON COLUMN purchase.param_transaction_id IS 'Order number; null, empty and "(not set)" stand alone';
COMMENT ON COLUMN purchase.ecommerce_purchase_revenue IS 'Order value in the property''s currency; null when unknown';
COMMENT ON COLUMN purchase.items_json IS
    'All items: array of {item_id, item_name, item_category, price, quantity, ...}, empty when there is none';
COMMENT ON COLUMN purchase.raw_data IS
    'The whole event without null members, so that every column can be derived again from it';
