-- Failed search events (no results found) from GA4.

CREATE TABLE IF NOT EXISTS no_search_results (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL,
    event_date DATE NOT NULL,
    event_timestamp VARCHAR(50),

    user_pseudo_id VARCHAR(255),
    user_prop_webuserid VARCHAR(100),
    user_prop_default_branch_id VARCHAR(100),

    param_ga_session_id VARCHAR(100),
    param_no_search_results_term VARCHAR(500),
    param_page_title VARCHAR(500),
    param_page_location TEXT,

    device_category VARCHAR(50),
    device_operating_system VARCHAR(50),
    geo_country VARCHAR(100),
    geo_city VARCHAR(100),

    raw_data JSONB
);

CREATE INDEX IF NOT EXISTS idx_no_search_results_tenant_date ON no_search_results(tenant_id, event_date);
CREATE INDEX IF NOT EXISTS idx_no_search_results_term ON no_search_results(tenant_id, param_no_search_results_term);

-- LZ4 loads about a quarter faster than PGLZ. ALTER TABLE locks out every reader: only where it changes something.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = 'no_search_results'::regclass AND attname = 'raw_data'
                 AND attcompression <> 'l') THEN
        ALTER TABLE no_search_results ALTER COLUMN raw_data SET COMPRESSION lz4;
    END IF;
EXCEPTION WHEN feature_not_supported THEN
    RAISE WARNING 'no_search_results: this server lacks LZ4, JSON stays compressed with pglz and loads will be slower';
END
$$;

-- Statistics over whole JSON documents tell the planner nothing, and ANALYZE would spend most of its time on them.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = 'no_search_results'::regclass AND attname IN ('raw_data')
                 AND attstattarget IS DISTINCT FROM 0) THEN
        ALTER TABLE no_search_results ALTER COLUMN raw_data SET STATISTICS 0;
    END IF;
END
$$;

COMMENT ON TABLE no_search_results IS 'Failed search events (no results found) from GA4.';
COMMENT ON COLUMN no_search_results.event_date IS 'Day of the event in the time zone of the GA4 property';
COMMENT ON COLUMN no_search_results.event_timestamp IS 'Microseconds since 1970 UTC, as decimal text';
COMMENT ON COLUMN no_search_results.user_pseudo_id IS 'GA4 client id; null under consent mode';
COMMENT ON COLUMN no_search_results.user_prop_webuserid IS
    'The web shop''s user id (users.user_id), null for anonymous visitors';
COMMENT ON COLUMN no_search_results.user_prop_default_branch_id IS 'Branch of the visitor (locations.location_id)';
COMMENT ON COLUMN no_search_results.param_ga_session_id IS
    'GA4 session id: a start second, unique only together with user_pseudo_id';
COMMENT ON COLUMN no_search_results.raw_data IS
    'The whole event without null members, so that every column can be derived again from it';
