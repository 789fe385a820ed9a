-- Cart addition events from GA4.

CREATE TABLE IF NOT EXISTS add_to_cart (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL,
    event_date DATE NOT NULL,
    event_timestamp VARCHAR(50),

    -- User identification
    user_pseudo_id VARCHAR(255),
    user_prop_webuserid VARCHAR(100),
    user_prop_default_branch_id VARCHAR(100),

    -- Session
    param_ga_session_id VARCHAR(100),
    param_page_title VARCHAR(500),
    param_page_location TEXT,

    -- First item (denormalized for quick access)
    first_item_item_id VARCHAR(255),
    first_item_item_name VARCHAR(500),
    first_item_item_category VARCHAR(255),
    first_item_price DECIMAL(10, 2),
    first_item_quantity INTEGER,

    -- All items
    items_json JSONB,

    -- Device & geo
    device_category VARCHAR(50),
    device_operating_system VARCHAR(50),
    geo_country VARCHAR(100),
    geo_city VARCHAR(100),

    raw_data JSONB
);

CREATE INDEX IF NOT EXISTS idx_add_to_cart_tenant_date ON add_to_cart(tenant_id, event_date);
CREATE INDEX IF NOT EXISTS idx_add_to_cart_session ON add_to_cart(tenant_id, param_ga_session_id);

-- LZ4 loads about a quarter faster than PGLZ. ALTER TABLE locks out every reader: only where it changes something.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = 'add_to_cart'::regclass AND attname IN ('items_json', 'raw_data')
                 AND attcompression <> 'l') THEN
        ALTER TABLE add_to_cart
            ALTER COLUMN items_json SET COMPRESSION lz4,
            ALTER COLUMN raw_data SET COMPRESSION lz4;
    END IF;
EXCEPTION WHEN feature_not_supported THEN
    RAISE WARNING 'add_to_cart: this server lacks LZ4, JSON stays compressed with pglz and loads will be slower';
END
$$;

-- Statistics over whole JSON documents tell the planner nothing, and ANALYZE would spend most of its time on them.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = 'add_to_cart'::regclass AND attname IN ('items_json', 'raw_data')
                 AND attstattarget IS DISTINCT FROM 0) THEN
        ALTER TABLE add_to_cart ALTER COLUMN items_json SET STATISTICS 0;
        ALTER TABLE add_to_cart ALTER COLUMN raw_data SET STATISTICS 0;
    END IF;
END
$$;

COMMENT ON TABLE add_to_cart IS 'Cart addition events from GA4.';
COMMENT ON COLUMN add_to_cart.event_date IS 'Day of the event in the time zone of the GA4 property';
COMMENT ON COLUMN add_to_cart.event_timestamp IS 'Microseconds since 1970 UTC, as decimal text';
COMMENT ON COLUMN add_to_cart.user_pseudo_id IS 'GA4 client id; null under consent mode';
COMMENT ON COLUMN add_to_cart.user_prop_webuserid IS
    'The web shop''s user id (users.user_id), null for anonymous visitors';
COMMENT ON COLUMN add_to_cart.user_prop_default_branch_id IS 'Branch of the visitor (locations.location_id)';
COMMENT ON COLUMN add_to_cart.param_ga_session_id IS
    'GA4 session id: a start second, unique only together with user_pseudo_id';
COMMENT ON COLUMN add_to_cart.items_json IS
    'All items: array of {item_id, item_name, item_category, price, quantity, ...}, empty when there is none';
COMMENT ON COLUMN add_to_cart.raw_data IS
    'The whole event without null members, so that every column can be derived again from it';
