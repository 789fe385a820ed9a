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
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
SET hash_mem_multiplier = 4
AS $$
DECLARE
    v_query TEXT := nullif(lower(p_query), '');
    v_total BIGINT;
    v_data  JSONB;
BEGIN
    PERFORM garun.check_range(p_tenant_id, p_start_date, p_end_date);
    PERFORM garun.check_page(p_page, p_limit);

    WITH page AS MATERIALIZED (
        SELECT * FROM garun.repeat_page(p_tenant_id, v_query, p_location_id, p_start_date, p_end_date,
                                        (p_page - 1)::bigint * p_limit, p_limit)
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
    SELECT (SELECT max(total) FROM page), (
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
