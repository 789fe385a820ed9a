-- metrics and locationStats together, because both count visitors: the one thing here that reads every session.
-- "place" is what a location's row stands for: the branch of a known location, else null for all others together.

CREATE OR REPLACE FUNCTION garun.dashboard_numbers(p_tenant_id UUID, p_start_date DATE, p_end_date DATE, p_location_id TEXT,
    OUT metrics JSONB, OUT locations JSONB)
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET hash_mem_multiplier = 4
AS $$
BEGIN
    WITH orders AS (
        SELECT l.location_id AS place, sum(o.revenue) AS revenue, count(*) AS orders
          FROM garun.purchases o
          LEFT JOIN locations l ON l.tenant_id = p_tenant_id AND l.location_id = o.branch_id
         WHERE o.tenant_id = p_tenant_id AND o.is_order AND o.event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR o.branch_id = p_location_id)
         GROUP BY 1
    ), searches AS (
        SELECT l.location_id AS place, sum(h.searches) AS searches, sum(h.failed_searches) AS failed
          FROM garun.hour_stats h
          LEFT JOIN locations l ON l.tenant_id = p_tenant_id AND l.location_id = h.branch_id
         WHERE h.tenant_id = p_tenant_id AND h.event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR h.branch_id = p_location_id)
         GROUP BY 1
    ), shared AS MATERIALIZED (
        -- Sessions of several rows, once a place. The others, which are most, are counted without a look at which they are.
        SELECT DISTINCT l.location_id AS place, s.user_pseudo_id, s.ga_session_id, s.visitor_a, s.visitor_b
          FROM garun.session_days s
          LEFT JOIN locations l ON l.tenant_id = p_tenant_id AND l.location_id = s.branch_id
         WHERE s.tenant_id = p_tenant_id AND NOT s.alone AND s.page_views > 0
           AND s.event_date BETWEEN p_start_date AND p_end_date
           AND (p_location_id IS NULL OR s.branch_id = p_location_id)
    ), people AS (
        SELECT coalesce(sum(visits), 0) AS visits, count(*) AS users, count(*) FILTER (WHERE visits >= 2) AS repeats FROM (
            SELECT sum(visits) AS visits FROM (
                SELECT s.visitor_a, s.visitor_b, 1 AS visits
                  FROM garun.session_days s
                 WHERE s.tenant_id = p_tenant_id AND s.alone AND s.page_views > 0
                   AND s.event_date BETWEEN p_start_date AND p_end_date
                   AND (p_location_id IS NULL OR s.branch_id = p_location_id)
                UNION ALL
                SELECT visitor_a, visitor_b, 1
                  FROM (SELECT DISTINCT user_pseudo_id, ga_session_id, visitor_a, visitor_b FROM shared) once) v
             GROUP BY visitor_a, visitor_b) p
    ), visited AS (
        SELECT place, sum(visits) AS visits, count(*) FILTER (WHERE visits >= 2) AS repeats FROM (
            SELECT place, sum(visits) AS visits FROM (
                SELECT l.location_id AS place, s.visitor_a, s.visitor_b, 1 AS visits
                  FROM garun.session_days s
                  LEFT JOIN locations l ON l.tenant_id = p_tenant_id AND l.location_id = s.branch_id
                 WHERE s.tenant_id = p_tenant_id AND s.alone AND s.page_views > 0
                   AND s.event_date BETWEEN p_start_date AND p_end_date
                   AND (p_location_id IS NULL OR s.branch_id = p_location_id)
                UNION ALL
                SELECT place, visitor_a, visitor_b, 1 FROM shared) v
             GROUP BY place, visitor_a, visitor_b) p
         GROUP BY place
    ), carts AS (
        SELECT place, count(*) AS carts
          FROM garun.abandoned_carts_by_place(p_tenant_id, p_location_id, p_start_date, p_end_date) GROUP BY 1
    ), stats AS (
        SELECT place, sum(revenue) AS revenue, sum(orders) AS orders, sum(visits) AS visits, sum(repeats) AS repeats,
               sum(carts) AS carts, sum(searches) AS searches, sum(failed) AS failed
          FROM (SELECT place, revenue, orders, 0 AS visits, 0 AS repeats, 0 AS carts, 0 AS searches, 0 AS failed FROM orders
                UNION ALL SELECT place, 0, 0, visits, repeats, 0, 0, 0 FROM visited
                UNION ALL SELECT place, 0, 0, 0, 0, carts, 0, 0 FROM carts
                UNION ALL SELECT place, 0, 0, 0, 0, 0, searches, failed FROM searches) parts
         GROUP BY place
    ), places AS (
        SELECT location_id, location_name, city, state FROM locations
         WHERE tenant_id = p_tenant_id AND (p_location_id IS NULL OR location_id = p_location_id)
        UNION ALL
        SELECT NULL, NULL, NULL, NULL
         WHERE p_location_id IS NULL
            OR NOT EXISTS (SELECT FROM locations WHERE tenant_id = p_tenant_id AND location_id = p_location_id)
    ), totals AS (
        SELECT coalesce(sum(revenue), 0) AS revenue, coalesce(sum(orders), 0) AS orders,
               coalesce(sum(searches), 0) AS searches, coalesce(sum(failed), 0) AS failed
          FROM stats
    )
    SELECT jsonb_build_object('totalRevenue', t.revenue, 'totalPurchases', t.orders, 'totalVisitors', p.visits,
               'uniqueUsers', p.users, 'totalSearches', t.searches, 'failedSearches', t.failed, 'repeatVisits', p.repeats,
               'conversionRate', CASE WHEN p.visits > 0 THEN t.orders::float8 / p.visits::float8 ELSE 0 END),
           (SELECT jsonb_agg(jsonb_build_object('locationId', l.location_id, 'locationName', l.location_name,
                       'city', l.city, 'state', l.state, 'totalRevenue', coalesce(s.revenue, 0),
                       'totalPurchases', coalesce(s.orders, 0), 'totalVisitors', coalesce(s.visits, 0),
                       'abandonedCarts', coalesce(s.carts, 0), 'repeatVisits', coalesce(s.repeats, 0),
                       'failedSearches', coalesce(s.failed, 0))
                   ORDER BY l.location_id IS NULL, coalesce(s.revenue, 0) DESC, l.location_id COLLATE "C")
              FROM places l LEFT JOIN stats s ON s.place IS NOT DISTINCT FROM l.location_id)
      INTO metrics, locations
      FROM totals t CROSS JOIN people p;
END
$$;

COMMENT ON FUNCTION garun.dashboard_numbers(UUID, DATE, DATE, TEXT) IS
    'metrics (but abandonedCarts) and locationStats of get_complete_dashboard_data, which describes them.';
