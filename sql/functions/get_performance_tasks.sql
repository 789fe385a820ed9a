CREATE OR REPLACE FUNCTION get_performance_tasks(
    p_tenant_id UUID,
    p_page INTEGER,
    p_limit INTEGER,
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
AS $$
DECLARE
    v_total BIGINT;
    v_data  JSONB;
    v_pages JSONB;
BEGIN
    PERFORM garun.check_range(p_tenant_id, p_start_date, p_end_date);
    PERFORM garun.check_page(p_page, p_limit);

    WITH bounced AS MATERIALIZED (
        SELECT s.user_pseudo_id, s.ga_session_id, s.webuserid, s.event_date, s.page_view_at AS at, s.page
          FROM garun.session_days s
         WHERE s.tenant_id = p_tenant_id AND s.alone AND s.page IS NOT NULL
           AND (p_start_date IS NULL OR s.event_date >= p_start_date)
           AND (p_end_date IS NULL OR s.event_date <= p_end_date)
           AND (p_location_id IS NULL OR s.branch_id = p_location_id)
        UNION ALL
        SELECT s.user_pseudo_id, s.ga_session_id, max(s.webuserid),
               (array_agg(s.event_date ORDER BY s.page_view_at DESC NULLS LAST, s.event_date DESC))[1],
               max(s.page_view_at), max(s.page)
          FROM garun.session_days s
         WHERE s.tenant_id = p_tenant_id AND NOT s.alone
           AND (p_start_date IS NULL OR s.event_date >= p_start_date)
           AND (p_end_date IS NULL OR s.event_date <= p_end_date)
           AND (p_location_id IS NULL OR s.branch_id = p_location_id)
         GROUP BY s.user_pseudo_id, s.ga_session_id
        HAVING max(s.pages) = 1 AND max(s.page COLLATE "C") = min(s.page COLLATE "C")
    ), page AS (
        SELECT row_number() OVER () AS place, b.* FROM (
            SELECT * FROM bounced
             ORDER BY at DESC NULLS LAST, user_pseudo_id COLLATE "C", ga_session_id COLLATE "C"
             LIMIT p_limit OFFSET (p_page - 1)::bigint * p_limit) b
    ), pages AS (
        SELECT b.page, count(*) AS n FROM bounced b
         GROUP BY b.page ORDER BY n DESC, b.page COLLATE "C" LIMIT 10
    )
    SELECT (SELECT count(*) FROM bounced), (
        SELECT jsonb_agg(jsonb_build_object(
                   'session_id', p.ga_session_id, 'event_date', p.event_date, 'entry_page', p.page,
                   'user_id', p.webuserid, 'customer_name', u.buying_company_name, 'email', u.email,
                   'phone', u.cell_phone, 'office_phone', u.office_phone) ORDER BY p.place)
          FROM page p
          LEFT JOIN users u ON u.tenant_id = p_tenant_id AND u.user_id = p.webuserid COLLATE "default"), (
        SELECT jsonb_agg(jsonb_build_object('entry_page', g.page, 'bounce_count', g.n) ORDER BY g.n DESC, g.page COLLATE "C")
          FROM pages g)
      INTO v_total, v_data, v_pages;
    RETURN garun.envelope(jsonb_build_object('bounced_sessions', coalesce(v_data, '[]'),
        'frequently_bounced_pages', coalesce(v_pages, '[]')), v_total, p_page, p_limit);
END
$$;

COMMENT ON FUNCTION get_performance_tasks(UUID, INTEGER, INTEGER, TEXT, DATE, DATE) IS
'Bounces: visits with exactly one distinct page in the filter, a page being its URL without query and fragment. Newest
first. Page views without a URL add no page. Arguments as in get_purchase_tasks.

data: bounced_sessions: {session_id, event_date, entry_page, user_id, customer_name, email, phone, office_phone}, the page;
frequently_bounced_pages: {entry_page, bounce_count}, the 10 most frequent of all. total counts the sessions.';
