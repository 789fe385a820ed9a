-- metrics and locationStats together, because both count visitors: the one thing here that reads every session.
-- "place" is what a location's row stands for: the number of a known location, 0 for all other branches together.
--
-- No parallel plans here nor in the other functions: PL/pgSQL's INTO never starts the workers, and a plan made for them
-- then does its work twice.

CREATE OR REPLACE FUNCTION garun.dashboard_numbers(p_tenant_id UUID, p_start_date DATE, p_end_date DATE, p_location_id TEXT,
    p_granularity TEXT, p_time_zone TEXT, p_offset INTEGER, OUT metrics JSONB, OUT locations JSONB, OUT carts JSONB)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
-- Nobody knows beforehand how few the shared ones are: never by way of sorting everything.
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET hash_mem_multiplier = 4
AS $$
#variable_conflict use_column
BEGIN
    WITH known AS MATERIALIZED (
        SELECT location_id, location_name, city, state, row_number() OVER (ORDER BY location_id)::int AS place
          FROM locations WHERE tenant_id = p_tenant_id
    ), numbered AS MATERIALIZED (
        SELECT jsonb_object_agg(location_id, place) AS places FROM known
    ), orders AS (
        SELECT branch_id, sum(revenue) AS revenue, count(*) AS orders
          FROM garun.purchases
         WHERE tenant_id = p_tenant_id AND is_order AND event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR branch_id = p_location_id)
         GROUP BY branch_id
    ), searches AS (
        SELECT branch_id, sum(searches) AS searches, sum(failed_searches) AS failed
          FROM garun.hour_stats
         WHERE tenant_id = p_tenant_id AND event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR branch_id = p_location_id)
         GROUP BY branch_id
    ), shared AS MATERIALIZED (
        -- Sessions of several rows, once a place. The others, which are most, are counted without a look at which they are.
        SELECT DISTINCT coalesce(k.place, 0) AS place, s.user_pseudo_id, s.ga_session_id, s.visitor_a, s.visitor_b
          FROM garun.session_days s
          LEFT JOIN known k ON k.location_id = s.branch_id
         WHERE s.tenant_id = p_tenant_id AND NOT s.alone AND s.page_views > 0
           AND s.event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR s.branch_id = p_location_id)
    ), shared_visitors AS MATERIALIZED (
        SELECT DISTINCT visitor_a, visitor_b FROM shared
    ), beside AS MATERIALIZED (
        -- The other sessions of those visitors, by index. The place is looked up in an object: as a join it would be done
        -- row by row, because the planner takes these for one or two.
        SELECT coalesce((m.places ->> s.branch_id)::int, 0) AS place, s.visitor_a, s.visitor_b
          FROM shared_visitors v
          JOIN garun.session_days s ON s.visitor_a = v.visitor_a AND s.visitor_b = v.visitor_b
         CROSS JOIN numbered m
         WHERE s.tenant_id = p_tenant_id AND s.alone AND s.page_views > 0
           AND s.event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR s.branch_id = p_location_id)
    ), people AS (
        -- Visitors by their single sessions; then what shared sessions add: visits, visitors who had none, and those who
        -- reach two by them.
        SELECT coalesce(sum(visits), 0) AS visits, coalesce(sum(users), 0) AS users, coalesce(sum(repeats), 0) AS repeats FROM (
            SELECT sum(n) AS visits, count(*) AS users, count(*) FILTER (WHERE n >= 2) AS repeats FROM (
                SELECT count(*)::int AS n
                  FROM garun.session_days s
                 WHERE s.tenant_id = p_tenant_id AND s.alone AND s.page_views > 0
                   AND s.event_date BETWEEN p_start_date AND p_end_date
                   AND (p_location_id IS NULL OR s.branch_id = p_location_id)
                 GROUP BY s.visitor_a, s.visitor_b) v
            UNION ALL
            SELECT sum(m.n), count(*) FILTER (WHERE b.n IS NULL),
                   count(*) FILTER (WHERE coalesce(b.n, 0) < 2 AND coalesce(b.n, 0) + m.n >= 2)
              FROM (SELECT visitor_a, visitor_b, count(*)::int AS n
                      FROM (SELECT DISTINCT user_pseudo_id, ga_session_id, visitor_a, visitor_b FROM shared) once
                     GROUP BY 1, 2) m
              LEFT JOIN (SELECT visitor_a, visitor_b, count(*)::int AS n FROM beside GROUP BY 1, 2) b
                     ON b.visitor_a = m.visitor_a AND b.visitor_b = m.visitor_b) p
    ), visited AS (
        SELECT place, sum(visits) AS visits, sum(repeats) AS repeats FROM (
            SELECT place, sum(n) AS visits, count(*) FILTER (WHERE n >= 2) AS repeats FROM (
                SELECT coalesce(k.place, 0) AS place, count(*)::int AS n
                  FROM garun.session_days s
                  LEFT JOIN known k ON k.location_id = s.branch_id
                 WHERE s.tenant_id = p_tenant_id AND s.alone AND s.page_views > 0
                   AND s.event_date BETWEEN p_start_date AND p_end_date
                   AND (p_location_id IS NULL OR s.branch_id = p_location_id)
                 GROUP BY s.visitor_a, s.visitor_b, 1) v
             GROUP BY place
            UNION ALL
            SELECT m.place, sum(m.n), count(*) FILTER (WHERE coalesce(b.n, 0) < 2 AND coalesce(b.n, 0) + m.n >= 2)
              FROM (SELECT place, visitor_a, visitor_b, count(*)::int AS n FROM shared GROUP BY 1, 2, 3) m
              LEFT JOIN (SELECT place, visitor_a, visitor_b, count(*)::int AS n FROM beside GROUP BY 1, 2, 3) b
                     ON b.visitor_a = m.visitor_a AND b.visitor_b = m.visitor_b AND b.place = m.place
             GROUP BY m.place) p
         GROUP BY place
    ), single AS MATERIALIZED (
        -- Carts of sessions that are one row are the same for their place and for all.
        SELECT event_date, last_at, branch_id FROM garun.abandoned_carts(p_tenant_id, p_location_id, p_start_date, p_end_date,
                                                                         true)
    ), buckets AS (
        SELECT bucket, count(*) AS carts FROM (
            SELECT garun.bucket(event_date, CASE WHEN p_granularity LIKE '%hour%'
                       THEN garun.hour_of(last_at, event_date, p_time_zone, p_offset) ELSE 0 END, p_granularity) AS bucket
              FROM (SELECT event_date, last_at FROM single
                    UNION ALL
                    SELECT event_date, last_at FROM garun.abandoned_carts(p_tenant_id, p_location_id, p_start_date,
                                                                          p_end_date, false)) c) b
         GROUP BY bucket
    ), carted AS (
        SELECT place, sum(carts) AS carts FROM (
            SELECT coalesce(k.place, 0) AS place, count(*) AS carts
              FROM single c LEFT JOIN known k ON k.location_id = c.branch_id GROUP BY 1
            UNION ALL
            SELECT coalesce(k.place, 0), count(*)
              FROM garun.abandoned_carts_by_place(p_tenant_id, p_location_id, p_start_date, p_end_date) c
              LEFT JOIN known k ON k.location_id = c.place GROUP BY 1) c
         GROUP BY place
    ), stats AS (
        SELECT place, sum(revenue) AS revenue, sum(orders) AS orders, sum(visits) AS visits, sum(repeats) AS repeats,
               sum(carts) AS carts, sum(searches) AS searches, sum(failed) AS failed
          FROM (SELECT coalesce(k.place, 0) AS place, o.revenue, o.orders, 0 AS visits, 0 AS repeats, 0 AS carts,
                       0 AS searches, 0 AS failed
                  FROM orders o LEFT JOIN known k ON k.location_id = o.branch_id
                UNION ALL
                SELECT coalesce(k.place, 0), 0, 0, 0, 0, 0, s.searches, s.failed
                  FROM searches s LEFT JOIN known k ON k.location_id = s.branch_id
                UNION ALL SELECT place, 0, 0, visits, repeats, 0, 0, 0 FROM visited
                UNION ALL SELECT place, 0, 0, 0, 0, carts, 0, 0 FROM carted) parts
         GROUP BY place
    ), places AS (
        SELECT * FROM known WHERE p_location_id IS NULL OR location_id = p_location_id
        UNION ALL
        SELECT NULL, NULL, NULL, NULL, 0
         WHERE p_location_id IS NULL OR NOT EXISTS (SELECT FROM known WHERE location_id = p_location_id)
    ), totals AS (
        SELECT coalesce(sum(revenue), 0) AS revenue, coalesce(sum(orders), 0) AS orders,
               coalesce(sum(searches), 0) AS searches, coalesce(sum(failed), 0) AS failed
          FROM stats
    )
    SELECT jsonb_build_object('totalRevenue', t.revenue, 'totalPurchases', t.orders, 'totalVisitors', p.visits,
               'abandonedCarts', (SELECT coalesce(sum(b.carts), 0) FROM buckets b), 'uniqueUsers', p.users,
               'totalSearches', t.searches, 'failedSearches', t.failed, 'repeatVisits', p.repeats,
               'conversionRate', CASE WHEN p.visits > 0 THEN t.orders::float8 / p.visits::float8 ELSE 0 END),
           (SELECT jsonb_agg(jsonb_build_object('locationId', l.location_id, 'locationName', l.location_name,
                       'city', l.city, 'state', l.state, 'totalRevenue', coalesce(s.revenue, 0),
                       'totalPurchases', coalesce(s.orders, 0), 'totalVisitors', coalesce(s.visits, 0),
                       'abandonedCarts', coalesce(s.carts, 0), 'repeatVisits', coalesce(s.repeats, 0),
                       'failedSearches', coalesce(s.failed, 0))
                   ORDER BY l.location_id IS NULL, coalesce(s.revenue, 0) DESC, l.location_id COLLATE "C")
              FROM places l LEFT JOIN stats s USING (place)),
           (SELECT coalesce(jsonb_object_agg(bucket::text, b.carts), '{}') FROM buckets b)
      INTO metrics, locations, carts
      FROM totals t CROSS JOIN people p;
END
$$;

COMMENT ON FUNCTION garun.dashboard_numbers(UUID, DATE, DATE, TEXT, TEXT, TEXT, INTEGER) IS
    'metrics and locationStats of get_complete_dashboard_data, which describes them, and the abandoned carts of each
bucket of its chart: {start: n}.';
