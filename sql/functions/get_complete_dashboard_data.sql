CREATE OR REPLACE FUNCTION get_complete_dashboard_data(
    p_tenant_id UUID,
    p_start_date DATE,
    p_end_date DATE,
    p_granularity TEXT DEFAULT 'daily',
    p_location_id TEXT DEFAULT NULL
) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
AS $$
DECLARE
    v_start     DATE := p_start_date;
    v_end       DATE := p_end_date;
    v_metrics   JSONB;
    v_locations JSONB;
    v_carts     JSONB;
    v_zone      TEXT;
    v_offset    INTEGER;        -- seconds from UTC, where it is one for the whole range: then hours are arithmetic
BEGIN
    PERFORM garun.check_range(p_tenant_id, p_start_date, p_end_date);
    IF p_granularity IS NULL
       OR p_granularity NOT IN ('hourly', '4hours', '12hours', 'daily', 'weekly', 'monthly') THEN
        RAISE EXCEPTION 'p_granularity must be hourly, 4hours, 12hours, daily, weekly or monthly, got %',
            coalesce('"' || p_granularity || '"', 'null') USING ERRCODE = '22023';
    END IF;
    IF v_start IS NULL OR v_end IS NULL THEN
        SELECT coalesce(v_start, min(event_date)), coalesce(v_end, max(event_date)) INTO v_start, v_end
          FROM garun.event_days WHERE tenant_id = p_tenant_id;
    END IF;

    SELECT coalesce((SELECT time_zone FROM tenant_config WHERE id = p_tenant_id), 'UTC') INTO v_zone;
    IF p_granularity LIKE '%hour%' AND v_end - v_start <= 366 THEN
        SELECT CASE WHEN count(*) = count(o) AND min(o) = max(o) THEN min(o) END INTO v_offset
          FROM (SELECT garun.day_offset(d::date, v_zone) AS o
                  FROM generate_series(v_start::timestamp, v_end, interval '1 day') AS d) AS days;
    END IF;
    SELECT d.metrics, d.locations, d.carts INTO v_metrics, v_locations, v_carts
      FROM garun.dashboard_numbers(p_tenant_id, v_start, v_end, p_location_id, p_granularity, v_zone,
                                   v_offset) d;
    RETURN jsonb_build_object('metrics', v_metrics,
        'chartData', garun.dashboard_chart(p_tenant_id, v_start, v_end, p_granularity, p_location_id, v_zone,
                                           v_offset, v_carts),
        'locationStats', v_locations);
END
$$;

COMMENT ON FUNCTION get_complete_dashboard_data(UUID, DATE, DATE, TEXT, TEXT) IS
'Everything a dashboard shows, in one call.

p_start_date, p_end_date: event_date, inclusive, null: the first or last day with data. p_granularity: hourly, 4hours,
12hours, daily, weekly (from Monday, ISO 8601), monthly. p_location_id: all three parts are of that branch.
Raises 22023 for an end before the start, an unknown granularity, a chart of more than 100000 buckets.

metrics: totalRevenue, totalPurchases (orders), totalVisitors (visits: sessions with a page view), abandonedCarts,
uniqueUsers (users with a visit), totalSearches (failed ones included), failedSearches, repeatVisits (users with 2 or more
visits), conversionRate (orders / visits, 0 without visits).
chartData: {date, revenue, purchases, visitors, carts, searches} of each bucket, also of empty ones, in order. date is the
bucket''s start, YYYY-MM-DD, below a day YYYY-MM-DDTHH:00 in tenant_config.time_zone. A visit counts in each bucket it has
a page view in, an abandoned cart in that of its last add_to_cart.
locationStats: {locationId, locationName, city, state, totalRevenue, totalPurchases, totalVisitors, abandonedCarts,
repeatVisits, failedSearches} of each location, most revenue first, and last of the events of no known branch, with null
id: what metrics says with that location as filter. A session counts at each branch it touched.';
