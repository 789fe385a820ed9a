CREATE OR REPLACE FUNCTION get_repeat_visit_tasks(
    p_tenant_id UUID,
    p_page INTEGER,
    p_limit INTEGER,
    p_query TEXT DEFAULT NULL,
    p_location_id TEXT DEFAULT NULL,
    p_start_date DATE DEFAULT NULL,
    p_end_date DATE DEFAULT NULL
) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET max_parallel_workers_per_gather = 0
-- The planner takes two columns that are one key for two filters, and expects next to nothing.
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET hash_mem_multiplier = 4
AS $$
DECLARE
    v_query TEXT := nullif(lower(p_query), '');
    v_start DATE := coalesce(p_start_date, '-infinity');
    v_total BIGINT;
    v_data  JSONB;
BEGIN
    PERFORM garun.check_range(p_tenant_id, p_start_date, p_end_date);
    PERFORM garun.check_page(p_page, p_limit);

    -- A visitor has come twice in the range from one day on: that day's row names the visitor once, so nobody needs to
    -- be grouped to be found (garun.visitor_days).
    WITH twice AS (
        SELECT d.visitor_a, d.visitor_b
          FROM garun.visitor_days d
         WHERE d.tenant_id = p_tenant_id AND p_location_id IS NULL AND d.leads
           AND d.twice_since >= v_start AND (d.was_twice_since IS NULL OR d.was_twice_since < v_start)
           AND (p_start_date IS NULL OR d.event_date >= p_start_date)
           AND (p_end_date IS NULL OR d.event_date <= p_end_date)
        UNION ALL
        SELECT d.visitor_a, d.visitor_b
          FROM garun.visitor_days d
         WHERE d.tenant_id = p_tenant_id AND d.branch_id = p_location_id
           AND d.here_twice_since >= v_start AND (d.here_was_twice_since IS NULL OR d.here_was_twice_since < v_start)
           AND (p_start_date IS NULL OR d.event_date >= p_start_date)
           AND (p_end_date IS NULL OR d.event_date <= p_end_date)
    ), bought AS (
        SELECT b.visitor_a, b.visitor_b, b.user_pseudo_id FROM garun.purchases b
         WHERE b.tenant_id = p_tenant_id AND b.user_pseudo_id IS NOT NULL
           AND (p_start_date IS NULL OR b.event_date >= p_start_date)
           AND (p_end_date IS NULL OR b.event_date <= p_end_date)
    ), buyers AS (
        SELECT visitor_a, visitor_b FROM bought
        UNION ALL
        -- under any of their ids: the anonymous by the pseudo id that bought,
        SELECT hashtextextended('p' || user_pseudo_id, 0), hashtextextended('p' || user_pseudo_id, 1) FROM bought
        UNION ALL
        -- and who is known when seen in the range under one that did.
        SELECT s.visitor_a, s.visitor_b
          FROM garun.session_days s
         WHERE s.tenant_id = p_tenant_id AND s.webuserid IS NOT NULL
           AND s.user_pseudo_id IN (SELECT b.user_pseudo_id FROM bought b)
           AND (p_start_date IS NULL OR s.event_date >= p_start_date)
           AND (p_end_date IS NULL OR s.event_date <= p_end_date)
    ), visitors AS NOT MATERIALIZED (
        SELECT t.visitor_a, t.visitor_b
          FROM twice t
         WHERE NOT EXISTS (SELECT FROM buyers b WHERE b.visitor_a = t.visitor_a AND b.visitor_b = t.visitor_b)
           AND (v_query IS NULL OR (t.visitor_a, t.visitor_b) IN (
               SELECT hashtextextended('w' || u, 0), hashtextextended('w' || u, 1)
                 FROM garun.users_like(p_tenant_id, v_query) u))
    ), parts AS (
        SELECT d.visitor_a, d.visitor_b, d.visits, d.page_views, d.last_at
          FROM garun.visitor_days d
         WHERE d.tenant_id = p_tenant_id
           AND (p_start_date IS NULL OR d.event_date >= p_start_date)
           AND (p_end_date IS NULL OR d.event_date <= p_end_date)
           AND (p_location_id IS NULL OR d.branch_id = p_location_id)
        UNION ALL
        -- What a session of several rows has too many of, and its last event, which a row without a page view may have.
        SELECT s.visitor_a, s.visitor_b, 1 - count(*) FILTER (WHERE s.page_views > 0)::int, 0, max(s.last_at)
          FROM garun.session_days s
         WHERE s.tenant_id = p_tenant_id AND NOT s.alone
           AND (p_start_date IS NULL OR s.event_date >= p_start_date)
           AND (p_end_date IS NULL OR s.event_date <= p_end_date)
           AND (p_location_id IS NULL OR s.branch_id = p_location_id)
         GROUP BY s.user_pseudo_id, s.ga_session_id, s.visitor_a, s.visitor_b HAVING sum(s.page_views) > 0
    ), wanted AS MATERIALIZED (
        SELECT p.visitor_a, p.visitor_b, sum(p.visits) AS visits, sum(p.page_views) AS page_views, max(p.last_at) AS last_at
          FROM parts p
         WHERE EXISTS (SELECT FROM visitors v WHERE v.visitor_a = p.visitor_a AND v.visitor_b = p.visitor_b)
         GROUP BY 1, 2
    ), page AS (
        SELECT row_number() OVER () AS place, w.* FROM (
            SELECT * FROM wanted
             ORDER BY visits DESC, page_views DESC, last_at DESC NULLS LAST, visitor_a, visitor_b
             LIMIT p_limit OFFSET (p_page - 1)::bigint * p_limit) w
    ), sessions AS (
        -- Sessions without a page view in the filter are no visits.
        SELECT p.place, s.user_pseudo_id, s.ga_session_id, max(s.webuserid) AS webuserid, max(s.last_at) AS last_at,
               (array_agg(s.event_date ORDER BY s.last_at DESC NULLS LAST, s.event_date DESC))[1] AS event_date
          FROM page p
          JOIN garun.session_days s ON s.visitor_a = p.visitor_a AND s.visitor_b = p.visitor_b
         WHERE s.tenant_id = p_tenant_id
           AND (p_start_date IS NULL OR s.event_date >= p_start_date)
           AND (p_end_date IS NULL OR s.event_date <= p_end_date)
           AND (p_location_id IS NULL OR s.branch_id = p_location_id)
         GROUP BY 1, 2, 3 HAVING sum(s.page_views) > 0
    ), last_days AS (
        SELECT DISTINCT ON (place) place, event_date, webuserid, coalesce(webuserid, user_pseudo_id) AS visitor
          FROM sessions ORDER BY place, last_at DESC NULLS LAST, event_date DESC
    ), viewed AS (
        SELECT DISTINCT ON (s.place, i.identity COLLATE "C")
               s.place, i.identity, i.item_name, i.item_category, i.price, e.param_page_location AS url,
               garun.micros(e.event_timestamp) AS at
          FROM sessions s
          JOIN view_item e ON e.tenant_id = p_tenant_id AND e.param_ga_session_id = s.ga_session_id COLLATE "default"
                          AND e.user_pseudo_id = s.user_pseudo_id
                          AND (p_start_date IS NULL OR e.event_date >= p_start_date)
                          AND (p_end_date IS NULL OR e.event_date <= p_end_date)
                          AND (p_location_id IS NULL OR e.user_prop_default_branch_id = p_location_id)
         CROSS JOIN LATERAL garun.items(e.items_json) i
         WHERE i.identity IS NOT NULL
         ORDER BY s.place, i.identity COLLATE "C", garun.micros(e.event_timestamp) DESC NULLS LAST, e.id, i.nth DESC
    ), ranked AS (
        SELECT *, count(*) OVER (PARTITION BY place) AS n,
               row_number() OVER (PARTITION BY place ORDER BY at DESC NULLS LAST, identity COLLATE "C") AS nth
          FROM viewed
    ), products AS (
        SELECT place, max(n) AS n, jsonb_agg(jsonb_build_object('title', item_name, 'url', url, 'category', item_category,
               'price', price) ORDER BY nth) AS list
          FROM ranked WHERE nth <= 20 GROUP BY place
    )
    SELECT (SELECT count(*) FROM wanted), (
        SELECT jsonb_agg(jsonb_build_object(
                   'visitor_id', d.visitor, 'visits', p.visits, 'page_views_count', p.page_views,
                   'products_viewed', coalesce(l.n, 0), 'products_details', coalesce(l.list, '[]'),
                   'last_activity', garun.iso(p.last_at), 'event_date', d.event_date,
                   'user_id', d.webuserid, 'customer_name', u.buying_company_name,
                   'email', u.email, 'phone', u.cell_phone, 'office_phone', u.office_phone) ORDER BY p.place)
          FROM page p
          JOIN last_days d USING (place)
          LEFT JOIN products l USING (place)
          LEFT JOIN users u ON u.tenant_id = p_tenant_id AND u.user_id = d.webuserid COLLATE "default")
      INTO v_total, v_data;
    RETURN garun.envelope(v_data, v_total, p_page, p_limit);
END
$$;

COMMENT ON FUNCTION get_repeat_visit_tasks(UUID, INTEGER, INTEGER, TEXT, TEXT, DATE, DATE) IS
'Visitors to win: users with 2 or more visits in the filter and no purchase in the date range, at any branch,
under any of their ids (webuserid, and the pseudo ids of their sessions in the range). A visit is a session with a page view; the user
of a session is its last non-null webuserid, on any day at any branch, else its pseudo id. Most visits first, then most
pages, then newest.

Arguments as in get_purchase_tasks; p_query: a part of customer or e-mail.

data: visitor_id (webuserid, else pseudo id), visits, page_views_count, products_viewed (distinct items of view_item, by
id, else name), products_details: {title, url, category, price} of the 20 viewed last, last one first; last_activity and
event_date of the last event of these visits, user_id (null: anonymous), customer_name, email, phone, office_phone.';
