CREATE OR REPLACE FUNCTION garun.bucket(p_day DATE, p_hour INTEGER, p_granularity TEXT) RETURNS TIMESTAMP
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE p_granularity
           WHEN 'hourly' THEN p_day + p_hour * interval '1 hour'
           WHEN '4hours' THEN p_day + p_hour / 4 * interval '4 hours'
           WHEN '12hours' THEN p_day + p_hour / 12 * interval '12 hours'
           WHEN 'daily' THEN p_day::timestamp
           WHEN 'weekly' THEN date_trunc('week', p_day::timestamp)
           ELSE date_trunc('month', p_day::timestamp)
           END
$$;

COMMENT ON FUNCTION garun.bucket(DATE, INTEGER, TEXT) IS
    'The start of the chart''s bucket that hour 0-23 of the day lies in; granularity as in
get_complete_dashboard_data.';

CREATE OR REPLACE FUNCTION garun.dashboard_chart(p_tenant_id UUID, p_start_date DATE, p_end_date DATE, p_granularity TEXT,
    p_location_id TEXT, p_time_zone TEXT, p_offset INTEGER, p_carts JSONB) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
AS $$
DECLARE
    v_step   INTERVAL := CASE p_granularity WHEN 'hourly' THEN '1 hour' WHEN '4hours' THEN '4 hours'
                         WHEN '12hours' THEN '12 hours' WHEN 'daily' THEN '1 day' WHEN 'weekly' THEN '7 days'
                         ELSE '1 month' END;
    v_hours  INTEGER := CASE p_granularity WHEN 'hourly' THEN 1 WHEN '4hours' THEN 4 WHEN '12hours' THEN 12 ELSE 24 END;
    v_format TEXT := CASE WHEN p_granularity IN ('hourly', '4hours', '12hours') THEN 'YYYY-MM-DD"T"HH24:MI'
                     ELSE 'YYYY-MM-DD' END;
    v_chart  JSONB;
BEGIN
    IF p_start_date IS NULL OR p_end_date IS NULL THEN
        RETURN '[]';
    END IF;
    IF (p_end_date - p_start_date + 1)::bigint * 24 / v_hours > 100000 THEN
        RAISE EXCEPTION 'p_granularity % makes a chart of more than 100000 buckets from p_start_date % to p_end_date %',
            p_granularity, p_start_date, p_end_date USING ERRCODE = '22023', HINT = 'choose a coarser one';
    END IF;
    WITH buckets AS (
        SELECT b AS bucket
          FROM generate_series(garun.bucket(p_start_date, 0, p_granularity), garun.bucket(p_end_date, 23, p_granularity),
                               v_step) AS b
    ), counted AS (
        -- From a day on a bucket's visits are those that are new in it: see garun.day_stats.
        SELECT bucket, sum(CASE WHEN p_location_id IS NULL
                   THEN visits - coalesce(gap_visits[width_bucket(event_date - since, gaps)], 0)
                   ELSE visits - coalesce(here_gap_visits[width_bucket(event_date - since, here_gaps)], 0) END) AS visits,
               sum(searches) AS searches
          FROM (SELECT d.*, b AS bucket, greatest(b::date, p_start_date) AS since
                  FROM garun.day_stats d CROSS JOIN garun.bucket(d.event_date, 0, p_granularity) AS b
                 WHERE v_hours = 24 AND d.tenant_id = p_tenant_id AND d.event_date BETWEEN p_start_date AND p_end_date
                   AND (p_location_id IS NULL OR d.branch_id = p_location_id)) AS days
         GROUP BY bucket
        UNION ALL
        SELECT garun.bucket(h.event_date, h.hour, p_granularity),
               sum(CASE v_hours WHEN 1 THEN h.visits WHEN 4 THEN h.visits_4h ELSE h.visits_12h END), sum(h.searches)
          FROM garun.hour_stats h
         WHERE v_hours < 24 AND h.tenant_id = p_tenant_id AND h.event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR h.branch_id = p_location_id)
         GROUP BY 1
    ), again AS (
        -- hour_stats counts a session at each of its branches; how often too many times, its rows tell.
        SELECT bucket, sum(n - 1) AS too_many FROM (
            SELECT garun.bucket(s.event_date, h, p_granularity) AS bucket, s.user_pseudo_id, s.ga_session_id, count(*) AS n
              FROM garun.session_days s
              JOIN generate_series(0, 23, v_hours) AS h ON s.hours >> h & (1 << v_hours) - 1 <> 0
             WHERE v_hours < 24 AND s.tenant_id = p_tenant_id AND NOT s.alone AND s.page_views > 0
               AND s.event_date BETWEEN p_start_date AND p_end_date
               AND (p_location_id IS NULL OR s.branch_id = p_location_id)
             GROUP BY 1, 2, 3 HAVING count(*) > 1) d
         GROUP BY bucket
    ), orders AS (
        SELECT garun.bucket(o.event_date, CASE WHEN v_hours < 24 THEN garun.hour_of(o.at, o.event_date, p_time_zone, p_offset)
                                          ELSE 0 END, p_granularity) AS bucket,
               coalesce(sum(o.revenue), 0) AS revenue, count(*) AS orders
          FROM garun.purchases o
         WHERE o.tenant_id = p_tenant_id AND o.is_order AND o.event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR o.branch_id = p_location_id)
         GROUP BY 1
    )
    SELECT jsonb_agg(jsonb_build_object('date', to_char(b.bucket, v_format), 'revenue', coalesce(o.revenue, 0),
               'purchases', coalesce(o.orders, 0), 'visitors', coalesce(n.visits, 0) - coalesce(a.too_many, 0),
               'carts', coalesce((p_carts ->> b.bucket::text)::bigint, 0),
               'searches', coalesce(n.searches, 0)) ORDER BY b.bucket)
      INTO v_chart
      FROM buckets b
      LEFT JOIN counted n USING (bucket)
      LEFT JOIN again a USING (bucket)
      LEFT JOIN orders o USING (bucket);
    RETURN coalesce(v_chart, '[]');
END
$$;

COMMENT ON FUNCTION garun.dashboard_chart(UUID, DATE, DATE, TEXT, TEXT, TEXT, INTEGER, JSONB) IS
    'chartData of get_complete_dashboard_data, which describes it. p_carts: abandoned carts by bucket, from
garun.dashboard_numbers. A null date: no data, no bucket.';
