-- metrics and locationStats together, because both add up the same days.
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
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
BEGIN
    WITH known AS MATERIALIZED (
        SELECT location_id, location_name, city, state, row_number() OVER (ORDER BY location_id)::int AS place
          FROM locations WHERE tenant_id = p_tenant_id
    ), orders AS (
        SELECT branch_id, sum(revenue) AS revenue, count(*) AS orders
          FROM garun.purchases
         WHERE tenant_id = p_tenant_id AND is_order AND event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR branch_id = p_location_id)
         GROUP BY branch_id
    ), days AS (
        -- What of a day is new in the range: see garun.day_stats.
        SELECT d.*, width_bucket(d.event_date - p_start_date, d.gaps) AS w,
               width_bucket(d.event_date - p_start_date, d.here_gaps) AS h
          FROM garun.day_stats d
         WHERE d.tenant_id = p_tenant_id AND d.event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR d.branch_id = p_location_id)
    ), branches AS MATERIALIZED (
        SELECT coalesce(k.place, 0) AS place, d.branch_id, sum(d.searches) AS searches, sum(d.failed_searches) AS failed,
               sum(d.visits) > 0 AS visited,
               sum(d.visits - coalesce(d.gap_visits[d.w], 0)) AS visits,
               sum(d.users - coalesce(d.gap_users[d.w], 0)) AS users,
               coalesce(sum(d.gap_repeats[d.w]), 0) AS repeats,
               sum(d.visits - coalesce(d.here_gap_visits[d.h], 0)) AS here_visits,
               sum(d.here_users - coalesce(d.here_gap_users[d.h], 0)) AS here_users,
               coalesce(sum(d.here_gap_repeats[d.h]), 0) AS here_repeats
          FROM days d LEFT JOIN known k ON k.location_id = d.branch_id
         GROUP BY 1, 2
    ), people AS (
        SELECT coalesce(sum(CASE WHEN p_location_id IS NULL THEN visits ELSE here_visits END), 0) AS visits,
               coalesce(sum(CASE WHEN p_location_id IS NULL THEN users ELSE here_users END), 0) AS users,
               coalesce(sum(CASE WHEN p_location_id IS NULL THEN repeats ELSE here_repeats END), 0) AS repeats,
               count(*) FILTER (WHERE place = 0 AND visited) AS unknown,
               count(*) FILTER (WHERE place > 0 AND visited) AS known
          FROM branches
    ), visited AS (
        SELECT place, here_visits AS visits, here_repeats AS repeats FROM branches WHERE place > 0
        UNION ALL
        -- Branches that are no known location are one place. A single one has its numbers; if all are unknown, they are
        -- those of all branches; else the visitors have to be grouped.
        SELECT 0, here_visits, here_repeats FROM branches, people WHERE place = 0 AND visited AND people.unknown = 1
        UNION ALL
        SELECT 0, p.visits, p.repeats FROM people p WHERE p.unknown > 1 AND p.known = 0
        UNION ALL
        SELECT 0, coalesce(sum(n), 0), count(*) FILTER (WHERE n >= 2) FROM (
            SELECT count(DISTINCT (s.user_pseudo_id, s.ga_session_id)) AS n
              FROM garun.session_days s
              LEFT JOIN known k ON k.location_id = s.branch_id
             WHERE (SELECT p.unknown > 1 AND p.known > 0 FROM people p) AND k.place IS NULL
               AND s.tenant_id = p_tenant_id AND s.page_views > 0 AND s.event_date BETWEEN p_start_date AND p_end_date
             GROUP BY s.visitor_a, s.visitor_b) v
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
                SELECT place, 0, 0, 0, 0, 0, searches, failed FROM branches
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
